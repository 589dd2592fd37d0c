//! bpf(2) with values of our own in registers that the kernel saves on entry.
//!
//! The values must be in the registers at the very instruction that enters the kernel, so the
//! call is made here and not by the C library. The only file of this crate that differs by
//! architecture.
//!
//! `command` fills a whole register, of which bpf(2) looks at the lower 32 bits.

use super::entry::Planted;
use std::ffi::{c_long, c_void};

/// Calls bpf(2) and returns what the kernel returned: negative error numbers.
///
/// # Safety
///
/// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn bpf(command: u64, attributes: *mut c_void, size: usize, planted: &Planted) -> c_long {
    let [r15, r14, r13, r12] = planted.0;
    let result: c_long;
    // SAFETY: a system call as the kernel documents it: number and result in rax, arguments in
    // rdi, rsi and rdx; rcx and r11 are overwritten. Memory is touched as the caller promised.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_bpf => result,
            in("rdi") command,
            in("rsi") attributes,
            in("rdx") size,
            in("r12") r12,
            in("r13") r13,
            in("r14") r14,
            in("r15") r15,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Calls bpf(2) and returns what the kernel returned: negative error numbers.
///
/// # Safety
///
/// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn bpf(command: u64, attributes: *mut c_void, size: usize, planted: &Planted) -> c_long {
    let [x21, x22, x23, x24] = planted.0;
    let result: c_long;
    // SAFETY: a system call as the kernel documents it: number in x8, arguments and result in x0
    // to x2. Memory is touched as the caller promised.
    unsafe {
        std::arch::asm!(
            "svc #0",
            in("x8") libc::SYS_bpf,
            inlateout("x0") command => result,
            in("x1") attributes,
            in("x2") size,
            in("x21") x21,
            in("x22") x22,
            in("x23") x23,
            in("x24") x24,
            options(nostack),
        );
    }
    result
}

/// Calls bpf(2) while the calling thread's thread pointer is `planted`, and returns what the kernel
/// returned: negative error numbers.
///
/// # Safety
///
/// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn bpf_with_thread_pointer(
    command: u64,
    attributes: *mut c_void,
    size: usize,
    planted: u64,
) -> c_long {
    const ARCH_SET_FS: u64 = 0x1002;
    const ARCH_GET_FS: u64 = 0x1003;
    let mut own = 0u64;
    let mut result: c_long = 0;
    // SAFETY: asks for the thread pointer, into a live word.
    if unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut own) } != 0 {
        return c_long::from(-libc::ENOSYS);
    }
    let set_fs = libc::SYS_arch_prctl;
    // A signal's handler would find a thread pointer that leads nowhere.
    without_signals(|| {
        // SAFETY: between the first and the last call nothing touches memory through the thread
        // pointer, and the last one restores it. Numbers, arguments and results are where the kernel
        // documents them; rcx and r11 are overwritten, all other registers are kept.
        unsafe {
            std::arch::asm!(
                "mov rsi, r12",
                "syscall",
                "mov rax, r13",
                "mov rdi, r8",
                "mov rsi, r9",
                "mov rdx, r10",
                "syscall",
                "mov r8, rax",
                "mov rax, r15",
                "mov rdi, {set}",
                "mov rsi, r14",
                "syscall",
                set = const ARCH_SET_FS,
                inlateout("rax") set_fs => _,
                inlateout("rdi") ARCH_SET_FS => _,
                lateout("rsi") _,
                lateout("rdx") _,
                inlateout("r8") command => result,
                in("r9") attributes,
                in("r10") size,
                in("r12") planted,
                in("r13") libc::SYS_bpf,
                in("r14") own,
                in("r15") set_fs,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
    });
    result
}

/// Calls bpf(2) while the calling thread's thread pointer is `planted`, and returns what the kernel
/// returned: negative error numbers.
///
/// # Safety
///
/// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn bpf_with_thread_pointer(
    command: u64,
    attributes: *mut c_void,
    size: usize,
    planted: u64,
) -> c_long {
    let mut result: c_long = 0;
    // The kernel keeps a running thread's pointer in the register and saves it when it switches away.
    let nap = libc::timespec { tv_sec: 0, tv_nsec: 1000 };
    without_signals(|| {
        // SAFETY: between the first and the last instruction nothing touches memory through the
        // thread pointer, and the last one restores it. Numbers, arguments and results are where the
        // kernel documents them.
        unsafe {
            std::arch::asm!(
                "mrs x23, tpidr_el0",
                "msr tpidr_el0, x22",
                "svc #0",
                "mov x8, x24",
                "mov x0, x25",
                "mov x1, x20",
                "mov x2, x21",
                "svc #0",
                "msr tpidr_el0, x23",
                in("x8") libc::SYS_nanosleep,
                inlateout("x0") std::ptr::from_ref(&nap) => result,
                inlateout("x1") 0usize => _,
                lateout("x2") _,
                in("x25") command,
                in("x20") attributes,
                in("x21") size,
                in("x22") planted,
                out("x23") _,
                in("x24") libc::SYS_bpf,
                options(nostack),
            );
        }
    });
    result
}

/// Runs `work` with all signals of the calling thread held back.
fn without_signals(work: impl FnOnce()) {
    // SAFETY: sets of signals are plain memory that the calls fill; both outlive them.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        work();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
    }
}
