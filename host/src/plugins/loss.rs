//! Batches that an exporter did not take, and the samples in them.

use stacksonde_batch::Batch;

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    QueueFull,
    SpoolFull,
    SpoolDamaged,
    TooLarge,
    Refused,
    Panicked,
    Disabled,
    Shutdown,
}

impl Reason {
    /// The loss's name, as a counter of samples.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "samples_lost_exporter_queue_full",
            Self::SpoolFull => "samples_lost_spool_full",
            Self::SpoolDamaged => "samples_lost_spool_damaged",
            Self::TooLarge => "samples_lost_batch_too_large",
            Self::Refused => "samples_lost_exporter_refused",
            Self::Panicked => "samples_lost_exporter_panicked",
            Self::Disabled => "samples_lost_exporter_disabled",
            Self::Shutdown => "samples_lost_exporter_shutdown",
        }
    }
}

/// Batches that no call of an exporter took, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Pushed out of a full queue by newer ones, or too large for any queue.
    pub queue_full: u64,
    /// Pushed out of a full spool by newer ones.
    pub spool_full: u64,
    /// In a file of the spool that cannot be read.
    pub spool_damaged: u64,
    /// Larger than the exporter takes.
    pub too_large: u64,
    /// Refused for good by the exporter.
    pub refused: u64,
    /// In hand when the plugin panicked.
    pub panicked: u64,
    /// Submitted to, or waiting for, an instance that is disabled.
    pub disabled: u64,
    /// Still waiting at the end.
    pub shutdown: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    /// Adds those of another count.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { queue_full, spool_full, spool_damaged, too_large, refused, panicked, disabled, shutdown } =
            other;
        self.queue_full += queue_full;
        self.spool_full += spool_full;
        self.spool_damaged += spool_damaged;
        self.too_large += too_large;
        self.refused += refused;
        self.panicked += panicked;
        self.disabled += disabled;
        self.shutdown += shutdown;
    }

    /// Each reason's name and count.
    pub fn by_reason(&self) -> [(&'static str, u64); 8] {
        let Self { queue_full, spool_full, spool_damaged, too_large, refused, panicked, disabled, shutdown } =
            *self;
        [
            ("queue_full", queue_full),
            ("spool_full", spool_full),
            ("spool_damaged", spool_damaged),
            ("too_large", too_large),
            ("refused", refused),
            ("panicked", panicked),
            ("disabled", disabled),
            ("shutdown", shutdown),
        ]
    }

    pub(super) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::QueueFull => &mut self.queue_full,
            Reason::SpoolFull => &mut self.spool_full,
            Reason::SpoolDamaged => &mut self.spool_damaged,
            Reason::TooLarge => &mut self.too_large,
            Reason::Refused => &mut self.refused,
            Reason::Panicked => &mut self.panicked,
            Reason::Disabled => &mut self.disabled,
            Reason::Shutdown => &mut self.shutdown,
        } += 1;
    }
}

/// Samples in `batch`; 0 of what is not a batch.
pub(super) fn samples(batch: &[u8]) -> u64 {
    Batch::parse(batch).map_or(0, |batch| {
        batch.samples().iter().fold(0, |sum: u64, sample| sum.saturating_add(sample.count))
    })
}

/// The losses that `batch` was to tell of, which another one has to tell when it is lost itself.
pub(super) fn told(batch: &[u8]) -> Vec<(String, u64)> {
    let Ok(batch) = Batch::parse(batch) else { return Vec::new() };
    batch.losses().iter().map(|loss| (batch.text(loss.reason).to_owned(), loss.count)).collect()
}
