//! Samples of one interval: equal stacks counted, everything named once.

mod builder;

pub use builder::{Budget, Builder};

use crate::process::{Frame, Identity, PinnedFile, UnreadFiles};
use crate::symbolize::KernelCode;
use crate::telemetry::Losses;
use std::sync::Arc;

/// The samples of one interval.
#[derive(Clone, Debug)]
pub struct Profile {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub end_ns: u64,
    /// CLOCK_REALTIME less CLOCK_MONOTONIC when it began, in nanoseconds.
    pub unix_minus_monotonic_ns: i64,
    /// CPU time that one sample stands for in the mean, in nanoseconds.
    pub period_ns: u64,
    /// Distinct frames.
    pub frames: Vec<Frame>,
    /// Distinct stacks.
    pub stacks: Vec<Stack>,
    /// Lists of indexes into `frames`, leaf first, which stacks have in common.
    pub callers: Vec<Box<[u32]>>,
    /// Threads that were sampled.
    pub threads: Vec<Thread>,
    /// Stacks by thread.
    pub samples: Vec<Sample>,
    /// Samples that are missing.
    pub losses: Losses,
    /// Ticks of the idle task; no sample stands for them.
    pub idle: u64,
    /// Executable mappings of sampled processes for which there was no room when it ended.
    pub mappings_left_out: u64,
    /// Samples that the filter leaves out, in the kernel or here.
    pub excluded: u64,
    /// Files of the programs that could not be looked at; see [`crate::process::FileReader`].
    pub unread: UnreadFiles,
    /// Code that the kernel got while samples were taken.
    pub kernel_code: Arc<KernelCode>,
    /// The files of the frames, so that they can be read as long as there is the profile.
    pub files: Vec<Arc<PinnedFile>>,
}

/// A call stack; [`Profile::frames_of`] has all of its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Indexes into [`Profile::frames`], leaf first, of the frames that are not in `callers`.
    pub inner: Box<[u32]>,
    /// Index into [`Profile::callers`] of the rest.
    pub callers: Option<u32>,
    /// The number of the first of them that are the kernel's.
    pub kernel_frames: u32,
    /// The outcome of the user part: a value of [`stacksonde_ebpf::user_end`].
    pub user_end: u8,
    /// The outcome of the kernel part: a value of [`stacksonde_ebpf::kernel_end`].
    pub kernel_end: u8,
}

impl Stack {
    /// Tells whether nothing of the stack is missing: the walk reached a root, or a kernel thread has no user part.
    pub fn is_complete(&self) -> bool {
        is_complete(self.user_end, self.kernel_end)
    }

    /// Names how it ended, as files and the summary do: what kept its kernel part back, or else how its user part ended.
    pub fn outcome(&self) -> &'static str {
        match self.kernel_end {
            stacksonde_ebpf::kernel_end::REFUSED => "kernel_stack_refused",
            _ => stacksonde_ebpf::user_end::name(self.user_end),
        }
    }
}

/// Tells whether a stack with these outcomes is complete.
pub(crate) fn is_complete(user_end: u8, kernel_end: u8) -> bool {
    use stacksonde_ebpf::{kernel_end, user_end};
    matches!(user_end, user_end::COMPLETE | user_end::KERNEL_THREAD) && kernel_end != kernel_end::REFUSED
}

/// A thread of a process, under one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub comm: [u8; 16],
    /// Its process.
    pub process: Arc<Identity>,
}

/// Equal stacks of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index into [`Profile::threads`].
    pub thread: u32,
    /// Index into [`Profile::stacks`].
    pub stack: u32,
    /// When each was taken and what it stands for; as many as there are.
    pub ticks: Vec<Tick>,
}

/// A moment at which a thread was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// CPU time that it stands for, in nanoseconds.
    pub cpu_time_ns: u64,
}

impl Sample {
    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.ticks.len() as u64
    }

    /// Adds up the CPU time that they stand for, in nanoseconds.
    pub fn cpu_time_ns(&self) -> u64 {
        self.ticks.iter().fold(0, |sum, tick| sum.saturating_add(tick.cpu_time_ns))
    }
}

impl Profile {
    /// Indexes into `frames` of a stack, leaf first.
    pub fn frames_of<'a>(&'a self, stack: &'a Stack) -> impl Iterator<Item = u32> + 'a {
        let callers = stack.callers.map_or(&[][..], |list| &self.callers[list as usize]);
        stack.inner.iter().chain(callers).copied()
    }

    /// Samples in the profile.
    pub fn sample_count(&self) -> u64 {
        self.samples.iter().map(Sample::count).sum()
    }

    /// Samples whose stack is complete.
    pub fn complete_count(&self) -> u64 {
        let complete = |sample: &&Sample| self.stacks[sample.stack as usize].is_complete();
        self.samples.iter().filter(complete).map(Sample::count).sum()
    }
}
