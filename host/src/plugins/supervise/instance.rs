//! The life of an instance, on its thread: made, fed, made again after a panic, ended.

use super::Shared;
use super::pace::{Backoff, Panics};
use crate::plugins::deadline::PluginError;
use crate::plugins::entry::{Entry, Object};
use crate::plugins::exporter::ExporterSettings;
use crate::plugins::loss::Reason;
use crate::plugins::provider::json;
use crate::plugins::thread;
use abi_stable::std_types::{ROption, RResult, RSlice};
use stacksonde_abi::{Fault, FaultKind, abi_stable};
use stacksonde_plugin::{Offer, Wants};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

/// The thread's body: negotiates, makes the instance, tells `ready`, and serves until the end.
pub(in crate::plugins) fn run(
    entry: Entry,
    settings: &ExporterSettings,
    offer: &Offer,
    shared: Arc<Shared>,
    ready: &SyncSender<Result<Wants, PluginError>>,
) {
    if !settings.keep_capabilities
        && let Err(error) = thread::drop_capabilities()
    {
        tracing::warn!(exporter = settings.name, "its thread keeps its capabilities: {error}");
    }
    let seed = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| u64::from(time.subsec_nanos()));
    let mut supervisor = Supervisor {
        entry,
        name: settings.name.clone(),
        config: json(&settings.config),
        shared,
        object: None,
        panics: Panics::default(),
        retry: Backoff::new(Duration::from_millis(500), Duration::from_secs(30), seed),
        revival: Backoff::new(Duration::from_millis(250), Duration::from_secs(60), seed),
    };
    let started = supervisor.negotiate(offer).and_then(|wants| {
        supervisor.create().map_err(|fault| PluginError::from_fault(&settings.name, fault))?;
        Ok(wants)
    });
    let is_started = started.is_ok();
    if ready.send(started).is_ok() && is_started {
        supervisor.serve();
    }
    supervisor.end();
}

struct Supervisor {
    entry: Entry,
    name: String,
    config: String,
    shared: Arc<Shared>,
    /// `None` after a panic.
    object: Option<Object>,
    panics: Panics,
    retry: Backoff,
    revival: Backoff,
}

impl Supervisor {
    fn negotiate(&self, offer: &Offer) -> Result<Wants, PluginError> {
        let answer = self.shared.call("negotiate", || self.entry.negotiate(&self.config, offer));
        let answer = answer.map_err(|fault| PluginError::from_fault(&self.name, fault))?;
        let nonsense =
            |reason: String| PluginError::Nonsense { name: self.name.clone(), what: "negotiate", reason };
        let wants = answer.map_err(nonsense)?;
        match &wants.format {
            Some(format) if !offer.formats.contains(format) => {
                Err(nonsense(format!("it chose the format `{format}`, which was not offered")))
            }
            _ => Ok(wants),
        }
    }

    fn create(&mut self) -> Result<(), Fault> {
        let made = self.shared.call("create", || self.entry.create(&self.name, &self.config));
        self.object = Some(made?);
        Ok(())
    }

    fn serve(&mut self) {
        while let Some((id, batch)) = self.shared.next() {
            if !self.revive(id) || !self.deliver(id, &batch) {
                return;
            }
        }
    }

    /// Makes the instance again if there is none, as often as it takes. False at the end of trying; the batch in hand
    /// is then still in the backlog.
    fn revive(&mut self, id: u64) -> bool {
        while self.object.is_none() {
            if self.shared.is_stopping() {
                return false;
            }
            // If it is pushed out meanwhile, `deliver` finds that.
            let _still_there = self.shared.pause(id, self.revival.next());
            if self.shared.is_stopping() {
                continue;
            }
            match self.create() {
                Ok(()) => {}
                Err(fault) if fault.kind == FaultKind::POISONED => {
                    if self.is_one_panic_too_many(&fault) {
                        return false;
                    }
                }
                Err(fault) => self.shared.failed(&fault.message),
            }
        }
        true
    }

    /// Hands over `batch` until it is taken, lost, or pushed out by newer ones. False if there is no more time to try:
    /// then it is still in the backlog.
    fn deliver(&mut self, id: u64, batch: &[u8]) -> bool {
        self.retry.reset();
        if !self.shared.is_held(id) {
            return true;
        }
        loop {
            let last_try = self.shared.is_stopping();
            let Err(fault) = self.ask("export", |object| object.export(RSlice::from_slice(batch))) else {
                self.revival.reset();
                self.shared.delivered(id, batch);
                return true;
            };
            match fault.kind {
                FaultKind::POISONED => {
                    self.shared.lost(id, Reason::Panicked, batch);
                    self.after_panic(&fault);
                    return true;
                }
                FaultKind::RETRYABLE => {
                    self.shared.failed(&fault.message);
                    if last_try {
                        return false;
                    }
                    if !self.shared.pause(id, self.retry.next().max(asked_for(&fault))) {
                        return true;
                    }
                    // The one that takes over tries it next.
                    if self.shared.leaves_backlog() {
                        return false;
                    }
                    self.shared.retried();
                }
                _ => {
                    self.shared.failed(&fault.message);
                    self.shared.lost(id, Reason::Refused, batch);
                    return true;
                }
            }
        }
    }

    /// Drops the instance; the next batch finds a new one, or the thread's end.
    fn after_panic(&mut self, fault: &Fault) {
        self.close();
        self.is_one_panic_too_many(fault);
    }

    fn is_one_panic_too_many(&mut self, fault: &Fault) -> bool {
        self.shared.panicked(&fault.message);
        let too_many = self.panics.too_many_at(Instant::now());
        if too_many {
            self.shared.disabled(format!("it panicked too often within an hour, last: {}", fault.message));
        }
        too_many
    }

    fn ask(
        &mut self,
        what: &'static str,
        ask: impl FnOnce(&mut Object) -> RResult<(), Fault>,
    ) -> Result<(), Fault> {
        match &mut self.object {
            Some(object) => self.shared.call(what, || ask(object)).into_result(),
            None => Ok(()),
        }
    }

    fn close(&mut self) {
        let closed = self.ask("drop", |object| object.close());
        self.object = None;
        if let Err(fault) = closed {
            self.shared.panicked(&fault.message);
        }
    }

    fn end(&mut self) {
        for (what, fault) in [
            ("flush", self.ask("flush", |object| object.flush()).err()),
            ("shutdown", self.ask("shutdown", |object| object.shutdown()).err()),
        ] {
            match fault {
                Some(fault) if fault.kind == FaultKind::POISONED => self.shared.panicked(&fault.message),
                Some(fault) => self.shared.failed(&format!("{what}: {}", fault.message)),
                None => {}
            }
        }
        self.close();
        self.shared.ended();
    }
}

/// The waiting time that the plugin asked for; no more than a few minutes.
fn asked_for(fault: &Fault) -> Duration {
    match fault.after_ms {
        ROption::RSome(ms) => Duration::from_millis(ms).min(Duration::from_secs(300)),
        ROption::RNone => Duration::ZERO,
    }
}
