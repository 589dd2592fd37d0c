//! Several threads at once, each with a copy of its own task.

use super::registers::TASK_BYTES;
use crate::PEEK_BYTES;
use crate::selfprobe::{Error, Place, Selfprobe};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A thread's known values, and the bytes of its task.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Address of its `task_struct`.
    pub(super) task: u64,
    /// Its id in its own pid namespace.
    pub(super) tid: u32,
    /// The time just before and just after it was started: CLOCK_MONOTONIC, nanoseconds.
    pub(super) started_ns: (u64, u64),
    /// The task.
    pub(super) bytes: Vec<u8>,
    /// The task a few milliseconds later.
    pub(super) later: Vec<u8>,
}

/// Threads that are compared.
const THREADS: usize = 3;

/// Gives `work` the snapshots of several threads while all of them live.
pub(super) fn observe<T>(
    probe: &mut Selfprobe,
    work: impl FnOnce(&mut Selfprobe, &[Snapshot]) -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = |error| Error::System { what: "cannot start threads to compare", error };
    std::thread::scope(|scope| {
        let mut snapshots: Vec<Snapshot> = Vec::new();
        // Dropping the senders ends the threads.
        let mut live = Vec::new();
        let mut shared = probe;
        for _ in 0..THREADS {
            let (to_thread, orders) = sync_channel::<&mut Selfprobe>(1);
            let (answers, from_thread) = sync_channel(1);
            let before = monotonic_ns();
            std::thread::Builder::new()
                .name("selfprobe".into())
                .spawn_scoped(scope, move || serve(&orders, &answers))
                .map_err(failed)?;
            let after = monotonic_ns();
            let gone = || failed(io::Error::other("it ended early"));
            let mut copies = Vec::new();
            for _ in 0..2 {
                to_thread.send(shared).map_err(|_| gone())?;
                let (probe, copied) = from_thread.recv().map_err(|_| gone())?;
                shared = probe;
                copies.push(copied?);
                std::thread::sleep(Duration::from_millis(2));
            }
            let later = copies.pop().map(|copy| copy.bytes).unwrap_or_default();
            let Some(copy) = copies.pop() else { return Err(gone()) };
            snapshots.push(Snapshot {
                task: copy.task,
                tid: copy.tid,
                started_ns: (before, after),
                bytes: copy.bytes,
                later,
            });
            live.push(to_thread);
        }
        work(shared, &snapshots)
    })
}

struct Copy {
    task: u64,
    tid: u32,
    bytes: Vec<u8>,
}

type Answer<'a> = (&'a mut Selfprobe, Result<Copy, Error>);

fn serve<'a>(orders: &Receiver<&'a mut Selfprobe>, answers: &SyncSender<Answer<'a>>) {
    for probe in orders {
        let copied = copy(probe);
        if answers.send((probe, copied)).is_err() {
            return;
        }
    }
}

fn copy(probe: &mut Selfprobe) -> Result<Copy, Error> {
    let first = probe.read(Place::Task(0), PEEK_BYTES)?;
    let (task, mut bytes) = (first.task, first.bytes);
    while bytes.len() < TASK_BYTES {
        match probe.read(Place::Task(bytes.len() as u64), PEEK_BYTES) {
            Ok(look) => bytes.extend(look.bytes),
            Err(Error::Unreadable { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Copy { task, tid: own_tid(), bytes })
}

/// The calling thread's id in its own pid namespace.
pub(super) fn own_tid() -> u32 {
    // SAFETY: a plain question.
    unsafe { libc::gettid() }.cast_unsigned()
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.cast_unsigned())
}
