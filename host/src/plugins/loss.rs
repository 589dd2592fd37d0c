//! Batches that an exporter did not take, and the samples in them.

use stacksonde_batch::Batch;

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    QueueFull,
    TooLarge,
    Refused,
    GaveUp,
    Panicked,
    Disabled,
    Shutdown,
}

impl Reason {
    /// The loss's name, as a counter of samples.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "samples_lost_exporter_queue_full",
            Self::TooLarge => "samples_lost_batch_too_large",
            Self::Refused => "samples_lost_exporter_refused",
            Self::GaveUp => "samples_lost_exporter_gave_up",
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
    /// Larger than the exporter takes.
    pub too_large: u64,
    /// Refused for good by the exporter.
    pub refused: u64,
    /// Failed as often as is tried.
    pub gave_up: u64,
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
        let Self { queue_full, too_large, refused, gave_up, panicked, disabled, shutdown } = *self;
        queue_full + too_large + refused + gave_up + panicked + disabled + shutdown
    }

    pub(super) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::QueueFull => &mut self.queue_full,
            Reason::TooLarge => &mut self.too_large,
            Reason::Refused => &mut self.refused,
            Reason::GaveUp => &mut self.gave_up,
            Reason::Panicked => &mut self.panicked,
            Reason::Disabled => &mut self.disabled,
            Reason::Shutdown => &mut self.shutdown,
        } += 1;
    }
}

/// Samples in `batch`; only asked of a batch that is lost.
pub(super) fn samples(batch: &[u8]) -> u64 {
    Batch::parse(batch).map_or(0, |batch| {
        batch.samples().iter().fold(0, |sum: u64, sample| sum.saturating_add(sample.count))
    })
}
