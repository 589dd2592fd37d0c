//! The path of a task's cgroup.
//!
//! In the default hierarchy (version 2) a cgroup's id, which each sample carries, leads to its path, and neither of
//! the two ever changes. Where processes are put into hierarchies of version 1, the path is that of a process, which
//! may be moved without an event, so it is asked for again after a while.

use crate::blocking::Backoff;
use crate::process::{cgroup_of, default_cgroup_path, names_container};
use crate::system_call::opened;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The time for which a process's path that no id leads to is believed, in nanoseconds.
pub(super) const RECHECK_NS: u64 = 10_000_000_000;

/// A path, and whether the id alone led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// `None` if it could not be found out.
    pub(super) path: Option<Arc<[u8]>>,
    /// True if every task in the cgroup of that id has that path.
    pub(super) by_id: bool,
    /// Set if it could be looked at; else another attempt may give another answer.
    pub(super) is_known: bool,
}

/// Known cgroups.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: Option<Mount>,
    /// True if there are hierarchies of version 1 too.
    has_version_1: bool,
    by_id: HashMap<u64, Arc<[u8]>>,
    by_process: HashMap<u32, OfProcess>,
    /// Paths that are remembered, of either kind.
    budget: usize,
}

/// A process's path, as far as it is known.
#[derive(Debug)]
enum OfProcess {
    /// Its path when its cgroup in the default hierarchy had this id; `None` if it has none that we may see. Another id
    /// means that it was moved.
    Path(u64, Option<Arc<[u8]>>),
    /// That could not be found out.
    Unread(Backoff),
}

#[derive(Debug)]
struct Mount {
    /// The mount point of the default hierarchy, or of a part of it.
    point: PathBuf,
    /// Which part of it: `/` for all of it.
    root: Vec<u8>,
    folder: File,
}

impl Cgroups {
    /// Looks where they are mounted; remembers `budget` paths.
    pub(super) fn new(budget: usize) -> Self {
        let mut new = Self {
            mount: None,
            has_version_1: true,
            by_id: HashMap::new(),
            by_process: HashMap::new(),
            budget,
        };
        new.look_for_mount();
        new
    }

    /// Looks again where they are mounted, if that is not known.
    pub(super) fn look_for_mount(&mut self) {
        if self.mount.is_some() {
            return;
        }
        let look = || -> io::Result<_> {
            let mount = match parse_mounts(&std::fs::read("/proc/self/mountinfo")?) {
                Some((root, point)) => Some(Mount { folder: File::open(&point)?, point, root }),
                None => None,
            };
            let cgroups = std::fs::read("/proc/self/cgroup")?;
            let mut lines = cgroups.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            Ok((mount, lines.any(|line| !line.starts_with(b"0::"))))
        };
        match look() {
            Ok((mount, has_version_1)) => (self.mount, self.has_version_1) = (mount, has_version_1),
            Err(error) => {
                tracing::debug!(%error, "cgroups are looked up by process: their mount cannot be found");
            }
        }
    }

    /// The path of the cgroup with this id (0: not known), in which a thread of this process was sampled.
    pub(super) fn find(&mut self, id: u64, (pid, tid): (u32, u32), now_ns: u64) -> Found {
        let by_id = self.path_of(id, pid);
        // Beside hierarchies of version 1 another one may say which container it is.
        if let Some(path) = by_id.as_ref().filter(|path| !self.has_version_1 || names_container(path)) {
            return Found { path: Some(Arc::clone(path)), by_id: true, is_known: true };
        }
        let mut backoff = Backoff::default();
        match self.by_process.get(&pid) {
            Some(OfProcess::Path(of_id, path)) if *of_id == id => {
                return Found { path: path.clone(), by_id: false, is_known: true };
            }
            Some(OfProcess::Unread(known)) => backoff = *known,
            Some(OfProcess::Path(..)) | None => {}
        }
        let unknown = Found { path: None, by_id: false, is_known: false };
        if !backoff.is_due(now_ns) {
            return unknown;
        }
        if self.by_process.len() >= self.budget {
            self.by_process.clear();
        }
        match cgroup_of(pid, tid) {
            Ok(path) => {
                // Of a process that is gone the id says at least where it was.
                let path = path.map(Arc::from).or(by_id);
                self.by_process.insert(pid, OfProcess::Path(id, path.clone()));
                Found { path, by_id: false, is_known: true }
            }
            Err(error) => {
                tracing::debug!(pid, %error, "its cgroup cannot be found out now");
                backoff.fail(now_ns);
                self.by_process.insert(pid, OfProcess::Unread(backoff));
                unknown
            }
        }
    }

