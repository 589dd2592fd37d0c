//! Native stacks of each runtime, by the agent as it is.

use super::profiled::Profiled;
use super::row::{RESULTS, Row, lacking, rows};
use serde_json::json;
use std::io::Write;

#[test]
fn native_stacks_are_whole_and_every_sample_arrives() {
    if let Some(why) = lacking() {
        stacksonde_tests::skip::skip("native_stacks_are_whole_and_every_sample_arrives", &why);
        return;
    }
    let mut results = Vec::new();
    let mut complaints = Vec::new();
    for row in rows().unwrap() {
        let wrong = match row.version().and_then(|version| Ok((version, Profiled::of(&row)?))) {
            Ok((version, profiled)) => {
                let result = result(&row, &version, &profiled);
                // The test harness shows what `println!` writes only if the test fails; this it lets through.
                let _ = writeln!(std::io::stderr(), "{result}");
                results.push(result);
                check(&row, &profiled)
            }
            Err(error) => vec![error],
        };
        complaints.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", row.name)));
    }
    let file = std::env::var_os(RESULTS).unwrap();
    std::fs::write(file, serde_json::Value::from(results).to_string()).unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The result for the document.
fn result(row: &Row, version: &str, profiled: &Profiled) -> serde_json::Value {
    let stacks = &profiled.stacks;
    json!({
        "row": row.name,
        "version": version,
        "samples": stacks.samples(),
        "due": profiled.due,
        "lost": profiled.lost,
        "whole": stacks.samples() - stacks.incomplete().samples(),
        "others": stacks.incomplete_by_reason(),
    })
}

/// Returns what is not as it must be.
fn check(row: &Row, Profiled { stacks, due, lost }: &Profiled) -> Vec<String> {
    let mut wrong = Vec::new();
    let samples = stacks.samples();
    // The clock of each CPU ticks whoever runs: where programs take turns, which of them it meets is chance. Five standard
    // deviations of that, and a tick of the clock of CPU time at each end.
    let chance = 5 * due.isqrt() + 10;
    if samples + lost + chance < *due || samples > due + chance {
        wrong.push(format!("{samples} samples and {lost} lost, where {due} were due, give or take {chance}"));
    }
    let incomplete = stacks.incomplete();
    if (samples - incomplete.samples()) * 100 < row.whole * samples {
        wrong.push(format!(
            "of {samples} stacks not whole: {:?}: {incomplete:?}",
            stacks.incomplete_by_reason()
        ));
    }
    // A stack that is called whole goes down to where the runtime began. Those of a kernel thread's work, or of a process
    // that is ending, are of the kernel only.
    let is_entry = |frame: &String| row.entries.contains(frame);
    let is_marked = |frame: &String| frame.starts_with("[incomplete");
    let without = stacks.matching(|frames| !frames.iter().any(|frame| is_entry(frame) || is_marked(frame)));
    if without.samples() * 100 > samples {
        wrong.push(format!("of {samples} stacks called whole without {:?}: {without:?}", row.entries));
    }
    wrong
}
