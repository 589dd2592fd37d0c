//! Runs a program as a container runtime does: with another root folder, as root with these capabilities alone, and with
//! no way to more.
//!
//!   in_container ROOT CAPABILITY[,CAPABILITY]... PROGRAM [ARGUMENT]...      capabilities as numbers

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words a set.
const VERSION: u32 = 0x2008_0522;
/// More than any kernel has.
const CAPABILITIES: u64 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, capabilities, program, rest @ ..] = arguments.as_slice() else { panic!("see the source") };
    let kept = capabilities.split(',').map(|number| number.parse::<u64>().unwrap());
    let kept: u64 = kept.fold(0, |set, number| set | 1 << number);
    let root = CString::new(root.as_str()).unwrap();
    let word = |at: u32| u32::try_from(kept >> (32 * at) & 0xffff_ffff).unwrap();
    let header = [VERSION, 0];
    // Effective, permitted, inheritable; the lower words of all, then the upper ones.
    let sets = [word(0), word(0), 0, word(1), word(1), 0];
    // SAFETY: plain numbers, a text that ends with a zero, and arrays as long as version 3 of capset(2) reads.
    unsafe {
        assert_eq!(libc::chroot(root.as_ptr()), 0, "{}", std::io::Error::last_os_error());
        for number in (0..CAPABILITIES).filter(|number| kept >> number & 1 == 0) {
            // One that the kernel does not know is refused, and is not there anyway.
            libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0);
        }
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()), 0);
    }
    std::env::set_current_dir("/").unwrap();
    panic!("{program}: {}", Command::new(program).args(rest).exec());
}
