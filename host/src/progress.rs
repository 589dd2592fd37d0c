//! Live counters of the profile that is still being built: for a person who waits.

use crate::map::Map;
use crate::process::{AttributedSample, Identity};
use crate::profile::is_complete;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Kept by the stages, shared with whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    kept: Arc<Mutex<Kept>>,
    /// Samples that did not fit into rings: kept by the reader.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: u64,
    complete: u64,
    excluded: u64,
    /// Samples by process. There are no more of them than of threads in the profile, which is bounded.
    processes: Map<u32, u64>,
    hottest: Option<(u64, Arc<Identity>)>,
}

/// [`Progress`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressNow {
    /// Samples in the profile.
    pub samples: u64,
    /// Of those, samples with a complete stack.
    pub complete: u64,
    /// Samples that were sent and are not wanted.
    pub excluded: u64,
    /// Samples that did not fit into a ring. What the kernel never delivered is known at the end.
    pub lost: u64,
    /// Processes that were sampled.
    pub processes: usize,
    /// The name of the process with most samples, and how many it has.
    pub hottest: Option<(String, u64)>,
}

impl Progress {
    /// Returns the counter in which the reader states how many samples did not fit into rings.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Counts in a sample that is in the profile.
    pub(crate) fn add(&self, sample: &Seen) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.samples += 1;
        kept.complete += u64::from(sample.is_complete);
        let count = kept.processes.entry(sample.process.pid).or_default();
        *count += 1;
        let count = *count;
        if kept.hottest.as_ref().is_none_or(|(most, _)| count > *most) {
            kept.hottest = Some((count, Arc::clone(&sample.process)));
        }
    }

    /// Counts in a sample that is not wanted.
    pub(crate) fn exclude(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).excluded += 1;
    }

    /// As it is now.
    pub fn now(&self) -> ProgressNow {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        ProgressNow {
            samples: kept.samples,
            complete: kept.complete,
            excluded: kept.excluded,
            lost: self.lost.load(Ordering::Relaxed),
            processes: kept.processes.len(),
            hottest: kept.hottest.as_ref().map(|(count, process)| (process.comm.clone(), *count)),
        }
    }
}

/// The part of a sample that is counted.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    process: Arc<Identity>,
    is_complete: bool,
}

impl Seen {
    pub(crate) fn of(sample: &AttributedSample) -> Self {
        let is_complete = is_complete(sample.raw.user_end, sample.raw.kernel_end);
        Self { process: Arc::clone(&sample.process), is_complete }
    }
}
