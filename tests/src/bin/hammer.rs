//! Keeps one CPU inside another BPF program: `hammer CPU SECONDS`.
//!
//! A program on the tracepoint `raw_syscalls:sys_enter` spins for a while on every system call of
//! this process, and this process makes nothing but system calls. While a program of this kind runs,
//! the kernel skips every other one that an interrupt would start (kernel/trace/bpf_trace.c,
//! trace_call_bpf and bpf_overflow_handler share `bpf_prog_active`).
//! Prints the CPU time used, in seconds, and how often it was taken off the CPU, like `tests/targets/busy.c`.

use aya::programs::TracePoint;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (cpu, seconds): (usize, u64) =
        (arguments[1].parse().expect("CPU"), arguments[2].parse().expect("SECONDS"));
    mount_tracefs();
    pin(cpu);
    let mut object = aya::EbpfLoader::new()
        .btf(None)
        .override_global("target", &std::process::id(), true)
        .load(include_bytes!(concat!(env!("OUT_DIR"), "/hammer.o")))
        .expect("hammer object");
    let program: &mut TracePoint =
        object.program_mut("hammer").expect("hammer").try_into().expect("a tracepoint");
    program.load().expect("the verifier takes it");
    program.attach("raw_syscalls", "sys_enter").expect("raw_syscalls:sys_enter");
    while cpu_time() < Duration::from_secs(seconds) {
        for _ in 0..1000 {
            // SAFETY: a plain question.
            unsafe { libc::getppid() };
        }
    }
    let usage = usage();
    println!("{:.6} {}", cpu_time().as_secs_f64(), usage.ru_nvcsw + usage.ru_nivcsw);
}

/// In a mount namespace of our own: the machine stays as it is.
fn mount_tracefs() {
    let none = std::ptr::null();
    // SAFETY: constant C strings and flags; errors are checked.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "unshare");
        assert_eq!(
            libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()),
            0,
            "private"
        );
        let (what, folder) = (c"tracefs".as_ptr(), c"/sys/kernel/tracing".as_ptr());
        assert_eq!(libc::mount(what, folder, what, 0, none.cast()), 0, "tracefs");
    }
}

fn pin(cpu: usize) {
    // SAFETY: the set outlives the calls and its size is stated.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0, "sched_setaffinity");
    }
}

fn usage() -> libc::rusage {
    // SAFETY: the structure outlives the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    }
}

fn cpu_time() -> Duration {
    let usage = usage();
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.cast_unsigned())
            + Duration::from_micros(value.tv_usec.cast_unsigned())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
