//! The path of a task's cgroup.
//!
//! In the default hierarchy (version 2) a cgroup's id, which each sample carries, leads to its path, and neither of
//! the two ever changes. Where processes are put into hierarchies of version 1, the path is that of a process, which
//! may be moved without notice, so it is asked for again after a while.

use crate::process::cgroup_path;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a process's path is believed that no id leads to, in nanoseconds.
pub(super) const RECHECK_NS: u64 = 10_000_000_000;

/// A path, and whether the id alone led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// `None` if it could not be found out.
    pub(super) path: Option<Arc<str>>,
    /// Whether every task in the cgroup of that id has that path.
    pub(super) by_id: bool,
}

/// What is known of cgroups.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: Option<Mount>,
    /// Whether there are hierarchies of version 1 too.
    has_version_1: bool,
    by_id: HashMap<u64, Arc<str>>,
    by_process: HashMap<u32, Option<Arc<str>>>,
    /// Paths that are remembered, of either kind.
    budget: usize,
}

#[derive(Debug)]
struct Mount {
    /// Where the default hierarchy, or a part of it, is mounted.
    point: PathBuf,
    /// Which part of it: `/` for all of it.
    root: String,
    folder: File,
}

impl Cgroups {
    /// Looks where they are mounted; remembers `budget` paths.
    pub(super) fn new(budget: usize) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mount = parse_mounts(&read("/proc/self/mountinfo")).and_then(|(root, point)| {
            let folder = File::open(&point).ok()?;
            Some(Mount { point, root, folder })
        });
        let has_version_1 = read("/proc/self/cgroup").lines().any(|line| !line.starts_with("0::"));
        Self { mount, has_version_1, by_id: HashMap::new(), by_process: HashMap::new(), budget }
    }

    /// The path of the cgroup with this id (0: not known), in which a thread of this process was sampled.
    pub(super) fn find(&mut self, id: u64, pid: u32) -> Found {
        if let Some(path) = self.path_of(id, pid)
            && (&*path != "/" || !self.has_version_1)
        {
            return Found { path: Some(path), by_id: true };
        }
        if let Some(path) = self.by_process.get(&pid) {
            return Found { path: path.clone(), by_id: false };
        }
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
        let path: Option<Arc<str>> = text.and_then(|text| cgroup_path(&text)).map(Arc::from);
        if self.by_process.len() >= self.budget {
            self.by_process.clear();
        }
        self.by_process.insert(pid, path.clone());
        Found { path, by_id: false }
    }

    /// Asks again about a process.
    pub(super) fn forget_process(&mut self, pid: u32) {
        self.by_process.remove(&pid);
    }

    /// Asks again about every process.
    pub(super) fn forget_processes(&mut self) {
        self.by_process.clear();
    }

    /// Whether there are paths to which no id leads.
    pub(super) fn is_by_process(&self) -> bool {
        self.has_version_1 || self.mount.is_none()
    }

    /// Whether something is believed of processes that may change without notice.
    pub(super) fn believes_processes(&self) -> bool {
        !self.by_process.is_empty()
    }

    fn path_of(&mut self, id: u64, pid: u32) -> Option<Arc<str>> {
        if id == 0 {
            return None;
        }
        if let Some(path) = self.by_id.get(&id) {
            return Some(Arc::clone(path));
        }
        let mount = self.mount.as_ref()?;
        let path: Arc<str> = mount.path_by_handle(id).or_else(|| mount.path_by_process(id, pid))?.into();
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
    fn path_by_handle(&self, id: u64) -> Option<String> {
        let mut handle = KernfsHandle { bytes: 8, kind: 0xfe, id: id.to_ne_bytes() };
        // SAFETY: the handle outlives the call and states its length; the descriptor is open.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                self.folder.as_raw_fd(),
                &raw mut handle,
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        let opened = i32::try_from(opened).ok().filter(|descriptor| *descriptor >= 0)?;
        // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
        let opened = unsafe { OwnedFd::from_raw_fd(opened) };
        let link = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        self.within(link.to_str()?)
    }

    /// By a process that is said to be there: its path, if that is the path of this very cgroup.
    fn path_by_process(&self, id: u64, pid: u32) -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let below = if self.root == "/" { path } else { path.strip_prefix(&*self.root)? };
        let folder = self.point.join(below.trim_start_matches('/'));
        (folder.metadata().ok()?.ino() == id).then(|| path.to_owned())
    }

    /// The cgroup's path, from that of its folder.
    fn within(&self, folder: &str) -> Option<String> {
        let below = folder.strip_prefix(self.point.to_str()?)?;
        match (self.root.as_str(), below) {
            ("/", "") => Some("/".into()),
            ("/", below) if below.starts_with('/') => Some(below.into()),
            (root, below) if below.is_empty() || below.starts_with('/') => Some(format!("{root}{below}")),
            _ => None,
        }
    }
}

/// Where the default hierarchy is mounted, and what part of it, from `/proc/self/mountinfo` (proc(5)).
pub fn parse_mounts(text: &str) -> Option<(String, PathBuf)> {
    text.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?)?, unescaped(fields.next()?)?);
        Path::new(&point).is_absolute().then(|| (root, point.into()))
    })
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    CString::new(bytes).ok()?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_the_default_hierarchy() {
        let text = "24 30 0:22 / /proc rw,relatime - proc proc rw\n\
            33 24 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            35 24 0:29 /docker/7 /run/a\\040b\\134c rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mounts(text), Some(("/docker/7".into(), "/run/a b\\c".into())));
        assert_eq!(parse_mounts("1 2 3 - cgroup2 x"), None);
        assert_eq!(parse_mounts(""), None);
    }

    #[test]
    fn a_folder_of_the_mount_is_a_cgroup() {
        let mount = |root: &str| Mount {
            point: "/sys/fs/cgroup".into(),
            root: root.into(),
            folder: File::open("/").unwrap(),
        };
        assert_eq!(mount("/").within("/sys/fs/cgroup").unwrap(), "/");
        assert_eq!(mount("/").within("/sys/fs/cgroup/a/b").unwrap(), "/a/b");
        assert_eq!(mount("/docker/7").within("/sys/fs/cgroup/a").unwrap(), "/docker/7/a");
        assert_eq!(mount("/docker/7").within("/sys/fs/cgroup").unwrap(), "/docker/7");
        assert_eq!(mount("/").within("/sys/fs/cgroups"), None);
        assert_eq!(mount("/").within("/somewhere"), None);
    }

    #[test]
    fn our_own_cgroup_is_that_which_proc_names() {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut cgroups = Cgroups::new(4);
        let found = cgroups.find(0, std::process::id());
        assert_eq!(found, Found { path: cgroup_path(&text).map(Arc::from), by_id: false });
        let Some(mount) = &cgroups.mount else { return };
        let default = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let below = if mount.root == "/" { default } else { return };
        let id = mount.point.join(below.trim_start_matches('/')).metadata().unwrap().ino();
        assert_eq!(cgroups.path_of(id, std::process::id()).as_deref(), Some(default));
        assert_eq!(cgroups.path_of(u64::MAX, std::process::id()), None);
    }
}
