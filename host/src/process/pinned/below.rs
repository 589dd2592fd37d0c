//! Paths of another program, followed below its root: no link of a container leads to a file of the host.

use crate::system_call::{self, file_system_of};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Times that a path is followed while somebody renames its folders.
const ATTEMPTS: usize = 8;

/// Symbolic links on the way, as the kernel has it (`include/linux/namei.h`, MAXSYMLINKS).
const LINKS_MAX: usize = 40;

/// Opens what is at an absolute path below a root, with `O_PATH`.
pub(super) fn open(root: &File, path: &Path) -> io::Result<OwnedFd> {
    match by_kernel(root.as_fd(), path) {
        // Kernels before 5.6 do not have the call, and seccomp filters refuse it, since they cannot see its flags: systemd's
        // RestrictSUIDSGID= (src/shared/seccomp-util.c, seccomp_restrict_suid_sgid) with the first error, containers'
        // with the second.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            by_steps(root.as_fd(), path)
        }
        opened => opened,
    }
}

/// Follows the path by openat2(2).
fn by_kernel(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: plain numbers, for which zeros are values.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC).unsigned_abs().into();
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let mut opened = Err(io::Error::other("the path was not followed"));
    for _ in 0..ATTEMPTS {
        // SAFETY: the folder is open, the path is a C string, and the structure outlives the call, which is told its size
        // and makes a new descriptor.
        opened = unsafe {
            system_call::opened(libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            ))
        };
        // openat2(2): "EAGAIN: ... the caller may choose to retry", where a folder was renamed meanwhile.
        let raced = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
        if !opened.as_ref().is_err_and(raced) {
            return opened;
        }
    }
    // It is not a lack of anything, for which EAGAIN stands elsewhere.
    opened.map_err(|_| io::Error::other("folders of its path are being renamed"))
}

/// Follows the path a name at a time. `..` goes to the folder that led here, whatever becomes of names meanwhile, and at the
/// root it stays there.
fn by_steps(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut names: Vec<CString> = names(path)?;
    let mut links = 0;
    while let Some(name) = names.pop() {
        match name.to_bytes() {
            b"" | b"." => continue,
            b".." => {
                folders.pop();
                continue;
            }
            _ => {}
        }
        let here = folders.last().map_or(root, OwnedFd::as_fd);
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: the folder is open and the name a C string; the descriptor is new.
        let found = unsafe { system_call::opened(libc::openat(here.as_raw_fd(), name.as_ptr(), flags)) }?;
        let Some(target) = link(&found)? else {
            folders.push(found);
            continue;
        };
        links += 1;
        if links > LINKS_MAX || is_magic(&found)? {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        if target.starts_with(b"/") {
            folders.clear();
        }
        names.extend(self::names(Path::new(OsStr::from_bytes(&target)))?);
    }
    // A root is a folder, which nobody maps.
    folders.pop().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))
}

/// Splits a path into its names, the last first.
fn names(path: &Path) -> io::Result<Vec<CString>> {
    let names = path.as_os_str().as_bytes().rsplit(|byte| *byte == b'/');
    names.map(|name| CString::new(name).map_err(io::Error::from)).collect()
}

/// Reads a symbolic link; `None` if it is something else.
fn link(file: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mut target = vec![0; libc::PATH_MAX.unsigned_abs() as usize];
    const ITSELF: &CStr = c"";
    // SAFETY: the descriptor is open, and the buffer has room for as many bytes as the call is told.
    let length = unsafe {
        libc::readlinkat(file.as_raw_fd(), ITSELF.as_ptr(), target.as_mut_ptr().cast(), target.len())
    };
    match usize::try_from(length) {
        Ok(length) => {
            target.truncate(length);
            Ok(Some(target))
        }
        Err(_) => match io::Error::last_os_error() {
            // readlinkat(2): "ENOENT: ... an empty path, and dirfd does not refer to a symbolic link" (EINVAL by some).
            error if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(None),
            error => Err(error),
        },
    }
}

/// Tells whether a link is one of procfs, which may lead anywhere, whatever its text is.
fn is_magic(link: &OwnedFd) -> io::Result<bool> {
    Ok(file_system_of(link)? == libc::PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn no_link_of_a_process_leads_out_of_its_root_whoever_follows_it() {
        let folder = tempfile::tempdir().unwrap();
        let (root, secret) = (folder.path().join("root"), folder.path().join("secret"));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(&secret, "").unwrap();
        symlink(&secret, root.join("absolute")).unwrap();
        symlink("../secret", root.join("upwards")).unwrap();
        symlink("/proc/self/exe", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/file", root.join("inside")).unwrap();
        symlink("../../inside", root.join("a/b/relative")).unwrap();
        symlink("a/./b", root.join("folder")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let inode = std::fs::metadata(root.join("file")).unwrap().ino();
        let root = File::open(root).unwrap();
        for follow in [by_kernel, by_steps] {
            for path in [
                "/absolute",
                "/upwards",
                "/../secret",
                "/magic",
                "/loop",
                "/file/x",
                "/none",
                "/a/none/../../file",
            ] {
                assert!(follow(root.as_fd(), Path::new(path)).is_err(), "{path}");
            }
            for path in
                ["/file", "/inside", "/../../file", "//a//b/relative", "/folder/relative", "/a/../file"]
            {
                let found =
                    follow(root.as_fd(), Path::new(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(File::from(found).metadata().unwrap().ino(), inode, "{path}");
            }
        }
    }

    #[test]
    fn no_magic_link_is_followed_by_either() {
        let root = File::open("/").unwrap();
        for follow in [by_kernel, by_steps] {
            let error = follow(root.as_fd(), Path::new("/proc/self/exe")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
            let own = std::env::current_exe().unwrap();
            assert!(follow(root.as_fd(), &own).is_ok());
        }
    }
}
