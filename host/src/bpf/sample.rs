//! A sample, decoded.

use super::early::EarlyStack;
use stacksonde_ebpf::{LEAF_WORDS, STACK_HOLE, STACK_PAGE, STACK_PAGES_USUAL, STACK_SPAN, Sample, user_end};

/// One sample, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// CPU time that it stands for, in nanoseconds.
    pub cpu_time_ns: u64,
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
    /// The state from which the walk goes on, where the sampler's tables lacked something.
    pub rest: Option<Box<Rest>>,
    /// True if it is to be looked at before the next poll: the process may soon be gone, or its stack changed.
    pub urgent: bool,
    /// Which state of the process in the tables the sampler walked by; 0 if it was not in them.
    pub epoch: u32,
    /// The outcome of the user part: a value of [`stacksonde_ebpf::user_end`].
    pub user_end: u8,
    /// The outcome of the kernel part: a value of [`stacksonde_ebpf::kernel_end`].
    pub kernel_end: u8,
}

impl RawSample {
    /// Decodes a record, which stands for so much CPU time.
    pub(super) fn decode(record: &stacksonde_ebpf::sample::Record<'_>, cpu_time_ns: u64) -> Self {
        let head = &record.head;
        // The kernel's own walk may end in a zero.
        let user = record.user_frames();
        let known = record.user_frames().position(|address| address == 0).unwrap_or(user.len());
        Self {
            time_ns: head.time_ns,
            cpu_time_ns,
            pid: head.pid,
            tid: head.tid,
            cpu: head.cpu,
            cgroup_id: head.cgroup_id,
            comm: head.comm,
            kernel: record.kernel_frames().collect(),
            user: user.take(known).collect(),
            rest: record.stack().map(|stack| Box::new(Rest::of(head, record.leaf(), stack))),
            urgent: head.urgent != 0,
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
    /// The same and more, where the copy has all that it may have.
    pub early: Option<EarlyStack>,
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
        Self {
            registers,
            leaf,
            stack: StackCopy { start: head.stack_start, present: head.stack_present, bytes: stack.into() },
            early: None,
        }
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
    /// True if `pc` is the sampled instruction rather than a return address.
    pub exact: bool,
}

impl Registers {
    /// An address inside the instruction that the frame is at.
    pub fn address(&self) -> u64 {
        if self.exact { self.pc } else { self.pc.wrapping_sub(1) }
    }
}

/// A copy of the top of a stack, of the pages that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCopy {
    /// Address of the first page.
    pub start: u64,
    /// Which pages from there on are in the copy: a bit each, the lowest first.
    pub present: u64,
    /// The bytes of these pages, by address.
    pub bytes: Box<[u8]>,
}

impl StackCopy {
    /// A copy without gaps, of any length, from any address on.
    pub fn whole(start: u64, bytes: impl Into<Box<[u8]>>) -> Self {
        Self { start, present: u64::MAX, bytes: bytes.into() }
    }

    /// Tells whether it is as long as a copy may be, so that there may be more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= STACK_PAGES_USUAL * STACK_PAGE
    }

    /// The word at an address, or how a walk ends that needs it: a value of [`user_end`].
    pub fn word(&self, address: u64) -> Result<u64, u8> {
        let at = address.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.ok_or(user_end::STACK_UNREADABLE)?;
        let mut word = [0; 8];
        // It may lie across two pages, which need not be side by side in the copy.
        for (index, byte) in word.iter_mut().enumerate() {
            *byte = self.byte(at.saturating_add(index))?;
        }
        Ok(u64::from_ne_bytes(word))
    }

    fn byte(&self, at: usize) -> Result<u8, u8> {
        let page = at / STACK_PAGE;
        let bit = u32::try_from(page).ok().and_then(|page| 1u64.checked_shl(page));
        let copied = bit.filter(|bit| self.present & bit != 0).and_then(|bit| {
            let before = (self.present & (bit - 1)).count_ones() as usize;
            self.bytes.get(before * STACK_PAGE + at % STACK_PAGE)
        });
        match copied {
            Some(byte) => Ok(*byte),
            None if page >= self.tried() && at < 1 << 32 => Err(user_end::STACK_CUT),
            None => Err(user_end::STACK_UNREADABLE),
        }
    }

    /// Pages from the first one on that were copied or could not be read; of others nothing is known.
    fn tried(&self) -> usize {
        let last = match self.present {
            u64::MAX => self.bytes.len().div_ceil(STACK_PAGE),
            present => (u64::BITS - present.leading_zeros()) as usize,
        };
        if self.is_full() { last } else { (last + STACK_HOLE + 1).min(STACK_SPAN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_a_gap_gives_each_page_at_its_own_address() {
        let page = |value: u8| vec![value; STACK_PAGE];
        let copy =
            StackCopy { start: 0x1000, present: 0b1101, bytes: [page(1), page(3), page(4)].concat().into() };
        let all = |value: u8| Ok(u64::from_ne_bytes([value; 8]));
        assert_eq!((copy.word(0x1000), copy.word(0x1ff8)), (all(1), all(1)));
        assert_eq!(
            (copy.word(0x2000), copy.word(0xff8)),
            (Err(user_end::STACK_UNREADABLE), Err(user_end::STACK_UNREADABLE))
        );
        assert_eq!((copy.word(0x3000), copy.word(0x4ff8)), (all(3), all(4)));
        assert_eq!(copy.word(0x3ffc), Ok(u64::from_ne_bytes([3, 3, 3, 3, 4, 4, 4, 4])), "across two pages");
        assert_eq!(copy.word(0x1ffc), Err(user_end::STACK_UNREADABLE), "across the gap");
    }

    #[test]
    fn a_stack_larger_than_its_copy_is_cut_and_not_unreadable() {
        let bytes = STACK_PAGES_USUAL * STACK_PAGE;
        let copy = StackCopy { start: 0, present: 0x1ff, bytes: vec![0; bytes].into() };
        assert_eq!(copy.word(bytes as u64), Err(user_end::STACK_CUT));
        assert_eq!(copy.word(u64::MAX), Err(user_end::STACK_UNREADABLE));
        let short = StackCopy { start: 0, present: 1, bytes: vec![0; STACK_PAGE].into() };
        assert_eq!(short.word(STACK_PAGE as u64), Err(user_end::STACK_UNREADABLE), "it was tried");
        let far = (2 + STACK_HOLE) * STACK_PAGE;
        assert_eq!(short.word(far as u64), Err(user_end::STACK_CUT), "it was not");
    }
}
