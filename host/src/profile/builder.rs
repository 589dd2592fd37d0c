//! Makes a profile out of attributed samples.

use super::{Profile, Sample, Stack, Thread, Tick};
use crate::bpf::{Interval, RawSample};
use crate::map::{Map, entry_bytes};
use crate::process::{AttributedSample, Callers, Executable, Frame, PinnedFile, UnreadFiles};
use crate::telemetry::{Loss, Losses};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

/// Limits of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Distinct stacks.
    pub stacks: usize,
    /// Bytes of all stacks, frames and ticks, about.
    pub bytes: usize,
}

/// A distinct frame.
const FRAME_BYTES: usize = entry_bytes::<(Frame, u32)>();
/// A distinct stack, without its frames: as a key, and as what is made of it in the end.
const STACK_BYTES: usize = size_of::<Stack>() + entry_bytes::<(Box<[u32]>, u32)>();
/// A distinct thread.
const THREAD_BYTES: usize = entry_bytes::<(Thread, u32)>();
/// That a thread has a stack: with room for its first four ticks.
const SAMPLE_BYTES: usize = entry_bytes::<((u32, u32), Vec<Tick>)>() + 4 * size_of::<Tick>();

/// Callers whose list is remembered.
const CALLERS: usize = 8192;

/// The profile of the interval that is under way.
#[derive(Debug)]
pub struct Builder {
    frames: Interned<Frame>,
    /// Lists of frames that stacks have in common: all callers of an innermost user frame.
    callers: Interned<Box<[u32]>>,
    /// As [`Key`] writes them.
    stacks: Interned<Box<[u32]>>,
    threads: Interned<Thread>,
    samples: Map<(u32, u32), Vec<Tick>>,
    losses: Losses,
    excluded: u64,
    /// Lists by [`crate::process::Callers::id`], of those that were added lately.
    lists: Map<u64, u32>,
    /// The stack that is looked for: kept for its memory.
    key: Key,
    budget: Budget,
    /// The bytes held, by the sizes above.
    bytes: usize,
    period_ns: u64,
}

