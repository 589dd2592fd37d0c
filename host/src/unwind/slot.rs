//! Slots of tables of open addressing, and what stands in a process's (`processes` in `ebpf/bpf/layout.h`).

use crate::bpf::SharedWords;
use stacksonde_ebpf::tables::{
    COUNT_SHIFT, HASH_FACTOR, NAME_BITS, NAME_SHIFT, PROCESS_LINES, SETTLED, WORDS,
};
use stacksonde_ebpf::{name_words, pair_hash};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// The content of a slot, and other facts about the process that is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Installed {
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) epoch: u32,
    pub(super) used: u64,
    /// [`name_mark`] of its main thread; 0 if that was not sampled.
    pub(super) name: u32,
    /// When it was first put in, as far as that is known: CLOCK_MONOTONIC, nanoseconds.
    pub(super) since_ns: u64,
    pub(super) settled: bool,
}

/// The time for which a process must have been there before rows that it lacks may wait.
pub(super) const SETTLED_NS: u64 = 2_000_000_000;

impl Installed {
    /// Tells whether it has been there for a while at this time.
    pub(super) fn is_old(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= SETTLED_NS
    }

    /// The second word of its slot.
    pub(super) fn region(&self) -> u64 {
        let settled = if self.settled { SETTLED } else { 0 };
        u64::from(self.first)
            | u64::from(self.count) << COUNT_SHIFT
            | u64::from(self.name) << NAME_SHIFT
            | settled
    }
}

/// The lines of a table of open addressing in which may stand what has this hash, as its words: `count` of them, from the
/// one on that the high half chooses.
pub(super) fn probed_lines(
    table: &SharedWords,
    hash: u64,
    count: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let (start, mask) = ((hash >> 32) as usize, table.len() / WORDS - 1);
    (0..count).map(move |probe| {
        let line = (start + probe) & mask;
        line * WORDS..(line + 1) * WORDS
    })
}

/// First words of the slots in which a process may stand.
pub(super) fn process_slots(processes: &SharedWords, pid: u32) -> impl Iterator<Item = usize> + use<> {
    let hash = u64::from(pid).wrapping_mul(HASH_FACTOR);
    probed_lines(processes, hash, PROCESS_LINES).flat_map(|line| line.step_by(2))
}

/// Tells whether a slot, by its first word, is that of a process.
pub(super) fn is_of(processes: &SharedWords, slot: usize, pid: u32) -> bool {
    processes[slot].load(Relaxed) & 0xffff_ffff == u64::from(pid)
}

/// `name_mark` of unwind.h: what is kept of a thread's name.
pub fn name_mark(comm: &[u8; 16]) -> u32 {
    let [first, second] = name_words(comm);
    pair_hash(first, second) >> (u32::BITS - NAME_BITS) | 1
}
