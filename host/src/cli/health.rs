//! `stacksonde health`: asks a running daemon how it is, for probes that have no HTTP client.

use super::start::ConfigArguments;
use crate::health::{Listen, ask};
use crate::terminal::out;
use anyhow::{Context, bail};
use clap::Args;
use std::process::ExitCode;

/// Arguments of `stacksonde health`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the counters, in Prometheus' text format, instead.
    #[arg(long)]
    metrics: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Asks where `health.listen` says; the exit code is 0 if all is well, and 1 if it is not or nobody answers.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.read(&[])?;
    let Some(listen) = Listen::parse(&config.health.listen) else {
        bail!("health.listen is empty, so that no daemon can be asked; set it and start the daemon again");
    };
    let path = if arguments.metrics { "/metrics" } else { "/healthz" };
    let answer = ask(&listen, path)
        .with_context(|| format!("no daemon answers at {}; is one running?", config.health.listen));
    match answer {
        Ok((status, text)) => {
            out(&text)?;
            Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            super::say_error(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}
