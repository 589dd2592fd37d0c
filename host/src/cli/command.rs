//! A command that is run and watched, by `record` and `top`.

use super::filter::{FilterArguments, exists, warn_of_absent};
use crate::config::Filter;
use crate::filter::Rules;
use anyhow::Context;
use std::ffi::OsString;
use std::process::{Child, Command};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The configured filter with what the command line says, and what of it is not there said in the log.
pub(super) fn filter(arguments: &FilterArguments, configured: &Filter, command: &[OsString]) -> Filter {
    let mut filter = arguments.over(configured);
    if !command.is_empty() && !arguments.names_targets() {
        // What files say of who alone is wanted was not said of a command.
        filter = Filter { pid: Vec::new(), comm: Vec::new(), cgroup: Vec::new(), ..filter };
    }
    warn_of_absent(&filter);
    filter
}

/// Starts a command, if there is one.
pub(super) fn start(
    command: &[OsString],
    prepare: impl FnOnce(&mut Command),
) -> anyhow::Result<Option<Child>> {
    let Some((program, rest)) = command.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    prepare(command.args(rest));
    crate::descriptors::restore_limit(&mut command);
    let child = command.spawn().with_context(|| format!("cannot run `{}`", program.to_string_lossy()))?;
    Ok(Some(child))
}

/// Returns the rules of the filter: with a command, it alone is sampled.
pub(super) fn rules(filter: &Filter, child: Option<&Child>) -> Rules {
    let rules = Rules::new(filter);
    match child {
        Some(child) => rules.only(child.id()),
        None => rules,
    }
}

/// Ends when the command or every process that was asked for has ended; never without one.
pub(super) async fn ended(child: &mut Option<Child>, pids: &[u32]) {
    /// Of processes that are not ours nothing is told. (A wake-up on cold caches costs more than the question.)
    const POLL: Duration = Duration::from_millis(100);
    /// A child's end is told by a signal, unless somebody else took that.
    const CHILD_POLL: Duration = Duration::from_secs(1);
    if child.is_none() && pids.is_empty() {
        std::future::pending::<()>().await;
    }
    let mut told = signal(SignalKind::child()).ok();
    loop {
        let (running, poll) = match child {
            Some(child) => (matches!(child.try_wait(), Ok(None)), CHILD_POLL),
            None => (pids.iter().any(|pid| exists(*pid)), POLL),
        };
        if !running {
            return;
        }
        let signalled = async {
            match &mut told {
                Some(told) => drop(told.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signalled => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

/// Asks a command that is still running to end, and waits until it did.
pub(super) fn end(child: &mut Child) -> std::io::Result<()> {
    if child.try_wait()?.is_none() {
        // SAFETY: the child was not waited for yet, so the id is still its own.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    }
    child.wait().map(drop)
}
