//! Plugins whose very bytes are configured: copied to sealed memory, compared there, loaded from there.
//!
//! A digest of the file alone would say little: root may write to the file between the comparison and the
//! loader's reading. Sealed memory (`memfd_create(2)`, `F_ADD_SEALS`) can be changed by nobody any more, and
//! what was hashed is what is mapped.

use super::Refusal;
use crate::system_call::opened;
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// From `linux/memfd.h`, since Linux 6.3: the descriptor may be executed even if `vm.memfd_noexec` is set.
const MFD_EXEC: libc::c_uint = 0x10;

/// Copies `file` to sealed memory and compares it with `pin`, hexadecimal digits of a SHA-256.
pub(super) fn seal(path: &Path, file: &mut File, pin: &str) -> Result<File, Refusal> {
    let unreadable = |error| Refusal::Unreadable { path: path.into(), at: path.into(), error };
    let sealed = copy(path, file).map_err(unreadable)?;
    let found = digest(&sealed).map_err(unreadable)?;
    if found.eq_ignore_ascii_case(pin) {
        return Ok(sealed);
    }
    Err(Refusal::Pin { path: path.into(), found, pin: pin.to_ascii_lowercase() })
}

fn copy(path: &Path, file: &mut File) -> io::Result<File> {
    let mut memory = memory(path)?;
    io::copy(file, &mut memory)?;
    memory.flush()?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: a descriptor of ours and a number.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    memory.rewind()?;
    Ok(memory)
}

/// Memory with a descriptor, named for the plugin: `/memfd:file-export` in `/proc/<pid>/maps`.
fn memory(path: &Path) -> io::Result<File> {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = CString::new(name)?;
    let create = |flags: libc::c_uint| {
        let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: `name` is NUL-terminated and lives through the call; the descriptor is new.
        unsafe { opened(libc::memfd_create(name.as_ptr(), flags)) }
    };
    // A kernel before 6.3 knows no such flag, and allows to execute without it.
    create(MFD_EXEC).or_else(|_| create(0)).map(File::from)
}

fn digest(mut sealed: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match sealed.read(&mut buffer)? {
            0 => break,
            bytes => hash.update(&buffer[..bytes]),
        }
    }
    sealed.rewind()?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn what_has_the_pinned_digest_is_sealed_memory_with_its_bytes() {
        let mut sealed = seal(Path::new("/a/b.so"), &mut file(b"abc"), &ABC.to_uppercase()).unwrap();
        let mut bytes = Vec::new();
        sealed.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"abc");
        let error = sealed.write(b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert_eq!(sealed.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn what_has_another_digest_is_refused_with_both() {
        let sentence = seal(Path::new("/a/b.so"), &mut file(b"abd"), ABC).unwrap_err().to_string();
        for part in ["/a/b.so: ", ABC, "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"] {
            assert!(sentence.contains(part), "{part} is not in: {sentence}");
        }
    }
}
