//! The host's end of an exporter instance.

use super::deadline::PluginError;
use super::loss::Dropped;
use super::spool::SpoolSettings;
use super::supervise::{self, Shared};
use super::{Plugin, thread};
use crate::config;
use stacksonde_plugin::{Offer, Wants};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The settings of one exporter instance.
#[derive(Clone, Debug)]
pub struct ExporterSettings {
    /// Its name: `exporters.<name>`.
    pub name: String,
    /// True if the agent must not start without it.
    pub required: bool,
    /// Batches that may wait.
    pub queue_batches: usize,
    /// Bytes that may wait.
    pub queue_bytes: u64,
    /// The spool on disk for batches that outlive the agent; `None` for in memory only.
    pub spool: Option<SpoolSettings>,
    /// The longest time for one call before the instance counts as stuck.
    pub deadline: Duration,
    /// True if its thread keeps root's capabilities. Without them it writes only where root's files and modes allow; a
    /// person who names an output file in his own directory expects more.
    pub keep_capabilities: bool,
    /// The plugin's own keys.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl ExporterSettings {
    /// Returns the settings that the config has for the instance `name`.
    pub fn new(name: &str, exporter: &config::Exporter) -> Self {
        Self {
            name: name.into(),
            required: exporter.required,
            queue_batches: usize::try_from(exporter.queue_batches).unwrap_or(usize::MAX),
            queue_bytes: exporter.queue_bytes,
            spool: (!exporter.spool_directory.is_empty()).then(|| SpoolSettings {
                directory: PathBuf::from(&exporter.spool_directory),
                max_bytes: exporter.spool_bytes,
            }),
            deadline: Duration::from_secs(exporter.deadline_seconds.into()),
            keep_capabilities: false,
            config: exporter.config.clone(),
        }
    }
}

/// Counters of the outcomes of submitted batches, in batches unless a field says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExporterCounters {
    /// Taken by the exporter.
    pub delivered: u64,
    /// Samples in those.
    pub delivered_samples: u64,
    /// Bytes of those, as the exporter got them.
    pub delivered_bytes: u64,
    /// Not taken, by reason.
    pub dropped: Dropped,
    /// Samples in those.
    pub dropped_samples: u64,
    /// Waiting in memory now.
    pub queued: u64,
    /// Bytes of those.
    pub queued_bytes: u64,
    /// Waiting on disk now.
    pub spooled: u64,
    /// Bytes of those, on disk.
    pub spooled_bytes: u64,
    /// Times that a batch could not be written to the spool, and waited in memory.
    pub spool_failures: u64,
    /// Attempts after the first, over all batches.
    pub retries: u64,
    /// Panics of the plugin.
    pub panics: u64,
    /// Calls that returned after their deadline.
    pub overruns: u64,
    /// Time spent in calls of `export`, in nanoseconds.
    pub export_ns: u64,
    /// The message of the last failure.
    pub last_error: Option<String>,
}

impl ExporterCounters {
    /// Adds those of the instance before. What its last failure said is of no interest any more.
    pub(super) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.delivered_samples += other.delivered_samples;
        self.delivered_bytes += other.delivered_bytes;
        self.dropped.add(&other.dropped);
        self.dropped_samples += other.dropped_samples;
        self.queued += other.queued;
        self.queued_bytes += other.queued_bytes;
        self.spooled += other.spooled;
        self.spooled_bytes += other.spooled_bytes;
        self.spool_failures += other.spool_failures;
        self.retries += other.retries;
        self.panics += other.panics;
        self.overruns += other.overruns;
        self.export_ns += other.export_ns;
    }
}

/// The health of an exporter instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last call did what was asked.
    Good,
    /// It fails, or has just panicked; it is tried again.
    Degraded(String),
    /// A call has not returned within its deadline. Nothing more is asked of it until it does.
    Stuck,
    /// It panicked too often and is called no more.
    Disabled(String),
}

/// One exporter instance on a supervised thread.
///
/// Dropping it without [`shutdown`](Self::shutdown) tells the thread to end without draining.
#[derive(Debug)]
pub struct ExporterInstance {
    name: String,
    required: bool,
    wants: Wants,
    shared: Arc<Shared>,
}

/// See [`ExporterInstance::watch`].
#[derive(Clone, Debug)]
pub struct ExporterWatch {
    name: String,
    required: bool,
    shared: Arc<Shared>,
}

impl ExporterWatch {
    /// Its name: `exporters.<name>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether the agent is of no use without it.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Returns the counters of batches so far.
    pub fn counters(&self) -> ExporterCounters {
        self.shared.counters()
    }

