//! Children that look at themselves, in pid namespaces of their own where that is asked for.

use super::error::Error;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

/// Namespaces within one another that are made at most.
pub(super) const DEEPEST: usize = 2;

/// Ids of the process that did the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    /// In each namespace where it is known, the outermost first: ours, then those within it.
    pub(super) seen: [u32; DEEPEST + 1],
}

/// Memory that parent and children share: other processes write it, so all of it is atomic.
#[repr(C)]
struct Shared {
    seen: [AtomicU32; DEEPEST + 1],
    errno: AtomicI32,
    worked: AtomicBool,
}

/// Runs `work` in a child: in our own pid namespace for depth 0, else in one that lies `depth` deep
/// within it.
///
/// The child of a program with several threads may neither allocate nor take locks: `work` must not.
pub(super) fn run(depth: usize, work: impl Fn() -> bool) -> Result<Ids, Error> {
    let depth = depth.min(DEEPEST);
    let page = Page::new()?;
    // SAFETY: the page is live, large enough and aligned, and zero is a value of every field.
    let shared = unsafe { page.0.cast::<Shared>().as_ref() };
    let what = "cannot start a process to compare with";
    // SAFETY: the child only makes system calls and ends; see the contract of `work`.
    let child = unsafe { libc::fork() };
    match child {
        0 => descend(depth, shared, &work),
        -1 => return Err(Error::System { what, error: io::Error::last_os_error() }),
        child => {
            wait(child);
            if depth == 0 {
                shared.seen[0].store(child.cast_unsigned(), SeqCst);
            }
        }
    }
    if shared.worked.load(SeqCst) {
        let mut ids = Ids { seen: [0, 1, 2].map(|level: usize| shared.seen[level].load(SeqCst)) };
        // Further out than its parent's namespace nobody here knows its id.
        ids.seen[..depth.saturating_sub(1)].fill(0);
        return Ok(ids);
    }
    let error = match shared.errno.load(SeqCst) {
        0 => io::Error::other("it ended early"),
        errno => io::Error::from_raw_os_error(errno),
    };
    Err(Error::System { what: "cannot make a pid namespace to see an id change", error })
}

/// In the child: makes a namespace and a process in it, `depth` times, and works in the last.
fn descend(depth: usize, shared: &Shared, work: &impl Fn() -> bool) -> ! {
    for level in 0..depth {
        // SAFETY: plain numbers; only system calls between fork and exit.
        let child = unsafe { if libc::unshare(libc::CLONE_NEWPID) == 0 { libc::fork() } else { -1 } };
        match child {
            0 => {
                // The first process of a namespace.
                shared.seen[level + 1].store(1, SeqCst);
            }
            -1 => {
                // SAFETY: the C library's errno of this thread.
                shared.errno.store(unsafe { *libc::__errno_location() }, SeqCst);
                exit();
            }
            child => {
                shared.seen[level].store(child.cast_unsigned(), SeqCst);
                wait(child);
                exit();
            }
        }
    }
    shared.worked.store(work(), SeqCst);
    exit()
}

fn exit() -> ! {
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(0) }
}

fn wait(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status outlives the call. Interrupted by a signal it is asked again.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// A page that children share with us.
struct Page(NonNull<libc::c_void>);

const PAGE_BYTES: usize = 4096;

impl Page {
    fn new() -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(Self(page)),
            _ => Err(Error::System { what: "cannot share a page", error: io::Error::last_os_error() }),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr(), PAGE_BYTES) };
    }
}
