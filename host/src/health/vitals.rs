//! Counters of what was sampled and lost so far.

use crate::process::UnreadFiles;
use crate::profile::Profile;
use crate::symbolize::SymbolizeCounters;
use crate::telemetry::{Loss, Losses};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kept by the publisher, shared with whoever asks.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    interval: Option<Duration>,
    now: VitalsNow,
    /// When the last profile was finished; at first, when sampling was asked for.
    last: Instant,
}

/// [`Vitals`] at one moment.
#[derive(Clone, Debug, Default)]
pub struct VitalsNow {
    /// Length of a profile; `None` if there is only one, at the end.
    pub interval: Option<Duration>,
    /// Time since the last profile, or since the start.
    pub silence: Duration,
    /// Profiles.
    pub profiles: u64,
    /// Samples in them.
    pub samples: u64,
    /// Of those, samples with a complete stack.
    pub complete: u64,
    /// Ticks of the idle task.
    pub idle: u64,
    /// Samples of processes that were not asked for.
    pub excluded: u64,
    /// Attempts in vain to look at files of the programs.
    pub unread: UnreadFiles,
    /// Samples that were lost before they came to an exporter.
    pub losses: Losses,
    /// Names that are missing, counted.
    pub names: SymbolizeCounters,
    /// Executable mappings of sampled processes for which there was no room in the last profile.
    pub mappings_left_out: u64,
    /// Ticks of the last profile, lost or not, idle or not.
    pub last_ticks: u64,
    /// Of those, ticks that were seen.
    pub last_seen: u64,
}

impl Vitals {
    /// Of an agent that makes a profile each `interval`.
    pub fn new(interval: Option<Duration>) -> Self {
        let now = VitalsNow { interval, ..VitalsNow::default() };
        Self(Arc::new(Mutex::new(Kept { interval, now, last: Instant::now() })))
    }

    /// Counts a profile in.
    pub fn add(&self, profile: &Profile) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last = Instant::now();
        let samples = profile.sample_count();
        let now = &mut kept.now;
        now.profiles += 1;
        now.samples += samples;
        now.complete += profile.complete_count();
        now.idle += profile.idle;
        now.excluded += profile.excluded;
        now.losses.merge(&profile.losses);
        now.unread.merge(&profile.unread);
        now.mappings_left_out = profile.mappings_left_out;
        now.last_seen = samples + profile.idle + profile.excluded;
        now.last_ticks = now.last_seen + profile.losses.total();
    }

    /// Counts samples that were lost after their profile was made.
    pub fn lose(&self, loss: Loss, count: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now.losses.add(loss, count);
    }

    /// Takes over what was counted of names.
    pub fn set_names(&self, names: SymbolizeCounters) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now.names = names;
    }

    /// As they are now.
    pub fn now(&self) -> VitalsNow {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        VitalsNow { interval: kept.interval, silence: kept.last.elapsed(), ..kept.now.clone() }
    }
}
