//! The state that an instance's threads and the agent share, behind one lock.

use super::super::backlog::{Backlog, Limits, Place};
use super::super::exporter::{ExporterCounters, ExporterSettings};
use super::super::interval::Pending;
use super::super::loss::{self, Reason};
use super::super::spool::Kept;
use super::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct State {
    /// Batches that wait to become one of the interval that the exporter wants.
    pub(super) pending: Pending,
    pub(super) backlog: Backlog,
    pub(super) max_bytes: Option<u64>,
    pub(super) counters: ExporterCounters,
    /// Samples in dropped batches, and losses that these were to tell of, that no batch has told of.
    untold: BTreeMap<String, u64>,
    pub(super) standing: Standing,
    /// Why batches are not on disk though they should be.
    pub(super) spool_trouble: Option<String>,
    pub(super) call: Option<Call>,
    /// True if the plugin may be given batches. Until then they wait.
    pub(super) open: bool,
    /// The instance whose backlog this one will take over.
    pub(super) predecessor: Option<Arc<Shared>>,
    /// When the threads have to have ended, once that is asked for.
    pub(super) stop: Option<Instant>,
    /// True if another instance takes over the backlog, so that it is not handed over before the end.
    pub(super) leaves_backlog: bool,
    /// True if the thread that calls the plugin has ended.
    pub(super) ended: bool,
    /// True if the thread that writes the spool has ended.
    pub(super) keeper_ended: bool,
}

/// [`Health`](super::Health), but for what the clock says.
#[derive(Debug)]
pub(super) enum Standing {
    Good,
    Degraded(String),
    Disabled(String),
}

/// A call that the plugin has not returned from.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) what: &'static str,
    pub(super) since: Instant,
    /// True if the log has been told that it is overdue.
    pub(super) told: bool,
}

impl State {
    pub(super) fn new(settings: &ExporterSettings) -> Self {
        let limits = Limits {
            batches: settings.queue_batches,
            bytes: settings.queue_bytes,
            disk_bytes: settings.spool.as_ref().map_or(0, |spool| spool.max_bytes),
        };
        Self {
            pending: Pending::default(),
            backlog: Backlog::new(limits),
            max_bytes: None,
            counters: ExporterCounters::default(),
            untold: BTreeMap::new(),
            standing: Standing::Good,
            spool_trouble: None,
            call: None,
            open: false,
            predecessor: None,
            stop: None,
            leaves_backlog: false,
            ended: false,
            keeper_ended: true,
        }
    }

    /// Counts `batch` as lost, to be told of in the next one.
    pub(super) fn lose(&mut self, reason: Reason, batch: &[u8]) {
        self.counters.dropped.count(reason);
        let samples = loss::samples(batch);
        self.counters.dropped_samples += samples;
        let told = loss::told(batch);
        for (name, count) in told.into_iter().chain([(reason.name().to_owned(), samples)]) {
            *self.untold.entry(name).or_default() += count;
        }
    }

    pub(super) fn take_untold(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.untold).into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn enqueue(&mut self, batch: Arc<[u8]>) {
        if self.is_too_large(&batch) {
            return self.lose(Reason::TooLarge, &batch);
        }
        for dropped in self.backlog.push(batch) {
            self.lose(Reason::QueueFull, &dropped);
        }
    }

    pub(super) fn is_too_large(&self, batch: &[u8]) -> bool {
        self.max_bytes.is_some_and(|limit| batch.len() as u64 > limit)
    }

    /// Loses what waits in memory.
    pub(super) fn lose_memory(&mut self, reason: Reason) {
        for batch in self.pending.take().into_iter().chain(self.backlog.clear_memory()) {
            self.lose(reason, &batch);
        }
    }

    /// Takes the batch `id` out; returns its file, if it is on disk.
    pub(super) fn take_out(&mut self, id: u64) -> Option<Kept> {
        match self.backlog.remove(id)? {
            Place::Disk(kept) => Some(kept),
            Place::Memory(_) => None,
        }
    }

    /// The counters with how much waits now, those of the predecessor among them.
    pub(super) fn counters(&self) -> ExporterCounters {
        let (memory, disk) = self.backlog.extents();
        let mut counters = ExporterCounters {
            queued: memory.batches,
            queued_bytes: memory.bytes,
            spooled: disk.batches,
            spooled_bytes: disk.bytes,
            ..self.counters.clone()
        };
        if let Some(old) = &self.predecessor {
            counters.add(&old.counters());
        }
        counters
    }

    /// Goes on where `old` ended: with its counters, with what it had to tell, and with the batches that waited for it.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        self.counters.add(&std::mem::take(&mut old.counters));
        for (name, count) in std::mem::take(&mut old.untold) {
            *self.untold.entry(name).or_default() += count;
        }
        for dropped in self.backlog.put_first(old.backlog.take_all()) {
            self.lose(Reason::QueueFull, &dropped);
        }
    }
}
