//! bpf(2) with values of our own in registers that the kernel saves on entry.
//!
//! The values must be in the registers at the very instruction that enters the kernel, so the
//! call is made here and not by the C library. The only file of this crate that differs by
//! architecture.

use super::entry::Planted;
use std::ffi::{c_long, c_uint, c_void};

/// Calls bpf(2) and returns what the kernel returned: negative error numbers.
///
/// # Safety
///
/// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn bpf(command: c_uint, attributes: *mut c_void, size: usize, planted: &Planted) -> c_long {
    let [r15, r14, r13, r12] = planted.0;
    let result: c_long;
    // SAFETY: a system call as the kernel documents it: number and result in rax, arguments in
    // rdi, rsi and rdx; rcx and r11 are overwritten. Memory is touched as the caller promised.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_bpf => result,
            in("rdi") u64::from(command),
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
pub(super) unsafe fn bpf(command: c_uint, attributes: *mut c_void, size: usize, planted: &Planted) -> c_long {
    let [x21, x22, x23, x24] = planted.0;
    let result: c_long;
    // SAFETY: a system call as the kernel documents it: number in x8, arguments and result in x0
    // to x2. Memory is touched as the caller promised.
    unsafe {
        std::arch::asm!(
            "svc #0",
            in("x8") libc::SYS_bpf,
            inlateout("x0") u64::from(command) => result,
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
