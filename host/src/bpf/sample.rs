//! A sample, decoded.

use stacksonde_ebpf::{LEAF_WORDS, Sample};

/// One sample, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The CPU that was sampled.
    pub cpu: u32,
    /// Id of the task's cgroup in the default hierarchy; 0 if unknown.
    pub cgroup_id: u64,
    /// Name of the thread, zero padded.
    pub comm: [u8; 16],
    /// Addresses in the kernel, leaf first.
    pub kernel: Box<[u64]>,
    /// Addresses in the process, leaf first, as far as the walk came.
    pub user: Box<[u64]>,
    /// What the walk needs to go on, where the sampler's tables were wanting.
    pub rest: Option<Box<Rest>>,
    /// Which state of the process in the tables the sampler walked by; 0 if it was not in them.
    pub epoch: u32,
    /// How the user part ended: a value of [`stacksonde_ebpf::user_end`].
    pub user_end: u8,
    /// How the kernel part ended: a value of [`stacksonde_ebpf::kernel_end`].
    pub kernel_end: u8,
}

impl From<&stacksonde_ebpf::sample::Record<'_>> for RawSample {
    fn from(record: &stacksonde_ebpf::sample::Record<'_>) -> Self {
        let head = &record.head;
        Self {
            time_ns: head.time_ns,
            pid: head.pid,
            tid: head.tid,
            cpu: head.cpu,
            cgroup_id: head.cgroup_id,
            comm: head.comm,
            kernel: record.kernel_frames().collect(),
            // The kernel's own walk may end in a zero.
            user: record.user_frames().take_while(|address| *address != 0).collect(),
            rest: record.stack().map(|stack| Box::new(Rest::of(head, record.leaf(), stack))),
            epoch: head.epoch,
            user_end: head.user_end,
            kernel_end: head.kernel_end,
        }
    }
}

/// A walk that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Those of the last frame that was found.
    pub registers: Registers,
    /// Registers of the innermost frame, by DWARF number.
    pub leaf: [u64; LEAF_WORDS],
    /// The stack from there on.
    pub stack: StackCopy,
}

impl Rest {
    fn of(head: &Sample, leaf: [u64; LEAF_WORDS], stack: &[u8]) -> Self {
        let registers = Registers {
            pc: head.user_pc,
            sp: head.user_sp,
            fp: head.user_fp,
            bx: head.user_bx,
            lr: head.user_lr,
            exact: head.user_exact != 0,
        };
        Self { registers, leaf, stack: StackCopy { start: head.stack_start, bytes: stack.into() } }
    }
}

/// Registers of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// rbx (x86-64).
    pub bx: u64,
    /// Link register (arm64).
    pub lr: u64,
    /// Whether `pc` is where execution stood, rather than a return address.
    pub exact: bool,
}

impl Registers {
    /// An address inside the instruction that the frame is at.
    pub fn address(&self) -> u64 {
        if self.exact { self.pc } else { self.pc.wrapping_sub(1) }
    }
}

/// A copy of the top of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCopy {
    /// Address of the first byte.
    pub start: u64,
    /// The bytes, by address.
    pub bytes: Box<[u8]>,
}
