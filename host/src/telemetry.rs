//! Losses of samples: every way to lose one, in one list.

use serde::Serialize;
use std::collections::BTreeMap;

/// Notes in the log, for who asks for `stacksonde::start=debug`, when a step of the start was reached
/// (CLOCK_MONOTONIC, nanoseconds). `cargo xtask bench start` makes a table of it.
pub(crate) fn reached(step: &str, at_ns: u64) {
    tracing::debug!(target: "stacksonde::start", step, at_ns);
}

macro_rules! losses {
    ($($variant:ident, $name:literal, $text:literal, $remedy:literal;)*) => {
        /// Why a sample that was due is not in a profile.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Loss {
            $(#[doc = $text] $variant,)*
        }

        impl Loss {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Describes the loss in a sentence.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Returns a remedy; empty if there is none.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

losses! {
    Undelivered, "samples_lost_undelivered",
        "The perf event ticked, but the kernel did not run the sampler: another BPF program or a map system call was running on that CPU, or the timer was late.",
        "";
    Throttled, "samples_lost_throttled",
        "The kernel stopped the perf event, because it ticked more often than kernel.perf_event_max_sample_rate allows.",
        "sysctl -w kernel.perf_event_max_sample_rate=100000; the kernel lowers it itself where perf events take more than kernel.perf_cpu_time_max_percent";
    Unwatched, "samples_lost_unwatched",
        "A CPU came online, and its perf event had not been opened yet.",
        "";
    Stolen, "samples_lost_stolen",
        "The hypervisor ran something else on that CPU, so that nothing ran that could be sampled.",
        "";
    RingFull, "samples_lost_ring_full",
        "A CPU's ring was full.",
        "raise memory.ring_bytes";
    NoRing, "samples_lost_no_ring",
        "A CPU had no ring.",
        "please report it";
    NoScratch, "samples_lost_no_scratch",
        "The sampler's scratch area could not be had.",
        "please report it";
    Malformed, "samples_lost_malformed",
        "A record of the sampler could not be read.",
        "please report it";
    StacksFull, "samples_lost_stacks_full",
        "The profile held as much as it may: stacks, or bytes.",
        "raise memory.max or memory.max_stacks, or shorten sampling.interval_seconds";
    NotWritten, "samples_lost_not_written",
        "The profile could not be put into a batch.",
        "please report it";
}

/// Losses of one interval, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<Loss, u64>);

impl Losses {
    /// Counts `count` samples as lost.
    pub fn add(&mut self, loss: Loss, count: u64) {
        if count > 0 {
            *self.0.entry(loss).or_default() += count;
        }
    }

    /// Adds all of another interval.
    pub fn merge(&mut self, other: &Self) {
        for (loss, count) in other.iter() {
            self.add(loss, count);
        }
    }

    /// Reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        self.0.iter().map(|(loss, count)| (*loss, *count))
    }

    /// Returns the number of losses for one reason.
    pub fn of(&self, loss: Loss) -> u64 {
        self.0.get(&loss).copied().unwrap_or(0)
    }

    /// Returns the number of all losses.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl Serialize for Losses {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(loss, count)| (loss.name(), count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_as_counters() {
        let names: std::collections::BTreeSet<_> = Loss::ALL.iter().map(|loss| loss.name()).collect();
        assert_eq!(names.len(), Loss::ALL.len());
        assert!(names.iter().all(|name| name.starts_with("samples_lost_")));
    }

    #[test]
    fn adds_up_over_intervals() {
        let mut all = Losses::default();
        let mut one = Losses::default();
        one.add(Loss::RingFull, 2);
        one.add(Loss::Malformed, 0);
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.of(Loss::RingFull), all.total(), all.iter().count()), (4, 4, 1));
    }
}
