//! `cargo xtask bench start`: from exec to the first sample, step by step. Nothing is asserted: a number is true
//! for one machine and one day.

use super::usage;
use crate::build::STAGE;
use crate::run::as_root;
use crate::stage;
use anyhow::{Context, bail};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

const RUNS: usize = 9;

/// Starts the agent several times and prints the medians.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // Optimised as a release, without the minutes of its linking.
    let stage = stage::build(STAGE)?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(steps(&stage)?);
    }
    let first = runs.first().context("there was no run")?;
    println!("medians of {RUNS} runs, in milliseconds since exec, and by how much each step adds to that");
    let mut before = 0.0;
    for (at, (step, _)) in first.iter().enumerate() {
        let mut times: Vec<f64> = runs.iter().filter_map(|run| run.get(at)).map(|(_, time)| *time).collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!("{median:9.2} {:+9.2}  {step}", median - before);
        before = median;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the steps that the agent logs while it starts, in milliseconds since just before its exec.
fn steps(stage: &stage::Stage) -> anyhow::Result<Vec<(String, f64)>> {
    let mut record = as_root(&stage.agent)?;
    // Something to sample, on whatever CPU: an idle machine has no first sample.
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    record.args(["record", "--log", "stacksonde::start=debug", "--config"]).arg(&stage.config);
    record.args(["-o", "/tmp/stacksonde-bench-start.folded", "--", "sh", "-c", busy]);
    record.env("STACKSONDE_LOG__FORMAT", "json").stdout(Stdio::null());
    // The clock that the agent uses too.
    let start = usage::monotonic();
    let output = record.output().context("cannot run the agent")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the agent failed: {said}");
    }
    let step = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields")?;
        let at = fields.get("at_ns")?.as_u64()?;
        let milliseconds = Duration::from_nanos(at).saturating_sub(start).as_secs_f64() * 1e3;
        Some((fields.get("step")?.as_str()?.to_owned(), milliseconds))
    };
    let steps: Vec<_> = said.lines().filter_map(step).collect();
    if steps.is_empty() {
        bail!("the agent said nothing of its start: {said}");
    }
    Ok(steps)
}
