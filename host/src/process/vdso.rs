//! The kernel's shared object in every process: no file shows it, so ours is copied into one.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;

/// A copy of the vDSO of this process, which is the same in every process of its kind, in a file of memory.
pub(super) fn copy_of_our_own() -> Option<File> {
    let (start, end) = own_range()?;
    let length = usize::try_from(end - start).ok()?;
    // SAFETY: the range is a readable mapping of this process and stays one until its end.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, length) };
    in_memory(c"vdso", bytes)
}

/// A file of memory with these bytes; `None` where the kernel has none to give.
pub(crate) fn in_memory(name: &CStr, bytes: &[u8]) -> Option<File> {
    // SAFETY: the name is a C string; a new descriptor or -1 comes back.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(bytes).ok()?;
    Some(file)
}

/// Where the vDSO of this process lies.
pub(crate) fn own_range() -> Option<(u64, u64)> {
    let maps = super::parse_maps(&std::fs::read("/proc/self/maps").ok()?);
    maps.into_iter().find(|map| map.path == "[vdso]").map(|map| (map.start, map.end))
}
