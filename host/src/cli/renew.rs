//! Reload of a running daemon's configuration. It is atomic: all changes that can be applied are, or none is.
//!
//! ```text
//! read      all sources, checked as at the start
//! judge     keys of exporters against their plugins; plugins that are not loaded yet: no code runs
//! prepare   plugins loaded, new instances made, while the old ones go on
//!           -- up to here any error leaves everything as it is --
//! apply     filter, log, exporters, each at once; sampling is not touched
//! ```

mod difference;
mod exporters;

use super::admit::Exporting;
use super::causes::with_causes;
use super::filter::{FilterArguments, warn_of_absent};
use super::start::{ConfigArguments, LogFilter};
use crate::agent::Wanted;
use crate::config::Config;
use crate::control::{Answer, Ask};
use crate::filter::Rules;
use crate::health::Notifier;
use crate::plugins::Exporters;
use anyhow::bail;
use difference::{changed, plugins_that_wait};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The configuration of a running agent, and the parts of it that can be changed.
pub(super) struct Renewal {
    pub(super) arguments: ConfigArguments,
    pub(super) filter: FilterArguments,
    /// The configuration in force, as it was read, without what the command line says of the filter.
    pub(super) config: Config,
    pub(super) log: LogFilter,
    pub(super) wanted: Wanted,
    pub(super) exporting: Exporting,
    pub(super) exporters: Exporters,
}

/// Starts the thread that does it, one at a time.
pub(super) fn start(
    mut renewal: Renewal,
    asks: Receiver<Ask>,
    manager: Arc<Notifier>,
) -> std::io::Result<()> {
    let body = move || {
        while let Ok(first) = asks.recv() {
            // Whoever asked before the files are read is served by the same reading.
            let asked: Vec<Ask> = std::iter::once(first).chain(asks.try_iter()).collect();
            manager.reloading();
            let answer = renewal.renew();
            tell(&answer);
            manager.ready(if answer.done { "sampling" } else { "sampling; the last reload was refused" });
            for ask in asked.into_iter().filter_map(|ask| ask.reply) {
                // Who asked may be gone.
                let _told = ask.send(answer.clone());
            }
        }
    };
    std::thread::Builder::new().name("reload".into()).spawn(body).map(drop)
}

/// Puts the answer into the log. What is not as it was asked for comes after the first line.
fn tell(answer: &Answer) {
    if !answer.done {
        return tracing::error!("the configuration before stays: {}", answer.text);
    }
    let mut lines = answer.text.lines();
    tracing::info!("configuration reloaded: {}", lines.next().unwrap_or_default());
    lines.for_each(|line| tracing::warn!("{line}"));
}

impl Renewal {
    fn renew(&mut self) -> Answer {
        match self.apply() {
            Ok(lines) => Answer { done: true, text: lines.join("\n") },
            Err(error) => Answer { done: false, text: with_causes(&error) },
        }
    }

    /// Returns what was done, and what is still to be, in lines.
    fn apply(&mut self) -> anyhow::Result<Vec<String>> {
        let new = self.arguments.read(&[])?;
        let change =
            exporters::prepare(&mut self.exporting, &self.arguments, &self.exporters, &self.config, &new)?;
        let (mut applied, mut waiting) = (Vec::new(), Vec::new());
        for section in changed(&self.config, &new) {
            match section.as_str() {
                "filter" => self.want(&new)?,
                "log" if new.log.format == self.config.log.format => self.log.set(&new.log.filter)?,
                "shutdown" => self.exporters.set_budget(Duration::from_millis(new.shutdown.budget_ms.into())),
                "exporters" => continue,
                "plugins" => {
                    let names = self.exporting.names();
                    let plugins = plugins_that_wait(&self.config.plugins, &new.plugins, &names);
                    if !plugins.is_empty() {
                        waiting.push(format!("plugins ({})", plugins.join(", ")));
                        continue;
                    }
                }
                _ => {
                    waiting.push(section);
                    continue;
                }
            }
            applied.push(section);
        }
        let mut lines = change.notes.clone();
        applied.extend(change.describe());
        self.exporters.exchange(change.new, &change.removed)?;
        self.remember(new, &waiting);
        let summary = match applied.is_empty() {
            true => "nothing to apply has changed".to_owned(),
            false => format!("applied: {}", applied.join(", ")),
        };
        lines.insert(0, summary);
        if !waiting.is_empty() {
            lines.push(format!("waits until stacksonde is restarted: {}", waiting.join(", ")));
        }
        Ok(lines)
    }

    /// Remembers what is in force now. Keys that wait for a restart are reported again next time, since they still
    /// differ.
    fn remember(&mut self, new: Config, waiting: &[String]) {
        let running = &mut self.config;
        running.filter = new.filter;
        running.exporters = new.exporters;
        running.shutdown = new.shutdown;
        if new.log.format == running.log.format {
            running.log = new.log;
        }
        if !waiting.iter().any(|section| section.starts_with("plugins")) {
            running.plugins = new.plugins;
        }
    }

    fn want(&self, new: &Config) -> anyhow::Result<()> {
        /// Far longer than the profiler takes to look.
        const PATIENCE: Duration = Duration::from_secs(10);
        let filter = self.filter.over(&new.filter);
        warn_of_absent(&filter);
        let until = Instant::now() + PATIENCE;
        while !self.wanted.change(Rules::new(&filter)) {
            if Instant::now() > until {
                bail!("the filter before is still being applied; try again");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
