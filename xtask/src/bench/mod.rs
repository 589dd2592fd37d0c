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

use crate::install;
use crate::run::{cargo, must};
use anyhow::bail;
use std::process::ExitCode;

/// Runs the benchmark that is named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (name, rest) = arguments.split_first().map_or(("", arguments), |(name, rest)| (name.as_str(), rest));
    match name {
        "plugins" => plugins()?,
        "start" => return start::run(),
        "cost" => cost::run(rest)?,
        "scale" => scale::run(rest)?,
        _ => bail!("bench takes one of: plugins, start, cost, scale"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Loading ten plugins, and handing over a batch of 10,000 samples.
fn plugins() -> anyhow::Result<()> {
    install::ensure(install::BUILD)?;
    // Optimised as a release, without the minutes of its linking.
    must(cargo().args([
        "bench",
        "--quiet",
        "--profile",
        "stage",
        "--package",
        "stacksonde-tests",
        "--bench",
        "plugins",
    ]))
}
