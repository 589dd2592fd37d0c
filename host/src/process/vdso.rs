//! The kernel's shared object in every process: no file shows it, so ours is copied into one.

use crate::system_call::opened;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};

/// A copy of the vDSO of this process, which is the same in every process of its kind, in a file of memory.
pub(super) fn copy_of_our_own() -> io::Result<File> {
    let (start, end) = own_range()?.ok_or(io::ErrorKind::NotFound)?;
    let length = usize::try_from(end - start).map_err(io::Error::other)?;
    // SAFETY: the range is a readable mapping of this process and stays one until its end.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, length) };
    in_memory(c"vdso", bytes)
}

/// Makes a file of memory with these bytes.
pub(crate) fn in_memory(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    // SAFETY: the name is a C string; a new descriptor or -1 comes back.
    let mut file = File::from(unsafe { opened(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)) }?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Finds out where the vDSO of this process lies, if it has one.
pub(crate) fn own_range() -> io::Result<Option<(u64, u64)>> {
    let maps = super::parse_maps(&std::fs::read("/proc/self/maps")?);
    Ok(maps.into_iter().find(|map| map.path == "[vdso]").map(|map| (map.start, map.end)))
}
