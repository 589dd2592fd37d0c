//! Stacks larger than their copy, read from the process as soon as its record is taken out of a ring: when its turn
//! comes, some milliseconds later, the process may run another program.

use stacksonde_ebpf::{STACK_PAGE, STACK_PAGES_USUAL};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::{fmt, io, ptr};

/// What is read of one stack: what the copy has, too, which shows whether the process moved on meanwhile, and
/// beyond it room for a frame of half a MiB, such as rustc has.
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

/// Reads stacks in a thread of its own: a process may map memory whose reading never ends.
pub(super) struct EarlyStacks {
    ask: SyncSender<(u32, EarlyStack)>,
    token: Arc<()>,
}

impl EarlyStacks {
    /// Starts the thread, which ends after this value.
    pub(super) fn new() -> io::Result<Self> {
        let (ask, asked) = sync_channel::<(u32, EarlyStack)>(HELD);
        std::thread::Builder::new().name("early stacks".into()).spawn(move || {
            crate::priority::go_first();
            for (pid, stack) in asked {
                let mut bytes = vec![0; BYTES];
                let read = read_process(pid, stack.0.start, &mut bytes);
                bytes.truncate(read);
                // It is filled here only.
                let _filled = stack.0.bytes.set(bytes.into());
            }
        })?;
        Ok(Self { ask, token: Arc::default() })
    }

    /// Has a stack read from `start` on; `None` if too many are held, or the thread is held up.
    pub(super) fn read(&self, pid: u32, start: u64) -> Option<EarlyStack> {
        if Arc::strong_count(&self.token) > HELD {
            return None;
        }
        let slot = Slot { start, bytes: OnceLock::new(), _token: Arc::clone(&self.token) };
        let stack = EarlyStack(Arc::new(slot));
        self.ask.try_send((pid, stack.clone())).ok().map(|()| stack)
    }
}

/// Reads memory of a process (process_vm_readv(2)), as much as can be read from there on; how many bytes.
pub(crate) fn read_process(pid: u32, address: u64, to: &mut [u8]) -> usize {
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
        let stack = stacks.read(std::process::id(), start).unwrap();
        let mut word = [0; 8];
        let since = Instant::now();
        while !stack.read(start + 8 * 1000, &mut word) {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing was read");
            std::thread::yield_now();
        }
        assert_eq!(u64::from_ne_bytes(word), 1000);
        assert!(!stack.read(start - 8, &mut word), "before its start");
        assert!(!stack.read(start + BYTES as u64 - 4, &mut word), "beyond its end");
        let mut held: Vec<_> = (1..HELD).map_while(|_| stacks.read(std::process::id(), start)).collect();
        assert!(stacks.read(std::process::id(), start).is_none(), "{} are held", held.len() + 1);
        held.clear();
    }

    #[test]
    fn of_what_is_not_mapped_nothing_is_read() {
        assert_eq!(read_process(std::process::id(), 8, &mut [0; 16]), 0);
    }
}
