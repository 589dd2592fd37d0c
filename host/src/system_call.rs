//! Answers of system calls, as values.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Takes what a call returned that opens something: a descriptor, or -1 with an error in `errno`.
///
/// # Safety
///
/// If it is a descriptor, the call has just made it, and nobody else owns it.
pub(crate) unsafe fn opened(returned: impl Into<libc::c_long>) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(returned.into()) {
        // SAFETY: the caller says that it is ours.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Finds out what kind of file system an open file lies on (`include/uapi/linux/magic.h`), which is asked nothing for that.
pub(crate) fn file_system_of(file: &impl AsFd) -> io::Result<libc::c_long> {
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open and the structure is ours for the call.
    match unsafe { libc::fstatfs(file.as_fd().as_raw_fd(), found.as_mut_ptr()) } {
        // SAFETY: plain integers, which were zeros, and the kernel filled them.
        0 => Ok(unsafe { found.assume_init() }.f_type),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_file_systems_of_files_and_what_was_refused() {
        let own = std::fs::File::open("/proc/self/maps").unwrap();
        assert_eq!(file_system_of(&own).unwrap(), libc::PROC_SUPER_MAGIC);
        // SAFETY: a name that ends with a zero; whatever comes out is new.
        let refused = unsafe { opened(libc::open(c"/nonexistent".as_ptr(), libc::O_RDONLY)) };
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
