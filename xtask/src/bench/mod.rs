//! `cargo xtask bench`: prints what things cost. Nothing is asserted: a number is true for one machine and one day.

mod agents;
mod cost;
mod kernel;
mod perf_data;
mod scale;
mod sink;
mod start;
mod table;
mod usage;

use crate::build::{self, STAGE};
use crate::run::must;
use crate::{collector, install, stage};
use anyhow::bail;
use std::process::{Command, ExitCode};

/// Runs the benchmark that is named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (name, rest) = arguments.split_first().map_or(("", arguments), |(name, rest)| (name.as_str(), rest));
    match name {
        "plugins" => plugins()?,
        "export" => export()?,
        "start" => return start::run(),
        "cost" => cost::run(rest)?,
        "scale" => scale::run(rest)?,
        _ => bail!("bench takes one of: export, plugins, start, cost, scale"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Loading ten plugins, and handing over a batch of 10,000 samples.
fn plugins() -> anyhow::Result<()> {
    install::ensure(install::BUILD)?;
    must(&mut bench("plugins")?)
}

/// Bytes on the wire and CPU time of what otlp-export makes and sends.
fn export() -> anyhow::Result<()> {
    let stage = stage::build(STAGE)?;
    let mut bench = bench("export")?;
    bench.env("STACKSONDE_TEST_AGENT", &stage.agent).env("STACKSONDE_TEST_CONFIG", &stage.config);
    must(bench.env("STACKSONDE_TEST_COLLECTOR", collector::build()?))
}

/// Builds a program of the tests, optimised as a release, without the minutes of its linking.
fn build_program(name: &str) -> anyhow::Result<()> {
    must(build::cargo_in(STAGE, "build")?.args(["--quiet", "--package", "stacksonde-tests", "--bin", name]))
}

/// Returns the command of a benchmark, optimised as a release, without the minutes of its linking.
fn bench(name: &str) -> anyhow::Result<Command> {
    let mut command = build::cargo_in(STAGE, "bench")?;
    command.args(["--quiet", "--package", "stacksonde-tests", "--bench", name]);
    Ok(command)
}
