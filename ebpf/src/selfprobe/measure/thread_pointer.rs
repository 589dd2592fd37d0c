//! The user's thread pointer: planted, found, changed, found again.

use super::registers::TASK_BYTES;
use super::search::find_word;
use super::{Measured, only};
use crate::PEEK_BYTES;
use crate::selfprobe::entry::Planted;
use crate::selfprobe::{Error, Place, Selfprobe, on_another_thread};

const WHAT: &str = "the thread pointer that was planted";

pub(super) fn measure(probe: &mut Selfprobe) -> Result<Measured, Error> {
    let first = found(probe, planted()?)?;
    let second = found(probe, planted()?)?;
    let third = on_another_thread(|| planted().and_then(|value| found(probe, value)))??;
    let offsets: Vec<_> =
        first.iter().copied().filter(|at| second.contains(at) && third.contains(at)).collect();
    let candidates = first.len();
    let value = only(offsets, "task_struct", WHAT)? as u64;
    let evidence = format!(
        "the one word of our task (of {candidates} at first) that held each of three planted thread pointers, \
         on two threads"
    );
    Ok(Measured { value, method: "planted thread pointer", evidence })
}

/// A random one that the kernel accepts: a user's address.
fn planted() -> Result<u64, Error> {
    let Planted([random, ..]) = Planted::random()?;
    Ok((random & 0x3fff_ffff_f000) | 0x1000_0000_0000)
}

/// Returns the places in our task at which it is found.
fn found(probe: &mut Selfprobe, planted: u64) -> Result<Vec<usize>, Error> {
    let mut found = Vec::new();
    for start in (0..TASK_BYTES).step_by(PEEK_BYTES) {
        match probe.read_with_thread_pointer(Place::Task(start as u64), PEEK_BYTES, planted) {
            Ok(look) => found.extend(find_word(&look.bytes, planted).into_iter().map(|at| start + at)),
            Err(Error::Unreadable { .. }) if start > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
