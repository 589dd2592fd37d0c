//! Measures the place of entry registers: candidates on two threads, then a proof of each.
//!
//! `task_struct.stack` is the pointer whose area holds the registers with which we entered the kernel,
//! and `stack.pt_regs` is how far above that pointer they lie. Both are measured, not computed: the
//! padding above the registers varies with the kernel's configuration (`TOP_OF_KERNEL_STACK_PADDING`,
//! for example with CONFIG_X86_FRED).

use super::search::candidates;
use super::{Measured, only};
use crate::PEEK_BYTES;
use crate::selfprobe::entry::{NATIVE, Planted};
use crate::selfprobe::{Error, Place, Selfprobe, on_another_thread};

/// Bytes of `task_struct` that are searched; `stack` is near its start unless the kernel randomises the layout of
/// structures (CONFIG_RANDSTRUCT), and no configuration makes it larger than this.
pub(super) const TASK_BYTES: usize = 16 << 10;
/// The largest kernel stack: that of arm64 with pages of 64 KiB.
const STACK_BYTES: usize = 64 << 10;

/// The place of a thread's entry registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRegisters {
    /// Offset of `task_struct.stack`, in bytes.
    pub task_struct_stack: u64,
    /// Distance of the registers from the base of the stack, in bytes.
    pub stack_pt_regs: u64,
    /// Pointers in the task that could have been it.
    pub candidates: usize,
}

impl EntryRegisters {
    pub(super) fn task_struct_stack(&self) -> Measured {
        self.fact(self.task_struct_stack, "the pointer whose area holds our entry registers")
    }

    pub(super) fn stack_pt_regs(&self) -> Measured {
        self.fact(self.stack_pt_regs, "where our entry registers lie in the kernel stack")
    }

    fn fact(&self, value: u64, what: &str) -> Measured {
        let evidence = format!(
            "{what}; of the candidates ({}) only this one passed, with other values planted and on a second thread",
            self.candidates
        );
        Measured { value, method: "planted registers", evidence }
    }
}

/// Measures where entry registers lie, on the calling thread and on a second one.
pub(super) fn measure(probe: &mut Selfprobe) -> Result<EntryRegisters, Error> {
    let planted = Planted::random()?;
    let mine = copy(probe, &planted, Place::Task, TASK_BYTES)?;
    let other = on_another_thread(|| copy(probe, &planted, Place::Task, TASK_BYTES))??;
    let candidates = candidates(&mine, &other);

    let mut proved = Vec::new();
    for candidate in &candidates {
        // A pointer to something smaller than a stack, or to a stack with a guard above it: the
        // copy just ends there.
        let Ok(area) = copy(probe, &planted, |at| Place::Address(candidate.base + at), STACK_BYTES) else {
            continue;
        };
        for stack_pt_regs in NATIVE.find(&area, &planted).map(|at| at as u64) {
            if probe.confirm(candidate.offset, stack_pt_regs).is_ok() {
                proved.push(EntryRegisters {
                    task_struct_stack: candidate.offset,
                    stack_pt_regs,
                    candidates: candidates.len(),
                });
            }
        }
    }
    only(proved, "task_struct", "a pointer that leads to our entry registers")
}

/// Copies up to `limit` bytes, as far as they can be read; an error if there are none.
fn copy(
    probe: &mut Selfprobe,
    planted: &Planted,
    place: impl Fn(u64) -> Place,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let mut copied = probe.peek(place(0), PEEK_BYTES, planted)?;
    while copied.len() < limit {
        match probe.peek(place(copied.len() as u64), PEEK_BYTES, planted) {
            Ok(page) => copied.extend(page),
            Err(Error::Unreadable { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}
