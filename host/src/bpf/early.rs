//! Stacks larger than their copy, read from the process as soon as its record is taken out of a ring: when its turn
//! comes, some milliseconds later, the process may run another program.

use super::monotonic_ns;
use stacksonde_ebpf::{STACK_PAGE, STACK_PAGES_USUAL};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::{fmt, io, ptr};

/// Bytes read of one stack: those of the copy, too, which show whether the process moved on meanwhile, and beyond them
/// room for a frame of half a MiB, such as rustc has.
const BYTES: usize = (STACK_PAGES_USUAL + 144) * STACK_PAGE;

/// Stacks that are held at a time.
const HELD: usize = 4;

/// A stack that is being read, or was.
#[derive(Clone)]
pub struct EarlyStack(Arc<Slot>);

struct Slot {
    start: u64,
    bytes: OnceLock<Box<[u8]>>,
    /// One of [`HELD`].
    _token: Arc<()>,
}

impl EarlyStack {
    /// Fills a buffer from an address of the stack; false if that was not read, or not yet.
    pub(crate) fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let at = address.checked_sub(self.0.start).and_then(|at| usize::try_from(at).ok());
        let from =
            self.0.bytes.get().zip(at).and_then(|(bytes, at)| bytes.get(at..at.checked_add(to.len())?));
        from.map(|from| to.copy_from_slice(from)).is_some()
    }
}

impl fmt::Debug for EarlyStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyStack").field("start", &self.0.start).finish_non_exhaustive()
    }
}

impl PartialEq for EarlyStack {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for EarlyStack {}

/// Reads stacks in a thread of its own: a process may map memory whose reading never ends. Then that thread is left to
/// it, and others' stacks are read by another one.
pub(super) struct EarlyStacks(RefCell<Threads>);

struct Threads {
    now: Option<Thread>,
    /// Readings of threads that were left.
    hung: Vec<Arc<Reading>>,
}

struct Thread {
    ask: SyncSender<(Task, EarlyStack)>,
    token: Arc<()>,
    reading: Arc<Reading>,
}

/// A process, and the thread of it that was sampled.
type Task = (u32, u32);

/// The reading that a thread is at.
#[derive(Default)]
struct Reading {
    pid: AtomicU32,
    /// CLOCK_MONOTONIC, nanoseconds; 0 while there is nothing to read.
    since_ns: AtomicU64,
}

/// Reading takes microseconds, unless somebody has to page in what is read, who does not answer (userfaultfd, FUSE).
const PATIENCE_NS: u64 = 50_000_000;
/// Threads that may hang. Each holds a buffer.
const HUNG_MAX: usize = 4;

impl EarlyStacks {
    /// Starts the thread, which ends after this value.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(RefCell::new(Threads { now: Some(Thread::start()?), hung: Vec::new() })))
    }

    /// Has the stack of a thread read from `start` on; `None` if too many are held, or the reading of others hangs.
    pub(super) fn read(&self, task: Task, start: u64) -> Option<EarlyStack> {
        let mut threads = self.0.borrow_mut();
        let thread = threads.thread_for(task.0, monotonic_ns())?;
        if Arc::strong_count(&thread.token) > HELD {
            return None;
        }
        let slot = Slot { start, bytes: OnceLock::new(), _token: Arc::clone(&thread.token) };
        let stack = EarlyStack(Arc::new(slot));
        thread.ask.try_send((task, stack.clone())).ok().map(|()| stack)
    }
}

