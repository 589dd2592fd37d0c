//! CAP_SYS_ADMIN, for as short and as little as it can be.
//!
//! Debian's kernels know a `kernel.perf_event_paranoid` of 3, their default, at which perf_event_open(2) asks for
//! CAP_SYS_ADMIN where all others are content with CAP_PERFMON. A daemon that has not all of root's rights gets it for that call
//! alone: one thread keeps it and opens events for all others, which give it up before they run anything else; when
//! sampling has begun this thread ends, and nothing in the process has it, nor can get it again.

use super::perf;
use aya_obj::generated::perf_event_attr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// An event to open, and where to say how it went.
struct Wanted {
    attributes: perf_event_attr,
    cpu: u32,
    answer: SyncSender<io::Result<OwnedFd>>,
}

/// The thread that opens events, while there is one.
static OPENER: Mutex<Option<(Sender<Wanted>, JoinHandle<()>)>> = Mutex::new(None);

/// Bits of a capability set (`include/uapi/linux/capability.h`).
const CAP_SYS_MODULE: u32 = 16;
const CAP_SYS_ADMIN: u32 = 21;
/// Above this value Debian's kernels ask for CAP_SYS_ADMIN.
const UPSTREAMS_STRICTEST: i32 = 2;
/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`: two words a set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Confines CAP_SYS_ADMIN to one thread until sampling starts, where this process has it without all of root's rights,
/// as a service or in a container; drops it where the kernel does not ask for it. A process that may load modules
/// counts as root: it could do anything by other means. It must be called before there are other threads, since each
/// inherits the capabilities of its creator.
///
/// # Errors
///
/// The thread cannot be started, or the capability cannot be dropped.
pub fn confine_admin() -> io::Result<()> {
    let permitted = capabilities()?[1];
    let has = |capability: u32| permitted >> capability & 1 == 1;
    if !has(CAP_SYS_ADMIN) || has(CAP_SYS_MODULE) {
        return Ok(());
    }
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    // Where it is not to be seen (a /proc with subset=pid) it may be the strictest.
    if !paranoid.trim().parse().is_ok_and(|level: i32| level <= UPSTREAMS_STRICTEST) {
        start_thread()?;
    }
    give_up_admin()
}

/// Starts the thread that opens events for all others.
fn start_thread() -> io::Result<()> {
    let (sender, wanted) = mpsc::channel::<Wanted>();
    let body = move || {
        for Wanted { attributes, cpu, answer } in wanted {
            // Who asked waits for it.
            let _told = answer.send(perf::open_here(&attributes, cpu));
        }
    };
    let thread = std::thread::Builder::new().name("opener".into()).spawn(body)?;
    *OPENER.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, thread));
    Ok(())
}

/// Ends the thread that kept it. Events can still be opened where the kernel does not ask for CAP_SYS_ADMIN.
pub fn release_admin() {
    let opener = OPENER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((sender, thread)) = opener {
        drop(sender);
        // It does nothing that could panic.
        let _ended = thread.join();
    }
}

/// Opens an event, by the thread that may if there is one.
pub(super) fn open(attributes: &perf_event_attr, cpu: u32) -> io::Result<OwnedFd> {
    let opener = OPENER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((sender, _)) = &*opener {
        let (answer, told) = mpsc::sync_channel(1);
        if sender.send(Wanted { attributes: *attributes, cpu, answer }).is_ok()
            && let Ok(opened) = told.recv()
        {
            return opened;
        }
    }
    perf::open_here(attributes, cpu)
}

/// `struct __user_cap_data_struct` twice: effective, permitted and inheritable, of the lower 32 bits and the upper.
type Sets = [u32; 6];

fn capabilities() -> io::Result<Sets> {
    // `struct __user_cap_header_struct { version, pid }`; 0 is the calling thread.
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let mut sets: Sets = [0; 6];
    // SAFETY: both arrays have the layout and size of version 3 of capget(2), and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    if result == 0 { Ok(sets) } else { Err(io::Error::last_os_error()) }
}

/// Of the calling thread. The kernel takes it from the ambient set, too, when it leaves the inheritable one.
fn give_up_admin() -> io::Result<()> {
    let mut sets = capabilities()?;
    for set in &mut sets[..3] {
        *set &= !(1 << CAP_SYS_ADMIN);
    }
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    // SAFETY: both arrays have the layout and size that version 3 of capset(2) reads; it writes none of them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gives_it_up_has_it_in_no_set_and_keeps_the_rest() {
        let (before, after) = std::thread::spawn(|| {
            let before = capabilities().unwrap();
            give_up_admin().unwrap();
            (before, capabilities().unwrap())
        })
        .join()
        .unwrap();
        let without = |set: u32| set & !(1 << CAP_SYS_ADMIN);
        assert_eq!(
            after,
            [without(before[0]), without(before[1]), without(before[2]), before[3], before[4], before[5]]
        );
        assert_eq!(capabilities().unwrap(), before, "other threads keep it");
    }

    /// Makes perf_event_open(2) fail in the calling thread, by an error that it has not itself.
    fn refuse_events_here() {
        let number = u32::try_from(libc::SYS_perf_event_open).unwrap();
        let instruction = |code: u32, jf: u8, k: u32| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt: 0,
            jf,
            k,
        };
        let mut filter = [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
            instruction(
                libc::BPF_RET | libc::BPF_K,
                0,
                libc::SECCOMP_RET_ERRNO | libc::EXFULL.cast_unsigned(),
            ),
            instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: the filter outlives the call, and its length is stated.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program),
                0
            );
        }
    }

    #[test]
    fn events_are_opened_by_the_thread_for_it_and_without_one_where_they_are_asked_for() {
        start_thread().unwrap();
        let asks = || {
            refuse_events_here();
            // No CPU has this number: nobody is given an event, each is told another error.
            let error =
                || perf::Event::cpu_clock(1 << 20, 1_000_000_000).err().and_then(|e| e.raw_os_error());
            let by_thread = error();
            release_admin();
            (by_thread, error())
        };
        let (by_thread, here) = std::thread::spawn(asks).join().unwrap();
        assert!(by_thread.is_some() && by_thread != Some(libc::EXFULL), "{by_thread:?}");
        assert_eq!(here, Some(libc::EXFULL));
    }
}
