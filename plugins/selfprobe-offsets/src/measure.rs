//! The measurement: candidates on two threads, then a proof of each.

use crate::search::candidates;
use stacksonde_ebpf::PEEK_BYTES;
use stacksonde_ebpf::selfprobe::entry::{NATIVE, Planted};
use stacksonde_ebpf::selfprobe::{self, Place, Selfprobe, on_another_thread};

/// How much of `task_struct` is searched; `stack` is near its start unless the kernel randomises
/// the layout of structures (CONFIG_RANDSTRUCT), and no configuration makes it larger than this.
const TASK_BYTES: usize = 16 << 10;
/// The largest kernel stack: that of arm64 with pages of 64 KiB.
const STACK_BYTES: usize = 64 << 10;

/// Where a thread's entry registers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRegisters {
    /// Offset of `task_struct.stack`, in bytes.
    pub task_struct_stack: u64,
    /// Distance of the registers from the base of the stack, in bytes.
    pub stack_pt_regs: u64,
    /// Pointers in the task that could have been it.
    pub candidates: usize,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The analysis program could not do its work.
    #[error(transparent)]
    Selfprobe(#[from] selfprobe::Error),
    /// No pointer of our task leads to our entry registers.
    #[error("none of {0} candidate pointers in our own task_struct leads to our entry registers")]
    NotFound(usize),
    /// More than one does, and none is taken rather than the wrong one.
    #[error("{0} pointers in our own task_struct lead to our entry registers; none is taken")]
    Ambiguous(usize),
}

/// Measures where entry registers lie, on the calling thread and on a second one.
pub fn entry_registers() -> Result<EntryRegisters, Error> {
    let mut probe = Selfprobe::load()?;
    let planted = Planted::random()?;
    let mine = copy(&mut probe, &planted, Place::Task, TASK_BYTES)?;
    let other = on_another_thread(|| copy(&mut probe, &planted, Place::Task, TASK_BYTES))??;
    let candidates = candidates(&mine, &other);

    let mut proved = Vec::new();
    for candidate in &candidates {
        // A pointer to something smaller than a stack, or to a stack with a guard above it: the
        // copy just ends there.
        let Ok(area) = copy(&mut probe, &planted, |at| Place::Address(candidate.base + at), STACK_BYTES)
        else {
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
    match proved[..] {
        [one] => Ok(one),
        [] => Err(Error::NotFound(candidates.len())),
        _ => Err(Error::Ambiguous(proved.len())),
    }
}

/// Copies up to `limit` bytes, as far as they can be read; an error if there are none.
fn copy(
    probe: &mut Selfprobe,
    planted: &Planted,
    place: impl Fn(u64) -> Place,
    limit: usize,
) -> Result<Vec<u8>, selfprobe::Error> {
    let mut copied = probe.peek(place(0), PEEK_BYTES, planted)?;
    while copied.len() < limit {
        match probe.peek(place(copied.len() as u64), PEEK_BYTES, planted) {
            Ok(page) => copied.extend(page),
            Err(selfprobe::Error::Unreadable { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}
