//! The stack that a walk reads: the copy that came with the sample, and what lies beyond it.
//!
//! A copy is cut at its limit. A frame beyond it belongs to a function that called for long: it mostly still
//! waits there when the walk goes on, a few milliseconds later, and can be read from the process itself. Whether
//! it does is checked by the return address that led to it: if the process still has the same one at the same
//! place, it has not returned to there, and whoever called is waiting as well. Another one may be of the same
//! function, which goes on and called something else: that is for the walk to find out, which knows its frame.

use crate::blocking::{WaitsFor, Worker};
use crate::bpf::{StackCopy, read_process};
use stacksonde_ebpf::STACK_PAGE;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Memory that a walk reads.
pub trait Stack {
    /// The word at an address, or how a walk ends that needs it: a value of [`stacksonde_ebpf::user_end`].
    fn word(&self, address: u64) -> Result<u64, u8>;
}

impl Stack for StackCopy {
    fn word(&self, address: u64) -> Result<u64, u8> {
        Self::word(self, address)
    }
}

/// Pages that one walk reads from a process at most.
const PAGES_MAX: usize = 64;

/// Fills a buffer from an address of a process; whether it could.
pub(super) type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// A copy, and beyond it the stack of a process that still runs.
pub(super) struct Beyond<'a> {
    copy: &'a StackCopy,
    /// The stack as it was soon after the sample, and as it is now.
    reads: [Read<'a>; 2],
    /// The stack pointer of the frame that is being left.
    sp: Cell<u64>,
    /// The stack pointer for which the process was found not to have returned, by each of these.
    waits: [Cell<Option<u64>>; 2],
    /// The return address that was found where another one led to the frame, and by which reading.
    anew: Cell<Option<u64>>,
    anew_by: Cell<usize>,
    pages: RefCell<Vec<(u64, Box<[u8; STACK_PAGE]>)>>,
}

impl<'a> Beyond<'a> {
    /// `early` reads the stack as it was soon after the sample, as far as that is known; `now` as it is.
    pub(super) fn new(copy: &'a StackCopy, early: Read<'a>, now: Read<'a>) -> Self {
        Self {
            copy,
            reads: [early, now],
            sp: Cell::new(0),
            waits: Default::default(),
            anew: Cell::new(None),
            anew_by: Cell::new(0),
            pages: RefCell::default(),
        }
    }

    /// The walk leaves the frame with this stack pointer next.
    pub(super) fn leaving(&self, sp: u64) {
        self.sp.set(sp);
        self.anew.set(None);
    }

    /// The return address with which the process has called again from where the frame that is being left was, if a
    /// word was refused for that.
    pub(super) fn called_anew(&self) -> Option<u64> {
        self.anew.take()
    }

    /// It called from the same frame: whoever called that still waits.
    pub(super) fn is_same_frame(&self) {
        self.waits[self.anew_by.get()].set(Some(self.sp.get()));
    }

    /// Tells whether anything was read from the process.
    pub(super) fn was_used(&self) -> bool {
        !self.pages.borrow().is_empty()
    }

    /// Tells whether the function whose frame is being left has not been returned to since: the return address
    /// into it lies just below its frame. By the reading of this number.
    fn still_waits(&self, reading: usize) -> bool {
        let (sp, waits) = (self.sp.get(), &self.waits[reading]);
        if waits.get() == Some(sp) {
            return true;
        }
        let place = sp.wrapping_sub(8);
        let mut now = [0; 8];
        let Ok(then) = self.copy.word(place).or_else(|_| self.remembered(place).ok_or(0)) else {
            return false;
        };
        if !(self.reads[reading])(place, &mut now) {
            return false;
        }
        let now = u64::from_ne_bytes(now);
        match now == then {
            true => waits.set(Some(sp)),
            false => {
                self.anew.set(Some(now));
                self.anew_by.set(reading);
            }
        }
        now == then
    }

    fn remembered(&self, address: u64) -> Option<u64> {
        let page = address & !(STACK_PAGE as u64 - 1);
        let at = usize::try_from(address - page).ok()?;
        let pages = self.pages.borrow();
        let (_, bytes) = pages.iter().find(|(start, _)| *start == page)?;
        Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    }
}

impl Stack for Beyond<'_> {
    fn word(&self, address: u64) -> Result<u64, u8> {
        let end = match self.copy.word(address) {
            Ok(word) => return Ok(word),
            Err(end) => end,
        };
        // Below the copy nothing is a caller's.
        if address < self.sp.get() || !address.is_multiple_of(8) {
            return Err(end);
        }
        if let Some(word) = self.remembered(address) {
            return Ok(word);
        }
        if self.pages.borrow().len() >= PAGES_MAX {
            return Err(end);
        }
        let page = address & !(STACK_PAGE as u64 - 1);
        let mut bytes = Box::new([0; STACK_PAGE]);
        let mut readings = 0..self.reads.len();
        if !readings.any(|reading| self.still_waits(reading) && (self.reads[reading])(page, &mut bytes[..])) {
            return Err(end);
        }
        self.pages.borrow_mut().push((page, bytes));
        self.remembered(address).ok_or(end)
    }
}

