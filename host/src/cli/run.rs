//! `stacksonde run`: the daemon.

use super::filter::{FilterArguments, warn_of_absent};
use super::reload::Running;
use super::start::{self, ConfigArguments};
use crate::filter::Rules;
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `stacksonde run`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Runs until SIGTERM or SIGINT, then hands over what is left. SIGHUP makes it read its configuration anew.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.load(None, &[])?;
    arguments.filter.check()?;
    let interval = Duration::from_secs(config.sampling.interval_seconds.into());
    let parts = start::prepare(&config, Some(interval), &arguments.config.file_rules(&config.plugins))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let agent = start::arm(parts)?;
        let filter = arguments.filter.over(&config.filter);
        warn_of_absent(&filter);
        start::want(&agent, Rules::new(&filter))?;
        tracing::info!(hz = config.sampling.frequency_hz, ?interval, "sampling");
        let mut running = Running { arguments: &arguments.config, filter: &arguments.filter, config };
        loop {
            tokio::select! {
                _ = hung_up.recv() => running.reload(&agent),
                _ = interrupted.recv() => break,
                _ = terminated.recv() => break,
                () = start::failure(&agent) => break,
            }
        }
        let summary = agent.stop()?;
        for (exporter, counters) in &summary.exporters {
            tracing::info!(exporter, ?counters, "exporter ended");
        }
        let lost = serde_json::to_string(&summary.losses)?;
        let (samples, excluded) = (summary.samples, summary.excluded);
        tracing::info!(samples, complete = summary.complete, excluded, lost, "ended");
        Ok(ExitCode::SUCCESS)
    })
}