impl Threads {
    /// Finds a thread to read a process, unless another one hangs with that.
    fn thread_for(&mut self, pid: u32, now_ns: u64) -> Option<&Thread> {
        let hangs = |thread: &Thread| {
            let since = thread.reading.since_ns.load(Relaxed);
            since != 0 && now_ns.saturating_sub(since) > PATIENCE_NS
        };
        if let Some(thread) = self.now.take_if(|thread| hangs(thread)) {
            self.hung.push(thread.reading);
        }
        if !self.hung.is_empty() {
            self.hung.retain(|reading| reading.since_ns.load(Relaxed) != 0);
            if self.hung.len() >= HUNG_MAX || self.hung.iter().any(|it| it.pid.load(Relaxed) == pid) {
                return None;
            }
        }
        if self.now.is_none() {
            self.now = Thread::start().ok();
        }
        self.now.as_ref()
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (ask, asked) = sync_channel::<(Task, EarlyStack)>(HELD);
        let reading = Arc::new(Reading::default());
        let now = Arc::clone(&reading);
        std::thread::Builder::new().name("early stacks".into()).spawn(move || {
            crate::priority::go_first();
            for ((pid, tid), stack) in asked {
                now.pid.store(pid, Relaxed);
                now.since_ns.store(monotonic_ns(), Relaxed);
                let mut bytes = vec![0; BYTES];
                let read = read_process((pid, tid), stack.0.start, &mut bytes);
                bytes.truncate(read);
                // It is filled here only.
                let _filled = stack.0.bytes.set(bytes.into());
                now.since_ns.store(0, Relaxed);
            }
        })?;
        Ok(Self { ask, token: Arc::default(), reading })
    }
}

/// Reads memory of a process, as much as can be read from there on; returns how many bytes. Where the main thread has
/// ended, a thread of it that goes on is asked.
pub(crate) fn read_process((pid, tid): (u32, u32), address: u64, to: &mut [u8]) -> usize {
    match read_task(pid, address, to) {
        // Another process may have the thread's id by now.
        0 if tid != pid && std::fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(false) => {
            read_task(tid, address, to)
        }
        read => read,
    }
}

/// process_vm_readv(2)
fn read_task(pid: u32, address: u64, to: &mut [u8]) -> usize {
    let (Ok(pid), Ok(address)) = (libc::pid_t::try_from(pid), usize::try_from(address)) else { return 0 };
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: to.len() };
    // SAFETY: the local vector is `to`, writable for its length; the kernel checks the remote one.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn reads_a_stack_and_holds_so_many() {
        let memory: Vec<u64> = (0..2 * BYTES as u64 / 8).collect();
        let start = memory.as_ptr().addr() as u64;
        let stacks = EarlyStacks::new().unwrap();
        let here = (std::process::id(), std::process::id());
        let stack = stacks.read(here, start).unwrap();
        let mut word = [0; 8];
        let since = Instant::now();
        while !stack.read(start + 8 * 1000, &mut word) {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing was read");
            std::thread::yield_now();
        }
        assert_eq!(u64::from_ne_bytes(word), 1000);
        assert!(!stack.read(start - 8, &mut word), "before its start");
        assert!(!stack.read(start + BYTES as u64 - 4, &mut word), "beyond its end");
        let mut held: Vec<_> = (1..HELD).map_while(|_| stacks.read(here, start)).collect();
        assert!(stacks.read(here, start).is_none(), "{} are held", held.len() + 1);
        held.clear();
    }

    #[test]
    fn a_process_whose_reading_hangs_holds_up_no_other() {
        let now_ns = monotonic_ns();
        let mut threads = Threads { now: Some(Thread::start().unwrap()), hung: Vec::new() };
        let hang = |threads: &mut Threads, pid| {
            let reading = Arc::clone(&threads.now.as_ref().unwrap().reading);
            reading.pid.store(pid, Relaxed);
            reading.since_ns.store(1, Relaxed);
            reading
        };
        let first = hang(&mut threads, 1);
        assert!(threads.thread_for(1, now_ns).is_none(), "it is not asked twice");
        assert!(threads.thread_for(9, now_ns).is_some());
        for pid in 2..=HUNG_MAX {
            hang(&mut threads, u32::try_from(pid).unwrap());
            assert_eq!(threads.thread_for(9, now_ns).is_some(), pid < HUNG_MAX);
        }
        first.since_ns.store(0, Relaxed);
        assert!(threads.thread_for(1, now_ns).is_some(), "it has answered after all");
    }

    #[test]
    fn of_what_is_not_mapped_nothing_is_read() {
        let own = std::process::id();
        assert_eq!(read_process((own, own), 8, &mut [0; 16]), 0);
    }
}