/// The longest time for one read. It takes microseconds, unless the memory is paged in by a process that does not
/// answer (userfaultfd, FUSE).
const PATIENCE: Duration = Duration::from_millis(50);

/// Reads memory of processes, in a thread of its own: a process may map memory whose reading never ends.
#[derive(Debug)]
pub(super) struct Memory(RefCell<Worker>);

impl Default for Memory {
    fn default() -> Self {
        Self(RefCell::new(Worker::new("stacks", PATIENCE)))
    }
}

impl Memory {
    /// Fills a buffer from an address of a process, by a thread of it if its main one has ended; whether it could.
    pub(super) fn read(&self, pid: u32, tid: u32, address: u64, to: &mut [u8]) -> bool {
        let length = to.len();
        let read = move || {
            let mut bytes = vec![0; length];
            (read_process((pid, tid), address, &mut bytes) == length).then_some(bytes)
        };
        match self.0.borrow_mut().run_about(pid, WaitsFor::Process(pid), read) {
            Ok(Some(bytes)) => {
                to.copy_from_slice(&bytes);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(pid, %error, "the stack of this process cannot be read");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_ebpf::user_end;

    const CUT: Result<u64, u8> = Err(user_end::STACK_CUT);

    /// A process whose word at each address is that address, and which has returned to where `changed` is.
    fn reader(changed: Option<u64>) -> impl Fn(u64, &mut [u8]) -> bool {
        move |address, to: &mut [u8]| {
            for (index, word) in to.chunks_mut(8).enumerate() {
                let at = address + 8 * index as u64;
                let value = if changed == Some(at) { 1 } else { at };
                word.copy_from_slice(&value.to_ne_bytes()[..word.len()]);
            }
            address < 0x20_0000
        }
    }

    fn copy() -> StackCopy {
        let start = 0x10_0000u64;
        let words = stacksonde_ebpf::STACK_PAGES_USUAL * STACK_PAGE / 8;
        let bytes: Vec<u8> = (0..words as u64).flat_map(|word| (start + 8 * word).to_ne_bytes()).collect();
        StackCopy { start, present: (1 << stacksonde_ebpf::STACK_PAGES_USUAL) - 1, bytes: bytes.into() }
    }

    #[test]
    fn what_lies_beyond_a_copy_is_read_while_the_callers_wait() {
        let (copy, read) = (copy(), reader(None));
        let stack = Beyond::new(&copy, &|_, _| false, &read);
        stack.leaving(0x10_0100);
        assert_eq!(stack.word(0x10_0008), Ok(0x10_0008));
        assert!(!stack.was_used());
        assert_eq!(stack.word(0x18_0010), Ok(0x18_0010));
        assert!(stack.was_used());
        stack.leaving(0x18_0020);
        assert_eq!(stack.word(0x19_0010), Ok(0x19_0010), "from there on, too");
        assert_eq!(stack.word(0x20_0000), CUT, "the end of the process's memory");
    }

    #[test]
    fn nothing_is_read_once_a_caller_was_returned_to() {
        let (copy, read) = (copy(), reader(Some(0x10_00f8)));
        let stack = Beyond::new(&copy, &|_, _| false, &read);
        stack.leaving(0x10_0100);
        assert_eq!(stack.word(0x18_0010), CUT);
        assert!(!stack.was_used());
    }

    #[test]
    fn what_was_read_early_serves_where_the_process_moved_on() {
        let (copy, early, now) = (copy(), reader(None), |_: u64, _: &mut [u8]| false);
        let stack = Beyond::new(&copy, &early, &now);
        stack.leaving(0x10_0100);
        assert_eq!(stack.word(0x18_0010), Ok(0x18_0010));
        let (late, now) = (reader(Some(0x10_00f8)), reader(None));
        let stack = Beyond::new(&copy, &late, &now);
        stack.leaving(0x10_0100);
        assert_eq!(stack.word(0x18_0010), Ok(0x18_0010), "or else as it is now");
    }

    #[test]
    fn a_call_from_the_same_frame_is_no_return_to_it() {
        let (copy, read) = (copy(), reader(Some(0x10_00f8)));
        let stack = Beyond::new(&copy, &|_, _| false, &read);
        stack.leaving(0x10_0100);
        assert_eq!((stack.word(0x18_0010), stack.called_anew()), (CUT, Some(1)));
        assert_eq!(stack.called_anew(), None, "it is told once");
        stack.is_same_frame();
        assert_eq!(stack.word(0x18_0010), Ok(0x18_0010));
    }

    #[test]
    fn reads_our_own_memory_and_refuses_what_is_not_mapped() {
        let (word, mut read) = (0x1234_5678_u64, [0; 8]);
        let memory = Memory::default();
        let pid = std::process::id();
        assert!(memory.read(pid, pid, (&raw const word).addr() as u64, &mut read));
        assert_eq!(u64::from_ne_bytes(read), word);
        assert!(!memory.read(pid, pid, 8, &mut read));
    }
}
