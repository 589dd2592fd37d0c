//! Runs a command whose `perf_event_open` is refused, as by a container's seccomp profile.
//!
//!   `without_perf_events COMMAND...`          everywhere
//!   `without_perf_events --cpu N COMMAND...`  on that CPU only

use std::os::unix::process::CommandExt;

/// `struct sock_filter` (include/uapi/linux/filter.h).
const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    #[expect(clippy::cast_possible_truncation, reason = "codes are 16 bits wide")]
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn main() {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut cpu = None;
    if arguments[0] == "--cpu" {
        cpu = Some(arguments[1].to_string_lossy().parse::<u32>().expect("a CPU's number"));
        arguments.drain(..2);
    }
    let number = u32::try_from(libc::SYS_perf_event_open).expect("a small number");
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let (load, equal) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let mut filter = [
        // The system call's number is the first word of `struct seccomp_data`; the arguments, of 8 bytes, begin
        // at 16, and the CPU is the third of them.
        instruction(load, 0, 0, 0),
        instruction(equal, 0, 3, number),
        instruction(load, 0, 0, 16 + 2 * 8),
        // Without a CPU every call is refused: the jump leads there either way.
        instruction(equal, 0, u8::from(cpu.is_some()), cpu.unwrap_or(0)),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the calls, its length is stated; both results are checked.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
    let error = std::process::Command::new(&arguments[0]).args(&arguments[1..]).exec();
    eprintln!("{}: {error}", arguments[0].display());
    std::process::exit(127);
}
