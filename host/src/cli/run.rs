//! `stacksonde run`: the daemon.

use super::start::{self, ConfigArguments};
use crate::process::Targets;
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `stacksonde run`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// Runs until SIGTERM or SIGINT, then hands over what is left.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.load(None, &[])?;
    let interval = Duration::from_secs(config.sampling.interval_seconds.into());
    let parts = start::prepare(&config, Some(interval), &arguments.config.file_rules(&config.plugins))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let agent = start::arm(parts)?;
        agent.watch(Targets::all());
        tracing::info!(hz = config.sampling.frequency_hz, ?interval, "sampling");
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            () = start::failure(&agent) => {}
        }
        let summary = agent.stop()?;
        for (exporter, counters) in &summary.exporters {
            tracing::info!(exporter, ?counters, "exporter ended");
        }
        let lost = serde_json::to_string(&summary.losses)?;
        tracing::info!(samples = summary.samples, complete = summary.complete, lost, "ended");
        Ok(ExitCode::SUCCESS)
    })
}