    /// Returns its health now.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    pub(super) fn open(&self) {
        self.shared.open();
    }

    pub(super) fn shutdown(&self, until: Instant) -> ExporterCounters {
        self.shared.stop(until);
        self.shared.wait_for_end(until)
    }
}

impl ExporterInstance {
    /// Negotiates with `plugin` and makes an instance, on its own thread, and opens it.
    ///
    /// # Errors
    ///
    /// As of [`prepare`](Self::prepare).
    pub fn start(plugin: &Plugin, settings: ExporterSettings, offer: &Offer) -> Result<Self, PluginError> {
        let instance = Self::prepare(plugin, settings, offer)?;
        instance.open();
        Ok(instance)
    }

    /// Negotiates with `plugin` and makes an instance, on its own thread. Batches wait, and its spool is not touched,
    /// until it is opened.
    ///
    /// # Errors
    ///
    /// The plugin is not an exporter; it refuses the offer or the config; it panics; it does not return within
    /// the deadline, in which case its thread is left behind.
    pub fn prepare(plugin: &Plugin, settings: ExporterSettings, offer: &Offer) -> Result<Self, PluginError> {
        let name = settings.name.clone();
        let Some(entry) = plugin.exporter() else {
            return Err(PluginError::NoRole { plugin: plugin.name().into(), role: "exporter" });
        };
        let (deadline, required) = (settings.deadline, settings.required);
        let shared = Arc::new(Shared::new(&settings));
        let (ready, is_ready) = mpsc::sync_channel(1);
        let (for_thread, offer) = (Arc::clone(&shared), offer.clone());
        let keeps = settings.keep_capabilities;
        let body = move || supervise::run(entry, &settings, &offer, for_thread, &ready);
        let started = if keeps { thread::spawn(&name, body) } else { thread::spawn_reusing(&name, body) };
        started.map_err(|error| PluginError::Thread { name: name.clone(), error })?;
        let wants = match is_ready.recv_timeout(deadline) {
            Ok(wants) => wants?,
            Err(error) => {
                shared.stop(Instant::now());
                return Err(match error {
                    RecvTimeoutError::Timeout => {
                        PluginError::Deadline { name, what: "create", after: deadline }
                    }
                    RecvTimeoutError::Disconnected => PluginError::Abandoned { name },
                });
            }
        };
        shared.agree(&wants);
        Ok(Self { name, required, wants, shared })
    }

    /// Says that this instance, which is not open yet, comes after `old`: that one finishes the call that it is in and
    /// ends by `until`; what waits for it is left to this one, with what it counted. From now on batches are this one's.
    pub fn follow(&self, old: &Self, until: Instant) {
        self.shared.follow(&old.shared, until);
    }

    /// Has the plugin get batches: first those that waited for the instance before, once that has ended or its time
    /// is up, which this waits for; then those that an earlier run left in the spool; then others.
    pub fn open(&self) {
        self.shared.open();
    }

    /// Its name: `exporters.<name>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the wishes that it stated.
    pub fn wants(&self) -> &Wants {
        &self.wants
    }

    /// Hands over a batch. Never blocks: a full queue drops its oldest batch and counts it; the spool is written by
    /// a thread of its own.
    pub fn submit(&self, batch: Arc<[u8]>) {
        self.shared.submit(batch);
    }

    /// Returns the counters of batches so far.
    pub fn counters(&self) -> ExporterCounters {
        self.shared.counters()
    }

    /// Samples in the batches that were dropped since this was last asked, by reason: what the next batch
    /// has to tell of.
    pub fn take_dropped(&self) -> Vec<(String, u64)> {
        self.shared.take_dropped()
    }

    /// Returns its health now.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Tells the instance to finish by `until`, without waiting for it; [`shutdown`](Self::shutdown) waits.
    pub fn stop(&self, until: Instant) {
        self.shared.stop(until);
    }

    /// Its counters and health, for whoever watches it from elsewhere.
    pub fn watch(&self) -> ExporterWatch {
        ExporterWatch { name: self.name.clone(), required: self.required, shared: Arc::clone(&self.shared) }
    }

    /// Hands over what still waits, then flushes, shuts down and drops the instance; returns at `until` at
    /// the latest. What then still waits is counted as dropped, unless it is on disk, and a call that has not returned is left
    /// behind.
    pub fn shutdown(self, until: Instant) -> ExporterCounters {
        self.shared.stop(until);
        self.shared.wait_for_end(until)
    }
}

impl Drop for ExporterInstance {
    fn drop(&mut self) {
        self.shared.stop(Instant::now());
    }
}
