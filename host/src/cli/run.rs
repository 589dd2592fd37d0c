//! `stacksonde run`: the daemon.

use super::filter::{FilterArguments, warn_of_absent};
use super::reload::Running;
use super::start::{self, ConfigArguments};
use crate::filter::Rules;
use crate::health::{Listen, Notifier, Server, Watched};
use crate::plugins::ExporterInstance;
use anyhow::Context;
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the service manager is told of the agent, at least.
const REPORT: Duration = Duration::from_secs(10);

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
    let parts = start::prepare(&config, Some(interval), &arguments.config.file_rules(&config.plugins), None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let exporters = parts.exporters.iter().map(ExporterInstance::watch).collect();
        let watched = Watched { vitals: parts.vitals.clone(), exporters };
        let mut hung_up = signal(SignalKind::hangup())?;
        let agent = start::arm(parts)?;
        let filter = arguments.filter.over(&config.filter);
        warn_of_absent(&filter);
        start::want(&agent, Rules::new(&filter))?;
        tracing::info!(hz = config.sampling.frequency_hz, ?interval, "sampling");
        let _server = serve(&config.health.listen, &watched)?;
        let manager = Notifier::from_environment();
        manager.ready("sampling");
        let mut report = std::pin::pin!(report(&manager, &watched));
        let mut running = Running { arguments: &arguments.config, filter: &arguments.filter, config };
        loop {
            tokio::select! {
                _ = hung_up.recv() => running.reload(&agent),
                _ = interrupted.recv() => break,
                _ = terminated.recv() => break,
                () = agent.failure() => break,
                () = &mut report => {}
            }
        }
        manager.stopping();
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

/// Answers those who watch, where the config says.
fn serve(listen: &str, watched: &Watched) -> anyhow::Result<Option<Server>> {
    let Some(listen) = Listen::parse(listen) else { return Ok(None) };
    let server = Server::start(&listen, watched.clone());
    Ok(Some(server.with_context(|| format!("health.listen: {listen:?} cannot be listened at"))?))
}

/// Tells the service manager, for ever: that samples flow, as often as its watchdog wants to hear that, and what is
/// not as it should be.
async fn report(manager: &Notifier, watched: &Watched) {
    let mut told = None;
    loop {
        tokio::time::sleep(manager.watchdog().unwrap_or(REPORT).min(REPORT)).await;
        let verdict = watched.verdict();
        // An exporter that fails is no reason to start the agent anew.
        if watched.samples_flow() {
            manager.alive();
        }
        let status = match verdict.failures.iter().chain(&verdict.notes).next() {
            None => "sampling".to_owned(),
            Some(first) => first.clone(),
        };
        if told.as_ref() != Some(&status) {
            manager.status(&status);
            told = Some(status);
        }
    }
}
