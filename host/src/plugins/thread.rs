//! Threads that run plugins.

use crate::priority;
use std::io;
use std::mem::MaybeUninit;
use std::sync::mpsc::{SendError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

/// Starts a thread that plugin code runs on. Signals are the agent's: the thread blocks all of them.
///
/// The thread does not end when `body` does, but sleeps until the process ends: at the end of a thread the C
/// library runs destructors of thread-local values, a panic in which ends the process, and which may belong to
/// a plugin.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        priority::go_as_usual();
        block_signals();
        body();
        loop {
            std::thread::park();
        }
    };
    // Detached: nobody waits for plugin code without a limit.
    Builder::new().name(name.into()).spawn(guarded).map(drop)
}

type Job = (String, Box<dyn FnOnce() + Send>);

/// Threads of [`spawn_reusing`] whose body is over.
static IDLE: Mutex<Vec<SyncSender<Job>>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<SyncSender<Job>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`spawn`], but on a thread that an earlier body of this function has left, if there is one: else each exporter
/// that is made again would leave one asleep. It may have dropped its capabilities.
pub(super) fn spawn_reusing(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut job: Job = (name.to_owned(), Box::new(body));
    // Taken out first, so that the lock is not held for what follows.
    let left = idle().pop();
    if let Some(left) = left {
        match left.send(job) {
            Ok(()) => return Ok(()),
            Err(SendError(back)) => job = back,
        }
    }
    let (to, jobs) = sync_channel(1);
    to.send(job).map_err(|_| io::Error::other("its first task was not taken"))?;
    spawn(name, move || {
        for (name, body) in &jobs {
            set_name(&name);
            body();
            idle().push(to.clone());
        }
    })
}

/// Of this thread; the kernel keeps 15 bytes.
fn set_name(name: &str) {
    let mut bytes: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    bytes.push(0);
    // SAFETY: the text ends with a zero and outlives the call, which copies it (PR_SET_NAME, prctl(2)).
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises `all`, which `pthread_sigmask` reads; no old set is asked for.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`: two words a set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Drops every capability of the calling thread, and only of it. Its user stays root, which still owns
/// root's files: this guards against accidents and is not a boundary.
pub(super) fn drop_capabilities() -> io::Result<()> {
    // `struct __user_cap_header_struct { version, pid }`, and two `__user_cap_data_struct`s of three words.
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: both arrays have the layout and size that version 3 of capset(2) reads; it writes none of them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn status(key: &str) -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
    }

    #[test]
    fn a_thread_whose_body_is_over_serves_another_under_its_name() {
        let (sender, receiver) = mpsc::channel();
        let told = |name: &str| {
            let sender = sender.clone();
            spawn_reusing(name, move || sender.send(["Name:", "Pid:"].map(status)).unwrap()).unwrap();
            receiver.recv().unwrap()
        };
        let [name, first] = told("one");
        assert_eq!(name, "one");
        // It is left a moment after it told us.
        while idle().is_empty() {
            std::thread::yield_now();
        }
        let [name, second] = told("another-long-name");
        assert_eq!((name.as_str(), second), ("another-long-na", first));
    }

    #[test]
    fn a_plugin_thread_has_a_name_no_signals_and_no_capabilities() {
        let before = status("CapEff:");
        let (sender, receiver) = mpsc::channel();
        spawn("file-export", move || {
            drop_capabilities().unwrap();
            sender.send(["Name:", "SigBlk:", "CapEff:", "CapPrm:"].map(status)).unwrap();
        })
        .unwrap();
        let [name, blocked, effective, permitted] = receiver.recv().unwrap();
        assert_eq!(name, "file-export");
        let blocked = u64::from_str_radix(&blocked, 16).unwrap();
        assert_eq!(blocked >> (libc::SIGTERM - 1) & 1, 1, "SIGTERM is left to the agent");
        assert_eq!((effective.as_str(), permitted.as_str()), ("0000000000000000", "0000000000000000"));
        assert_eq!(status("CapEff:"), before, "other threads keep theirs");
    }
}
