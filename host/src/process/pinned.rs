//! Files that are held without being open.
//!
//! To open a file, to ask for its size and to close it may all wait for its file system, the last even while our
//! process ends. So the files of a profile's frames are only pinned (`O_PATH`), which keeps their content whatever becomes
//! of their names and asks nothing of anybody. Who reads one opens it for as long as the reading takes, by a
//! [`crate::blocking::Worker`].

mod below;

use crate::blocking::WaitsFor;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A regular file, pinned.
#[derive(Debug)]
pub struct PinnedFile {
    handle: OwnedFd,
    about: About,
}

/// A state of a file's content: whoever writes it leaves another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    /// When it was last written: seconds and nanoseconds. (When its inode was last changed would be more than that: the
    /// removal of its name changes it, too.)
    written: (i64, u32),
}

/// A file as the kernel knows it without asking its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct About {
    major: u32,
    minor: u32,
    inode: u64,
    /// The mount that it was reached by; 0 from kernels before 5.8.
    mount: u64,
}

impl PinnedFile {
    /// Pins the file at a path of our own, links followed. An error for what is not a regular file: opening a FIFO
    /// would block, and opening a device may do anything.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let handle = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
        Self::new(handle.into())
    }

    /// Opens the root of a task, by its id. It fails for one that has ended, also if it was a main thread and others
    /// go on.
    pub fn root_of(task: u32) -> io::Result<File> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        File::options().read(true).custom_flags(flags).open(format!("/proc/{task}/root"))
    }

    /// Pins the file at an absolute path below a root: wherever links there lead, none leads out of it.
    pub fn below(root: &File, path: &Path) -> io::Result<Self> {
        Self::new(below::open(root, path)?)
    }

    /// Pins a file that is open, or was opened with `O_PATH`.
    pub fn new(handle: OwnedFd) -> io::Result<Self> {
        let status = look(&handle, libc::STATX_TYPE | libc::STATX_INO | libc::STATX_MNT_ID)?;
        if u32::from(status.stx_mode) & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::other("not a regular file"));
        }
        let about = About {
            major: status.stx_dev_major,
            minor: status.stx_dev_minor,
            inode: status.stx_ino,
            mount: status.stx_mnt_id,
        };
        Ok(Self { handle, about })
    }

    /// Opens it for reading.
    pub fn open(&self) -> io::Result<File> {
        // No lease of another program's (fcntl(2), F_SETLEASE) is waited for.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        File::options().read(true).custom_flags(flags).open(path)
    }

    /// Says in which state its content is, without asking its file system.
    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        let status = look(&self.handle, libc::STATX_SIZE | libc::STATX_MTIME)?;
        Ok(Stamp { size: status.stx_size, written: (status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec) })
    }

    /// Tells whether its content is as it was in this state; what cannot be found out is not so.
    pub(super) fn is_still(&self, then: Stamp) -> bool {
        self.stamp().is_ok_and(|now| now == then)
    }

    /// Returns what reading it may have to wait for.
    pub fn waits_for(&self) -> WaitsFor {
        WaitsFor::Device(self.about.major, self.about.minor)
    }

    /// Returns the number of its inode.
    pub fn inode(&self) -> u64 {
        self.about.inode
    }

    /// Says whether it lies on this device, by the number that `/proc/<pid>/maps` shows. Some file systems (btrfs,
    /// overlayfs) have another one for those who ask for a file's status.
    pub(super) fn is_on(&self, major: u32, minor: u32) -> bool {
        (self.about.major, self.about.minor) == (major, minor)
            || self.device_of_mount().is_ok_and(|device| device == Some((major, minor)))
    }

    fn device_of_mount(&self) -> io::Result<Option<(u32, u32)>> {
        let mounts = std::fs::read("/proc/self/mountinfo")?;
        let found = mounts.split(|byte| *byte == b'\n').find_map(|line| {
            // {id, parent's id, device, ...}
            let mut fields = line.split(|byte| *byte == b' ').map(|field| str::from_utf8(field).ok());
            let is_ours = fields.next()??.parse() == Ok(self.about.mount);
            let device = fields.nth(1)??.split_once(':').filter(|_| is_ours)?;
            Some((device.0.parse().ok()?, device.1.parse().ok()?))
        });
        Ok(found)
    }
}

/// Looks at a file without asking its file system, which may not answer.
fn look(file: &OwnedFd, mask: u32) -> io::Result<libc::statx> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the descriptor is open, the path a C string, and the structure is writable and outlives the call.
    if unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeros, which are values of all its fields, and the kernel filled it.
    Ok(unsafe { status.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::io::Read;

    #[test]
    fn what_is_pinned_can_be_read_after_its_name_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let pinned = PinnedFile::at(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            let mut text = String::new();
            pinned.open().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
    }

    #[test]
    fn the_device_is_that_which_maps_show() {
        let own = std::fs::read("/proc/self/maps").unwrap();
        let here = super::super::parse_maps(&own).into_iter().find(|map| map.inode != 0).unwrap();
        let file = PinnedFile::at(&here.path).unwrap();
        assert!(file.is_on(here.major, here.minor) && !file.is_on(here.major, here.minor + 1));
        assert_eq!(file.inode(), here.inode);
    }

    #[test]
    fn only_regular_files_are_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let name = CString::new(fifo.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(PinnedFile::at(&fifo).is_err());
        assert!(PinnedFile::at(folder.path()).is_err());
    }
}