impl Builder {
    /// A profile within `budget`, in which a sample stands for `period_ns` of CPU time in the mean.
    pub fn new(period_ns: u64, budget: Budget) -> Self {
        Self {
            frames: Interned::default(),
            callers: Interned::default(),
            stacks: Interned::default(),
            threads: Interned::default(),
            samples: Map::default(),
            losses: Losses::default(),
            excluded: 0,
            lists: Map::default(),
            key: Key::default(),
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
        let callers = sample.callers.as_ref().map(|callers| self.list_of(callers));
        let inner = sample.kernel().chain(sample.leaf.clone()).map(|frame| self.frames.id(frame));
        self.key.write(&sample.raw, callers, inner);
        // They stay, whether there is room for the stack or not.
        self.bytes += (self.frames.len() - known) * FRAME_BYTES;
        let stack = match self.stacks.get(&*self.key.0) {
            Some(id) => id,
            None if self.stacks.len() < self.budget.stacks => {
                self.bytes += STACK_BYTES + 2 * self.key.0.len() * size_of::<u32>();
                self.stacks.id(self.key.0.as_slice().into())
            }
            None => {
                self.losses.add(Loss::StacksFull, 1);
                return false;
            }
        };
        let AttributedSample { raw, process, .. } = sample;
        let (pairs, threads) = (self.samples.len(), self.threads.len());
        let tick = Tick { time_ns: raw.time_ns, cpu_time_ns: raw.cpu_time_ns };
        let thread = self.threads.id(Thread { tid: raw.tid, comm: raw.comm, process });
        self.samples.entry((thread, stack)).or_default().push(tick);
        self.bytes += (self.samples.len() - pairs) * SAMPLE_BYTES + size_of::<Tick>();
        self.bytes += (self.threads.len() - threads) * THREAD_BYTES;
        true
    }

    /// The number of the list of these callers.
    fn list_of(&mut self, callers: &Callers) -> u32 {
        if let Some(list) = self.lists.get(&callers.id) {
            return *list;
        }
        let frames: Box<[u32]> = callers.frames.iter().map(|frame| self.frames.id(frame.clone())).collect();
        let (lists, bytes) = (self.callers.len(), entry_bytes::<(Box<[u32]>, u32)>() + size_of_val(&*frames));
        let list = self.callers.id(frames);
        self.bytes += (self.callers.len() - lists) * bytes;
        if self.lists.len() >= CALLERS {
            self.lists.clear();
        }
        self.lists.insert(callers.id, list);
        list
    }

    /// Counts a sample that was sent and is not wanted.
    pub fn exclude(&mut self) {
        self.excluded += 1;
    }

    /// Ends the interval; the next one begins empty.
    pub fn finish(&mut self, interval: &Interval, unread: UnreadFiles) -> Profile {
        let fresh = Self::new(self.period_ns, self.budget);
        let done = std::mem::replace(self, fresh);
        let mut losses = done.losses;
        let ticks = &interval.ticks;
        losses.add(Loss::Undelivered, ticks.undelivered);
        losses.add(Loss::Throttled, ticks.throttled);
        losses.add(Loss::Unwatched, ticks.unwatched);
        losses.add(Loss::Stolen, ticks.stolen);
        losses.add(Loss::RingFull, ticks.ring_full);
        losses.add(Loss::NoRing, ticks.no_ring);
        losses.add(Loss::NoScratch, ticks.no_scratch);
        losses.add(Loss::Malformed, ticks.malformed);
        let mut samples: Vec<_> = done
            .samples
            .into_iter()
            .map(|((thread, stack), ticks)| Sample { thread, stack, ticks })
            .collect();
        samples.sort_by_key(|sample| (sample.thread, sample.stack));
        let stacks = done.stacks.into_values().into_iter().map(|key| Key::read(&key)).collect();
        let frames = done.frames.into_values();
        Profile {
            start_ns: interval.start_ns,
            end_ns: interval.end_ns,
            unix_minus_monotonic_ns: interval.unix_minus_monotonic_ns,
            period_ns: done.period_ns,
            files: files_of(&frames),
            frames,
            stacks,
            callers: done.callers.into_values(),
            threads: done.threads.into_values(),
            samples,
            losses,
            idle: ticks.idle + ticks.idle_undelivered,
            mappings_left_out: 0,
            excluded: done.excluded + ticks.excluded,
            unread,
            kernel_code: Arc::default(),
        }
    }
}

/// The files of these frames, each once.
fn files_of(frames: &[Frame]) -> Vec<Arc<PinnedFile>> {
    let executables = frames.iter().filter_map(|frame| match frame {
        Frame::File(executable, _) => Some((executable.id, executable)),
        Frame::Kernel(_) | Frame::Unknown(_) => None,
    });
    let executables: Map<u32, &Arc<Executable>> = executables.collect();
    executables.into_values().filter_map(|executable| executable.file()).collect()
}

/// A stack as words: how its parts ended and how many of its frames are the kernel's, its list of callers, and the
/// frames that are not in that list.
#[derive(Debug, Default)]
struct Key(Vec<u32>);

/// There are no callers.
const NO_LIST: u32 = u32::MAX;

impl Key {
    fn write(&mut self, raw: &RawSample, callers: Option<u32>, inner: impl Iterator<Item = u32>) {
        // No sample has 2^16 of the kernel's.
        let [low, high, ..] = raw.kernel.len().to_le_bytes();
        self.0.clear();
        self.0.push(u32::from_le_bytes([raw.user_end, raw.kernel_end, low, high]));
        self.0.push(callers.unwrap_or(NO_LIST));
        self.0.extend(inner);
    }

