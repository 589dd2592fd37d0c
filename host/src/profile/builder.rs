//! Makes a profile out of attributed samples.

use super::{Profile, Sample, Stack, Thread};
use crate::bpf::Interval;
use crate::process::{AttributedSample, Frame};
use crate::telemetry::{Loss, Losses};
use std::collections::HashMap;
use std::hash::Hash;

/// How much a profile may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Distinct stacks.
    pub stacks: usize,
    /// Bytes of all stacks, frames and times, about.
    pub bytes: usize,
}

/// What a distinct frame takes, with its place in the table that finds it, which is three quarters full.
const FRAME_BYTES: usize = (size_of::<(Frame, u32)>() + 1) * 4 / 3;
/// A distinct stack, without its frames; and that a thread has it.
const STACK_BYTES: usize = (size_of::<(Stack, u32)>() + size_of::<((u32, u32), Vec<u64>)>() + 2) * 4 / 3 + 48;

/// Callers whose frames are remembered: a few hundred KiB of them, and two MiB if all were as deep as can be.
const CALLERS: usize = 2048;

/// The profile of the interval that is under way.
#[derive(Debug)]
pub struct Builder {
    frames: Interned<Frame>,
    stacks: Interned<Stack>,
    threads: Interned<Thread>,
    samples: HashMap<(u32, u32), Vec<u64>>,
    losses: Losses,
    excluded: u64,
    /// Frames by [`crate::process::Callers::id`], of those that were added lately.
    callers: HashMap<u64, Box<[u32]>>,
    budget: Budget,
    /// What is held, by the sizes above.
    bytes: usize,
    period_ns: u64,
}

impl Builder {
    /// A profile within `budget`, in which a sample stands for `period_ns` of CPU time.
    pub fn new(period_ns: u64, budget: Budget) -> Self {
        Self {
            frames: Interned::default(),
            stacks: Interned::default(),
            threads: Interned::default(),
            samples: HashMap::new(),
            losses: Losses::default(),
            excluded: 0,
            callers: HashMap::new(),
            budget,
            bytes: 0,
            period_ns,
        }
    }

    /// Counts a sample in; false if there was no room for it.
    pub fn add(&mut self, sample: AttributedSample) -> bool {
        if self.bytes >= self.budget.bytes {
            self.losses.add(Loss::StacksFull, 1);
            return false;
        }
        let known = self.frames.len();
        let stack = Stack {
            frames: self.frames_of(&sample),
            kernel_frames: u32::try_from(sample.raw.kernel.len()).unwrap_or(u32::MAX),
            user_end: sample.raw.user_end,
            kernel_end: sample.raw.kernel_end,
        };
        let AttributedSample { raw, process, .. } = sample;
        let stack = match self.stacks.get(&stack) {
            Some(id) => id,
            None if self.stacks.len() < self.budget.stacks => {
                self.bytes += STACK_BYTES + size_of_val(&*stack.frames);
                self.stacks.id(stack)
            }
            None => {
                self.losses.add(Loss::StacksFull, 1);
                return false;
            }
        };
        self.bytes += (self.frames.len() - known) * FRAME_BYTES + size_of::<u64>();
        let thread = self.threads.id(Thread { tid: raw.tid, comm: raw.comm, process });
        self.samples.entry((thread, stack)).or_default().push(raw.time_ns);
        true
    }

    /// Frames of a sample by number, leaf first: the kernel's, then the user's.
    fn frames_of(&mut self, sample: &AttributedSample) -> Box<[u32]> {
        let (kernel, callers) = (sample.raw.kernel.len(), sample.callers.as_ref());
        let mut frames = Vec::with_capacity(kernel + 1 + callers.map_or(0, |callers| callers.frames.len()));
        frames.extend(sample.kernel().chain(sample.leaf.clone()).map(|frame| self.frames.id(frame)));
        let Some(callers) = callers else { return frames.into() };
        if let Some(known) = self.callers.get(&callers.id) {
            frames.extend_from_slice(known);
            return frames.into();
        }
        let first = frames.len();
        frames.extend(callers.frames.iter().map(|frame| self.frames.id(frame.clone())));
        if self.callers.len() >= CALLERS {
            self.callers.clear();
        }
        self.callers.insert(callers.id, frames[first..].into());
        frames.into()
    }

    /// Counts a sample that was sent and is not wanted.
    pub fn exclude(&mut self) {
        self.excluded += 1;
    }

