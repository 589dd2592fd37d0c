//! `cargo xtask bench`: prints what things cost. Nothing is asserted: a number is true for one machine and one day.

use crate::run::{cargo, must};
use crate::{bench_start, install};
use anyhow::bail;
use std::process::ExitCode;

/// Runs the benchmark that is named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match arguments {
        [name] if name == "plugins" => plugins()?,
        [name] if name == "start" => return bench_start::run(),
        _ => bail!("bench takes one of: plugins, start"),
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