    fn read(key: &[u32]) -> Stack {
        let (head, inner) = key.split_first_chunk().unwrap_or((&[0, NO_LIST], &[]));
        let [user_end, kernel_end, low, high] = head[0].to_le_bytes();
        Stack {
            inner: inner.into(),
            callers: (head[1] != NO_LIST).then_some(head[1]),
            kernel_frames: u16::from_le_bytes([low, high]).into(),
            user_end,
            kernel_end,
        }
    }
}

/// Values numbered in the order of their first appearance.
#[derive(Debug)]
struct Interned<T>(Map<T, u32>);

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<T: Hash + Eq> Interned<T> {
    fn get<Q: Hash + Eq + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
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
    use crate::bpf::{Frames, Ticks};
    use crate::process::Identity;

    fn sample(tid: u32, time_ns: u64, frames: &[u64]) -> AttributedSample {
        let raw = RawSample {
            time_ns,
            cpu_time_ns: 2 * time_ns,
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
        Interval { start_ns: 1, end_ns: 2, unix_minus_monotonic_ns: 0, ticks, frames: Frames::default() }
    }

    #[test]
    fn counts_equal_stacks_of_a_thread_together() {
        let mut builder = Builder::new(10, Budget { stacks: 100, bytes: 1 << 20 });
        for (tid, time_ns, frames) in [(1, 5, [7, 8]), (1, 6, [7, 8]), (2, 7, [7, 8]), (1, 8, [9, 8])] {
            builder.add(sample(tid, time_ns, &frames));
        }
        let profile = builder.finish(&interval(Ticks::default()), UnreadFiles::default());
        assert_eq!((profile.sample_count(), profile.stacks.len(), profile.frames.len()), (4, 2, 3));
        assert_eq!(profile.samples.len(), 3);
        let ticks = [5, 6].map(|time_ns| Tick { time_ns, cpu_time_ns: 2 * time_ns });
        assert_eq!((&profile.samples[0].ticks[..], profile.samples[0].cpu_time_ns()), (&ticks[..], 22));
        assert_eq!(builder.finish(&interval(Ticks::default()), UnreadFiles::default()).sample_count(), 0);
    }

    #[test]
    fn equal_stacks_of_many_processes_take_the_room_of_one() {
        let mut builder = Builder::new(10, Budget { stacks: 2, bytes: 2 << 20 });
        let many = 100_000;
        // Callers are another each time: `sample` makes their id of the time.
        assert!((0..many).all(|time_ns| builder.add(sample(1, time_ns, &[1, 2, 3]))));
        let profile = builder.finish(&interval(Ticks::default()), UnreadFiles::default());
        assert_eq!((profile.sample_count(), profile.stacks.len(), profile.losses.total()), (many, 1, 0));
        assert_eq!(profile.frames_of(&profile.stacks[0]).count(), 3);
    }

    #[test]
    fn callers_of_many_stacks_take_their_room_once() {
        let depth = 250;
        let callers: Vec<u64> = (1..depth).map(|number| number << 32).collect();
        let mut builder = Builder::new(10, Budget { stacks: 65_536, bytes: 4 << 20 });
        let leaves = 10_000;
        for leaf in 1..=leaves {
            // The same callers of a thread have the same id while they are known.
            let mut sample = sample(1, leaf, &[&[leaf], &callers[..]].concat());
            sample.callers = sample
                .callers
                .map(|callers| Arc::new(Callers { id: 1, ..Arc::into_inner(callers).unwrap() }));
            assert!(builder.add(sample), "no room for stack {leaf}");
        }
        let profile = builder.finish(&interval(Ticks::default()), UnreadFiles::default());
        assert_eq!((profile.stacks.len() as u64, profile.losses.total()), (leaves, 0));
        let last = profile.stacks.last().unwrap();
        assert_eq!(profile.frames_of(last).count() as u64, depth);
    }

    #[test]
    fn deep_stacks_that_differ_fill_the_share_that_is_promised() {
        // With 256 frames each, which nothing has in common, 4 MiB have room for 4096 lists and what else a stack takes.
        let mut builder = Builder::new(10, Budget { stacks: 65_536, bytes: 4 << 20 });
        let added = (0..5000_u64).filter(|number| {
            let frames: Vec<u64> =
                (0..256).map(|depth| if (number >> (depth % 13)) & 1 == 0 { 7 } else { 9 }).collect();
            builder.add(sample(1, *number, &frames))
        });
        let added = added.count();
        assert!((3000..4096).contains(&added), "{added}");
    }

    #[test]
    fn frames_of_samples_without_room_count_too() {
        let mut builder = Builder::new(10, Budget { stacks: 1, bytes: 100 * FRAME_BYTES });
        for address in 1..=1000 {
            builder.add(sample(1, address, &[address, 7]));
        }
        assert!(builder.frames.len() <= 100, "{}", builder.frames.len());
        assert_eq!(builder.losses.of(Loss::StacksFull), 999);
    }

    #[test]
    fn a_stack_over_the_budget_is_a_counted_loss() {
        let mut builder = Builder::new(10, Budget { stacks: 1, bytes: 1 << 20 });
        for address in 1..=3 {
            builder.add(sample(1, 5, &[address]));
        }
        let profile =
            builder.finish(&interval(Ticks { ring_full: 4, ..Ticks::default() }), UnreadFiles::default());
        assert_eq!((profile.sample_count(), profile.losses.of(Loss::StacksFull)), (1, 2));
        assert_eq!((profile.losses.of(Loss::RingFull), profile.losses.total()), (4, 6));
    }
}
