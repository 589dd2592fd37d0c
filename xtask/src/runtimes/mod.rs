//! The tier `runtimes` of `cargo xtask test`: interpreters and virtual machines of languages, profiled by the agent.
//!
//! Each is unpacked from packages into the user's cache (`sources`). `rows` has all of them, with what must come out.
//! `tests/runtimes` profiles them and checks; it is told of them by a file, and writes another one, of which the document
//! is made (`table`).

mod rows;
mod sources;
mod table;

use crate::build::{self, QUICK};
use crate::{install, stage, test};
use anyhow::{Context, bail};
use rows::{ROWS, Row};
use serde_json::{Value, json};
use sources::{Unpacked, Unpacker};
use std::path::Path;

/// The result of a row.
#[derive(Debug)]
struct Outcome {
    row: &'static Row,
    /// As the tests wrote it; nothing if they could not profile it, or it could not be unpacked.
    profiled: Option<Value>,
}

/// Runs the rows that CI has time for, or all rows; then the document is written if all is as expected.
pub(crate) fn tier(full: bool) -> anyhow::Result<bool> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("what must come out of the runtimes is known for x86-64 only");
    }
    install::ensure(install::RUNTIMES)?;
    let unpacker = Unpacker::open()?;
    let mut unpacked = Vec::new();
    let mut failures = Vec::new();
    for row in ROWS.iter().filter(|row| full || row.in_ci) {
        match unpacker.unpack(&row.source) {
            Ok(place) => unpacked.push((row, place)),
            Err(error) => failures.push((row, error)),
        }
    }
    if unpacked.is_empty()
        && let Some((_, error)) = failures.pop()
    {
        return Err(error.context("no runtime could be fetched"));
    }
    let stage = stage::build(QUICK)?;
    let folder = build::target_folder().join("runtimes");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let [told, results] = ["rows.json", "results.json"].map(|name| folder.join(name));
    let rows: Value = unpacked.iter().map(|(row, place)| describe(row, place)).collect();
    std::fs::write(&told, rows.to_string()).with_context(|| format!("cannot write {}", told.display()))?;
    // Results of an earlier run are not of this one.
    std::fs::write(&results, "[]").with_context(|| format!("cannot write {}", results.display()))?;

    let mut tests = test::tests_as_root("runtimes")?;
    tests.env("STACKSONDE_TEST_AGENT", &stage.agent).env("STACKSONDE_TEST_CONFIG", &stage.config);
    tests.env("STACKSONDE_TEST_RUNTIMES", &told).env("STACKSONDE_TEST_RUNTIMES_RESULTS", &results);
    // One after the other: samples are compared with CPU time.
    let passed = crate::run::status(tests.args(["--", "--test-threads=1"]))?.success();

    let profiled = read(&results)?;
    let of = |row| profiled.iter().find(|result| result["row"] == json!(id(row))).cloned();
    let outcomes = unpacked.iter().map(|(row, _)| row).chain(failures.iter().map(|(row, _)| row));
    let outcomes: Vec<_> = outcomes.map(|row| Outcome { row, profiled: of(row) }).collect();
    println!("\n{}", table::render(&outcomes));
    for (row, error) in &failures {
        eprintln!("not unpacked: {}: {error:#}", id(row));
    }
    let passed = passed && failures.is_empty();
    if full && passed {
        println!("wrote {}", table::write(&outcomes)?.display());
    } else if full {
        println!("{} stays as it is: not every row is as expected", table::DOCUMENT);
    }
    Ok(passed)
}

/// Names a row in files and messages: `CPython 3.11. (Debian bookworm, python3)`.
fn id(row: &Row) -> String {
    format!("{} {} ({})", row.name, row.version, row.source)
}

/// Describes a row for the tests.
fn describe(row: &Row, place: &Unpacked) -> Value {
    json!({
        "row": id(row),
        "folder": place.folder,
        "is_root": place.is_root,
        "program": row.program,
        "version_flag": row.version_flag,
        "version": row.version,
        "script": row.script,
        "whole": row.whole,
        "entries": row.entries,
    })
}

fn read(results: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read(results).with_context(|| format!("cannot read {}", results.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what the tests write", results.display()))
}
