//! The table by which the sampler knows what is excluded (`ebpf/bpf/layout.h`): written without system calls, which
//! would keep the sampler from running meanwhile.
//!
//! It is a memory of verdicts, not the rules: what is not in it is sent, and judged in user space.

use crate::bpf::SharedWords;
use stacksonde_ebpf::filter::{
    ASKS_CGROUP, ASKS_NAME, CGROUP, HAS_CGROUPS, HAS_NAMES, HAS_PROCESSES, KIND_SHIFT, NAME, PROCESS,
};
use stacksonde_ebpf::pair_hash;
use stacksonde_ebpf::tables::WORDS;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Slots of a bucket.
const SLOTS: usize = WORDS / 2;
/// The part of a second word that is not its kind.
const LOW: u64 = (1 << KIND_SHIFT) - 1;

/// Counters of what the table was given, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounters {
    /// Verdicts put in.
    pub added: u64,
    /// Verdicts thrown out for others, whose bucket was full; they are found again at the next sample.
    pub evicted: u64,
}

/// The table.
#[derive(Debug)]
pub struct Slots {
    words: SharedWords,
    buckets: usize,
    /// The first word: which questions, and which kinds of slots there are.
    head: u64,
    counters: SlotCounters,
}

impl Slots {
    /// An empty table in memory that is all zero: a line, then buckets, whose number is a power of two.
    pub fn new(words: SharedWords) -> Self {
        let buckets = (words.len() / WORDS).saturating_sub(1);
        debug_assert!(buckets.is_power_of_two());
        Self { words, buckets, head: 0, counters: SlotCounters::default() }
    }

    /// The memory.
    pub fn memory(&self) -> &SharedWords {
        &self.words
    }

    /// Returns the counters so far.
    pub fn counters(&self) -> SlotCounters {
        self.counters
    }

    /// Empties the table and says what verdicts will depend on from now on. Where they depend on nothing, nobody is
    /// ever excluded.
    pub fn begin(&mut self, by_cgroup: bool, by_name: bool) {
        self.set_head(0);
        for index in self.all() {
            self.words[index + 1].store(0, Release);
        }
        let asks = [(by_cgroup, ASKS_CGROUP), (by_name, ASKS_NAME)];
        let asks = asks.iter().filter(|(asked, _)| *asked).fold(0, |bits, (_, bit)| bits | bit);
        self.set_head(asks);
    }

    /// Excludes a cgroup, whoever is in it.
    pub fn add_cgroup(&mut self, id: u64) {
        let kind = CGROUP << KIND_SHIFT;
        self.add(pair_hash(id, kind), id, kind, |_, _| false);
        self.set_head(self.head | HAS_CGROUPS);
    }

    /// Excludes a name, whoever is called so.
    pub fn add_name(&mut self, name: &[u8; 16]) {
        let (first, rest) = name_words(name);
        let second = rest | NAME << KIND_SHIFT;
        self.add(pair_hash(first, second), first, second, |_, _| false);
        self.set_head(self.head | HAS_NAMES);
    }

    /// Excludes a process for as long as it is called so and is in that cgroup, as far as that matters.
    pub fn add_process(&mut self, pid: u32, name: &[u8; 16], cgroup_id: u64) {
        let mut first = u64::from(pid);
        let mut second = PROCESS << KIND_SHIFT;
        let bucket = pair_hash(first, second);
        if self.head & ASKS_NAME != 0 {
            let (name, rest) = name_words(name);
            first |= u64::from(pair_hash(name, rest)) << 32;
        }
        if self.head & ASKS_CGROUP != 0 {
            second |= cgroup_id & LOW;
        }
        // The id 0 stands for all processes that our pid namespace does not show.
        self.add(bucket, first, second, |word, other| pid != 0 && is_of(pid, word, other));
        self.set_head(self.head | HAS_PROCESSES);
    }

    /// A process may not be excluded any more, or may be another one.
    pub fn remove_process(&mut self, pid: u32) {
        if self.head & HAS_PROCESSES == 0 {
            return;
        }
        for index in self.bucket(pair_hash(pid.into(), PROCESS << KIND_SHIFT)) {
            if is_of(pid, self.words[index].load(Relaxed), self.words[index + 1].load(Relaxed)) {
                self.words[index + 1].store(0, Release);
            }
        }
    }

    /// The same of all processes.
    pub fn remove_processes(&mut self) {
        if self.head & HAS_PROCESSES == 0 {
            return;
        }
        self.set_head(self.head & !HAS_PROCESSES);
        for index in self.all() {
            if self.words[index + 1].load(Relaxed) >> KIND_SHIFT == PROCESS {
                self.words[index + 1].store(0, Release);
            }
        }
    }

    /// Puts a slot into its bucket, in the place of one of which `replaces` holds, else in a free one, else in the place
    /// of any.
    fn add(&mut self, hash: u32, first: u64, second: u64, replaces: impl Fn(u64, u64) -> bool) {
        let find = |holds: &dyn Fn(u64, u64) -> bool| {
            let mut slots = self.bucket(hash);
            slots.find(|at| holds(self.words[*at].load(Relaxed), self.words[*at + 1].load(Relaxed)))
        };
        if find(&|word, other| word == first && other == second).is_some() {
            return;
        }
        let place = find(&replaces).or_else(|| find(&|_, other| other == 0)).unwrap_or_else(|| {
            self.counters.evicted += 1;
            let start = self.start_of(hash);
            // Any will do; in turn, so that those who share a full bucket share its slots.
            start + 2 * usize::try_from(self.counters.evicted % SLOTS as u64).unwrap_or(0)
        });
        self.counters.added += 1;
        self.words[place + 1].store(0, Release);
        self.words[place].store(first, Release);
        self.words[place + 1].store(second, Release);
    }

    /// Returns the start of the bucket.
    fn start_of(&self, hash: u32) -> usize {
        (1 + (hash as usize & (self.buckets - 1))) * WORDS
    }

    /// Returns the starts of the slots of a bucket.
    fn bucket(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let start = self.start_of(hash);
        (start..start + WORDS).step_by(2)
    }

    /// Returns the starts of all slots.
    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        (WORDS..(1 + self.buckets) * WORDS).step_by(2)
    }

    /// While there are no slots the sampler need not ask anything.
    fn set_head(&mut self, head: u64) {
        self.head = head;
        let has_slots = head & (HAS_CGROUPS | HAS_NAMES | HAS_PROCESSES) != 0;
        self.words[0].store(if has_slots { head } else { 0 }, Release);
    }
}

/// Tells whether a slot is one of a process.
fn is_of(pid: u32, first: u64, second: u64) -> bool {
    second >> KIND_SHIFT == PROCESS && first & u64::from(u32::MAX) == u64::from(pid)
}

/// A name as two words; its last byte is always zero.
fn name_words(name: &[u8; 16]) -> (u64, u64) {
    let [first, rest] = stacksonde_ebpf::name_words(name);
    (first, rest & LOW)
}