    /// Ends the interval; the next one begins empty.
    pub fn finish(&mut self, interval: &Interval) -> Profile {
        let fresh = Self::new(self.period_ns, self.budget);
        let done = std::mem::replace(self, fresh);
        let mut losses = done.losses;
        let ticks = &interval.ticks;
        losses.add(Loss::Undelivered, ticks.undelivered);
        losses.add(Loss::Stolen, ticks.stolen);
        losses.add(Loss::RingFull, ticks.ring_full);
        losses.add(Loss::NoRing, ticks.no_ring);
        losses.add(Loss::NoScratch, ticks.no_scratch);
        losses.add(Loss::Malformed, ticks.malformed);
        let mut samples: Vec<_> = done
            .samples
            .into_iter()
            .map(|((thread, stack), times_ns)| Sample { thread, stack, times_ns })
            .collect();
        samples.sort_by_key(|sample| (sample.thread, sample.stack));
        Profile {
            start_ns: interval.start_ns,
            end_ns: interval.end_ns,
            period_ns: done.period_ns,
            frames: done.frames.into_values(),
            stacks: done.stacks.into_values(),
            threads: done.threads.into_values(),
            samples,
            losses,
            idle: ticks.idle + ticks.idle_undelivered,
            excluded: done.excluded + ticks.excluded,
        }
    }
}

/// Values numbered in the order of their first appearance.
#[derive(Debug)]
struct Interned<T>(HashMap<T, u32>);

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq> Interned<T> {
    fn get(&self, value: &T) -> Option<u32> {
        self.0.get(value).copied()
    }

    fn id(&mut self, value: T) -> u32 {
        // Bounded far below 2^32 by the budget of stacks and their depth.
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value).or_insert(next)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn into_values(self) -> Vec<T> {
        let mut pairs: Vec<(T, u32)> = self.0.into_iter().collect();
        pairs.sort_by_key(|(_, id)| *id);
        pairs.into_iter().map(|(value, _)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Frames, RawSample, Ticks};
    use crate::process::{Callers, Identity};
    use std::sync::Arc;

    fn sample(tid: u32, time_ns: u64, frames: &[u64]) -> AttributedSample {
        let raw = RawSample {
            time_ns,
            pid: 1,
            tid,
            cpu: 0,
            cgroup_id: 0,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            kernel: Box::default(),
            rest: None,
            user: frames.into(),
            urgent: false,
            epoch: 0,
            user_end: stacksonde_ebpf::user_end::COMPLETE,
            kernel_end: stacksonde_ebpf::kernel_end::NOT_IN_KERNEL,
        };
        let mut frames = frames.iter().map(|address| Frame::Unknown(*address));
        let leaf = frames.next();
        let callers = Some(Arc::new(Callers { id: time_ns, frames: frames.collect() }));
        AttributedSample { raw, process: Arc::new(Identity { pid: 1, ..Identity::default() }), leaf, callers }
    }

    fn interval(ticks: Ticks) -> Interval {
        Interval { start_ns: 1, end_ns: 2, ticks, frames: Frames::default() }
    }

    #[test]
    fn counts_equal_stacks_of_a_thread_together() {
        let mut builder = Builder::new(10, Budget { stacks: 100, bytes: 1 << 20 });
        for (tid, time_ns, frames) in [(1, 5, [7, 8]), (1, 6, [7, 8]), (2, 7, [7, 8]), (1, 8, [9, 8])] {
            builder.add(sample(tid, time_ns, &frames));
        }
        let profile = builder.finish(&interval(Ticks::default()));
        assert_eq!((profile.sample_count(), profile.stacks.len(), profile.frames.len()), (4, 2, 3));
        assert_eq!(profile.samples.len(), 3);
        assert_eq!(profile.samples[0].times_ns, [5, 6]);
        assert_eq!(builder.finish(&interval(Ticks::default())).sample_count(), 0);
    }

    #[test]
    fn equal_stacks_of_many_processes_take_the_room_of_one() {
        let mut builder = Builder::new(10, Budget { stacks: 2, bytes: 1 << 20 });
        let many = 100_000;
        // Callers are another each time: `sample` makes their id of the time.
        assert!((0..many).all(|time_ns| builder.add(sample(1, time_ns, &[1, 2, 3]))));
        let profile = builder.finish(&interval(Ticks::default()));
        assert_eq!((profile.sample_count(), profile.stacks.len(), profile.losses.total()), (many, 1, 0));
        assert_eq!(profile.stacks[0].frames.len(), 3);
    }

    #[test]
    fn a_stack_over_the_budget_is_a_counted_loss() {
        let mut builder = Builder::new(10, Budget { stacks: 1, bytes: 1 << 20 });
        for address in 1..=3 {
            builder.add(sample(1, 5, &[address]));
        }
        let profile = builder.finish(&interval(Ticks { ring_full: 4, ..Ticks::default() }));
        assert_eq!((profile.sample_count(), profile.losses.of(Loss::StacksFull)), (1, 2));
        assert_eq!((profile.losses.of(Loss::RingFull), profile.losses.total()), (4, 6));
    }
}
