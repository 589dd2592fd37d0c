//! Counts of the stacks of a recording: how many are whole, and why others are not.

use anyhow::Context;
use std::collections::BTreeMap;
use std::fmt;

/// The stacks of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stacks {
    /// Samples with a user part.
    pub(super) samples: u64,
    /// Of these, those whose root was not reached, by reason.
    pub(super) incomplete: BTreeMap<String, u64>,
    /// Samples without a user part: of kernel threads, and of processes that are ending.
    pub(super) without: u64,
}

impl Stacks {
    pub(super) fn complete(&self) -> u64 {
        self.samples - self.incomplete.values().sum::<u64>()
    }

    /// The share of whole stacks, in thousandths, rounded down.
    pub(super) fn per_mille(&self) -> u64 {
        1000 * self.complete() / self.samples.max(1)
    }

    fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.without += other.without;
        for (reason, count) in &other.incomplete {
            *self.incomplete.entry(reason.clone()).or_default() += count;
        }
    }
}

/// A recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// By the process's name.
    pub(super) by_name: BTreeMap<String, Stacks>,
    /// Samples that were lost on the whole machine, by reason.
    pub(super) lost: BTreeMap<String, u64>,
}

impl Tally {
    /// Reads folded stacks, and what the agent printed.
    pub(super) fn parse(folded: &str, said: &str) -> anyhow::Result<Self> {
        let mut tally = Self::default();
        for line in folded.lines() {
            let (frames, count) = line.rsplit_once(' ').with_context(|| format!("no count: {line}"))?;
            let count: u64 = count.parse().with_context(|| format!("no count: {line}"))?;
            let mut frames = frames.split(';');
            let stacks = tally.by_name.entry(frames.next().unwrap_or_default().to_owned()).or_default();
            let mut frames = frames.peekable();
            let reason = frames.peek().and_then(|frame| frame.strip_prefix("[incomplete: "));
            if let Some(reason) = reason.and_then(|reason| reason.strip_suffix(']')) {
                *stacks.incomplete.entry(reason.to_owned()).or_default() += count;
                stacks.samples += count;
            } else if frames.all(|frame| frame.ends_with("_[k]")) {
                stacks.without += count;
            } else {
                stacks.samples += count;
            }
        }
        for words in said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            if let [count, reason, ..] = words.as_slice()
                && let (Ok(count), Some(reason)) = (count.parse(), reason.strip_prefix("samples_lost_"))
            {
                tally.lost.insert(reason.to_owned(), count);
            }
        }
        Ok(tally)
    }

    /// All programs together.
    pub(super) fn all(&self) -> Stacks {
        let mut all = Stacks::default();
        self.by_name.values().for_each(|stacks| all.add(stacks));
        all
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all();
        let incomplete = &all.incomplete;
        write!(
            f,
            "{} samples, {} whole, others {incomplete:?}, lost {:?}",
            all.samples,
            all.complete(),
            self.lost
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_whole_stacks_by_name_and_others_by_reason() {
        let folded =
            "a;main;read_[k] 5\na;[incomplete: no_rows];x 2\na;exit_[k] 1\nb;[incomplete: stack_cut] 1\n";
        let said = "samples      9 of 2 processes (0.1 s)\nlost         3 samples\n             3 samples_lost_ring_full (raise it)\n";
        let tally = Tally::parse(folded, said).unwrap();
        let a = &tally.by_name["a"];
        assert_eq!((a.samples, a.complete(), a.without, a.per_mille()), (7, 5, 1, 714));
        let all = tally.all();
        assert_eq!((all.samples, all.complete()), (8, 5));
        assert_eq!(all.incomplete, [("no_rows".to_owned(), 2), ("stack_cut".to_owned(), 1)].into());
        assert_eq!(tally.lost, [("ring_full".to_owned(), 3)].into());
    }
}