    /// Asks again about a process.
    pub(super) fn forget_process(&mut self, pid: u32) {
        self.by_process.remove(&pid);
    }

    /// Asks again about every process.
    pub(super) fn forget_processes(&mut self) {
        self.by_process.clear();
    }

    /// Tells whether there are paths to which no id leads.
    pub(super) fn is_by_process(&self) -> bool {
        self.has_version_1 || self.mount.is_none()
    }

    /// Tells whether something is believed of processes that may change without an event.
    pub(super) fn believes_processes(&self) -> bool {
        !self.by_process.is_empty()
    }

    fn path_of(&mut self, id: u64, pid: u32) -> Option<Arc<[u8]>> {
        if id == 0 {
            return None;
        }
        if let Some(path) = self.by_id.get(&id) {
            return Some(Arc::clone(path));
        }
        let mount = self.mount.as_ref()?;
        let path: Arc<[u8]> = mount.path_by_handle(id).or_else(|| mount.path_by_process(id, pid))?.into();
        if self.by_id.len() >= self.budget {
            self.by_id.clear();
        }
        self.by_id.insert(id, Arc::clone(&path));
        Some(path)
    }
}

/// `struct file_handle` (open_by_handle_at(2)) with a handle of kernfs, which is the id
/// (fs/kernfs/mount.c, include/linux/exportfs.h: FILEID_KERNFS).
#[repr(C)]
struct KernfsHandle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

impl Mount {
    /// By the kernel, while the cgroup exists; needs CAP_DAC_READ_SEARCH.
    fn path_by_handle(&self, id: u64) -> Option<Vec<u8>> {
        let mut handle = KernfsHandle { bytes: 8, kind: 0xfe, id: id.to_ne_bytes() };
        // SAFETY: the handle outlives the call and states its length; the descriptor is open, and that which comes out new.
        let opened = unsafe {
            opened(libc::syscall(
                libc::SYS_open_by_handle_at,
                self.folder.as_raw_fd(),
                &raw mut handle,
                libc::O_PATH | libc::O_CLOEXEC,
            ))
        };
        let opened = opened.ok()?;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        self.within(link.as_os_str().as_bytes())
    }

    /// By a process that is said to be there: its path, if that is the path of this very cgroup.
    fn path_by_process(&self, id: u64, pid: u32) -> Option<Vec<u8>> {
        let text = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let path = default_cgroup_path(&text)?;
        let below = if self.root == b"/" { path } else { path.strip_prefix(&*self.root)? };
        let folder = self.point.join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)));
        (folder.metadata().ok()?.ino() == id).then(|| path.to_owned())
    }

    /// The cgroup's path, from that of its folder.
    fn within(&self, folder: &[u8]) -> Option<Vec<u8>> {
        let below = folder.strip_prefix(self.point.as_os_str().as_bytes())?;
        match (&*self.root, below) {
            (b"/", b"") => Some(b"/".into()),
            (b"/", below) if below.starts_with(b"/") => Some(below.into()),
            (root, below) if below.is_empty() || below.starts_with(b"/") => Some([root, below].concat()),
            _ => None,
        }
    }
}

