//! Runs a command whose `perf_event_open` is refused, as by a container's seccomp profile.

use std::os::unix::process::CommandExt;

/// `struct sock_filter` (include/uapi/linux/filter.h).
const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    #[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide")]
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let number = u32::try_from(libc::SYS_perf_event_open).expect("a small number");
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut filter = [
        // The system call's number is the first word of `struct seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the calls, its length is stated; both results are checked.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
    let error = std::process::Command::new(&arguments[0]).args(&arguments[1..]).exec();
    eprintln!("{}: {error}", arguments[0].display());
    std::process::exit(127);
}
