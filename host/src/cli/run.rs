//! `stacksonde run`: the daemon.

use super::filter::{FilterArguments, warn_of_absent};
use super::renew::{self, Renewal};
use super::start::{self, ConfigArguments};
use crate::control::{Ask, ControlSocket};
use crate::filter::Rules;
use crate::health::{Listen, Notifier, Server, Watched};
use anyhow::Context;
use clap::Args;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The longest time between two reports to the service manager.
const REPORT: Duration = Duration::from_secs(10);

/// Arguments of `stacksonde run`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Runs until SIGTERM or SIGINT, then hands over what is left. SIGHUP and `stacksonde reload` make it read its
/// configuration again.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (config, log) = arguments.config.begin(None, &[])?;
    arguments.filter.check()?;
    let interval = Duration::from_secs(config.sampling.interval_seconds.into());
    let rules = arguments.config.file_rules(&config.plugins);
    let (parts, exporting) = start::prepare(&config, Some(interval), &rules, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let exporters = parts.exporters.clone();
        let watched = Watched { vitals: parts.vitals.clone(), exporters: exporters.clone() };
        let mut hung_up = signal(SignalKind::hangup())?;
        let agent = start::arm(parts)?;
        let filter = arguments.filter.over(&config.filter);
        warn_of_absent(&filter);
        start::want(&agent, Rules::new(&filter))?;
        tracing::info!(hz = config.sampling.frequency_hz, ?interval, "sampling");
        let _server = serve(&config.health.listen, &watched)?;
        let manager = Arc::new(Notifier::from_environment());
        let (ask, asks) = channel();
        let _control = control(&config.control.socket, &ask);
        let wanted = agent.wanted();
        let Arguments { filter, config: arguments } = arguments;
        let renewal = Renewal { arguments, filter, config, log, wanted, exporting, exporters };
        renew::start(renewal, asks, Arc::clone(&manager)).context("cannot start the thread of reloads")?;
        manager.ready("sampling");
        let mut report = std::pin::pin!(report(&manager, &watched));
        loop {
            tokio::select! {
                // The thread that serves this outlives the loop.
                _ = hung_up.recv() => drop(ask.send(Ask { reply: None })),
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

/// Listens for `stacksonde reload`, where the config says; the agent goes on without.
fn control(path: &str, ask: &Sender<Ask>) -> Option<ControlSocket> {
    if path.is_empty() {
        return None;
    }
    let socket = ControlSocket::start(Path::new(path), ask.clone());
    let told = |error: &std::io::Error| {
        tracing::warn!(
            "control.socket: nothing listens at {path}, so that `stacksonde reload` cannot ask; SIGHUP does the same: \
             {error}"
        );
    };
    socket.inspect_err(told).ok()
}

/// Answers those who watch, where the config says.
fn serve(listen: &str, watched: &Watched) -> anyhow::Result<Option<Server>> {
    let Some(listen) = Listen::parse(listen) else { return Ok(None) };
    let server = Server::start(&listen, watched.clone());
    Ok(Some(server.with_context(|| format!("health.listen: {listen:?} cannot be listened at"))?))
}

/// Tells the service manager, forever: that samples flow, as often as its watchdog wants to hear that, and what is
/// not as it should be.
async fn report(manager: &Notifier, watched: &Watched) {
    let mut told = None;
    loop {
        tokio::time::sleep(manager.watchdog().unwrap_or(REPORT).min(REPORT)).await;
        let verdict = watched.verdict();
        // An exporter that fails is not a reason to restart the agent.
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