/// Returns the mounted part of the default hierarchy and its mount point, from `/proc/self/mountinfo` (proc(5)).
pub fn parse_mounts(text: &[u8]) -> Option<(Vec<u8>, PathBuf)> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let separator = line.windows(3).position(|bytes| bytes == b" - ")?;
        let kind = line[separator + 3..].split(|byte| *byte == b' ').next()?;
        if kind != b"cgroup2" {
            return None;
        }
        let mut fields = line[..separator].split(|byte| *byte == b' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let point = PathBuf::from(OsStr::from_bytes(&point));
        point.is_absolute().then_some((root, point))
    })
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        let octal = after
            .first_chunk::<3>()
            .filter(|digits| *first == b'\\' && digits.iter().all(|it| (b'0'..b'8').contains(it)));
        match octal.map(|digits| digits.iter().fold(0_u32, |byte, digit| byte * 8 + u32::from(digit - b'0')))
        {
            Some(byte) => {
                bytes.push(byte.to_le_bytes()[0]);
                rest = &after[3..];
            }
            None => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_the_default_hierarchy() {
        let text = b"24 30 0:22 / /proc rw,relatime - proc proc rw\n\
            33 24 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            35 24 0:29 /docker/7 /run/a\\040b\\134c rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mounts(text), Some((b"/docker/7".into(), "/run/a b\\c".into())));
        assert_eq!(parse_mounts(b"1 2 3 - cgroup2 x"), None);
        assert_eq!(parse_mounts(b""), None);
        let (root, point) = parse_mounts(b"1 2 3 /\xff /a\\377\xfe - cgroup2 x").unwrap();
        assert_eq!(
            (&*root, point.as_os_str().as_bytes()),
            (&b"/\xff"[..], &b"/a\xff\xfe"[..]),
            "names are bytes"
        );
    }

    #[test]
    fn a_folder_of_the_mount_is_a_cgroup() {
        let mount = |root: &str| Mount {
            point: "/sys/fs/cgroup".into(),
            root: root.into(),
            folder: File::open("/").unwrap(),
        };
        assert_eq!(mount("/").within(b"/sys/fs/cgroup").unwrap(), b"/");
        assert_eq!(mount("/").within(b"/sys/fs/cgroup/a/b\xff").unwrap(), b"/a/b\xff");
        assert_eq!(mount("/docker/7").within(b"/sys/fs/cgroup/a").unwrap(), b"/docker/7/a");
        assert_eq!(mount("/docker/7").within(b"/sys/fs/cgroup").unwrap(), b"/docker/7");
        assert_eq!(mount("/").within(b"/sys/fs/cgroups"), None);
        assert_eq!(mount("/").within(b"/somewhere"), None);
    }

    #[test]
    fn what_could_not_be_found_out_is_asked_again() {
        let own = std::process::id();
        let mut cgroups = Cgroups::new(4);
        let mut backoff = Backoff::default();
        backoff.fail(0);
        cgroups.by_process.insert(own, OfProcess::Unread(backoff));
        assert!(!cgroups.find(0, (own, own), 1).is_known);
        let found = cgroups.find(0, (own, own), 2_000_000_000);
        assert!(found.is_known && found.path.is_some());
    }

    #[test]
    fn our_own_cgroup_is_that_which_proc_names() {
        let text = std::fs::read("/proc/self/cgroup").unwrap();
        let mut cgroups = Cgroups::new(4);
        let own = std::process::id();
        let path = crate::process::cgroup_path(&text).map(Arc::from);
        assert_eq!(cgroups.find(0, (own, own), 0), Found { path, by_id: false, is_known: true });
        let Some(mount) = &cgroups.mount else { return };
        let default = default_cgroup_path(&text).unwrap();
        let below = if mount.root == b"/" { OsStr::from_bytes(&default[1..]) } else { return };
        let id = mount.point.join(below).metadata().unwrap().ino();
        assert_eq!(cgroups.path_of(id, std::process::id()).as_deref(), Some(default));
        assert_eq!(cgroups.path_of(u64::MAX, std::process::id()), None);
    }
}
