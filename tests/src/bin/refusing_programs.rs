//! Runs a command some of whose BPF programs are refused, as by a verifier that does not like them.
//!
//!   `refusing_programs NAME COUNT COMMAND...`  the first COUNT tries to load the program NAME
//!
//! A try with a buffer for the verifier's log repeats the one before it, and does not count.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The part of `union bpf_attr` for BPF_PROG_LOAD that is looked at (include/uapi/linux/bpf.h).
const LOG_SIZE_AT: usize = 28;
const NAME_AT: usize = 48;
const NAME_BYTES: usize = 16;

const BPF_PROG_LOAD: u64 = 5;

/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`.
const RECEIVE: libc::Ioctl = 0xc050_2100;
const SEND: libc::Ioctl = 0xc018_2101;

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    #[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide")]
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// From here on each bpf(2) of ours and of our children waits for what the listener says.
fn listen() -> OwnedFd {
    let number = u32::try_from(libc::SYS_bpf).expect("a small number");
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the calls, its length is stated; both results are checked.
    let listener = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    let listener = i32::try_from(listener).expect("a descriptor");
    assert!(listener >= 0, "seccomp: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    // SAFETY: flags of a descriptor of ours.
    unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    listener
}

/// The name of the program that a call loads, and whether the verifier shall write a log.
fn program(call: &libc::seccomp_notif) -> Option<(Vec<u8>, bool)> {
    if call.data.args[0] != BPF_PROG_LOAD {
        return None;
    }
    let mut attributes = [0; NAME_AT + NAME_BYTES];
    let memory = std::fs::File::open(format!("/proc/{}/mem", call.pid)).ok()?;
    memory.read_exact_at(&mut attributes, call.data.args[1]).ok()?;
    let name = attributes[NAME_AT..].iter().copied().take_while(|byte| *byte != 0).collect();
    Some((name, attributes[LOG_SIZE_AT..][..4] != [0; 4]))
}

/// Answers calls until all who could make one are gone.
fn answer(listener: &OwnedFd, name: &[u8], count: usize) {
    let mut tries = 0;
    loop {
        // SAFETY: plain integers, for which zero is a value; the kernel demands it.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills the structure of the size that the request states.
        if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) } != 0 {
            return;
        }
        let refused = program(&call).is_some_and(|(loaded, has_log)| {
            tries += usize::from(loaded == name && !has_log);
            loaded == name && tries <= count
        });
        #[expect(clippy::cast_possible_truncation, reason = "a flag of one bit")]
        let response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: if refused { -libc::EACCES } else { 0 },
            flags: if refused { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 },
        };
        // SAFETY: the kernel reads the structure of the size that the request states. A caller that is gone is no
        // concern of ours.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const response) };
    }
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || arguments.next().expect("NAME COUNT COMMAND...");
    let (name, count, command) = (next(), next(), next());
    let count = count.to_string_lossy().parse().expect("a number");
    let listener = listen();
    let mut child = std::process::Command::new(command).args(arguments).spawn().expect("the command runs");
    std::thread::spawn(move || answer(&listener, name.as_encoded_bytes(), count));
    let status = child.wait().expect("the command ends");
    std::process::exit(status.code().unwrap_or(1));
}
