//! Executable files: which one a mapping shows, and how to reach its bytes.

use super::FileAddress;
use super::elf::{Segment, build_id_of, segments};
use super::vdso;
use crate::bpf::Identity as FileIdentity;
use object::read::ReadCache;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, PoisonError};

/// What kind of thing a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutableKind {
    /// A file.
    File,
    /// The kernel's shared object in every process, `[vdso]`.
    Vdso,
}

/// An executable file that was seen in at least one process.
#[derive(Debug)]
pub struct Executable {
    /// Unique while the agent runs.
    pub id: u32,
    /// What kind of thing it is.
    pub kind: ExecutableKind,
    /// Path as the process that was seen first saw it.
    pub path: String,
    /// GNU build id, if it has one and could be read.
    pub build_id: Option<Vec<u8>>,
    /// OpenTelemetry's hash of it in lower-case hex, if it is a file that could be read.
    pub htlhash: Option<String>,
    /// Executable segments; none if the file could not be read.
    pub segments: Vec<Segment>,
    /// The file itself, from first sight in an interval until its addresses were symbolized:
    /// it must outlive the process, but must not keep a container's file system busy.
    file: Mutex<Option<Arc<File>>>,
}

impl PartialEq for Executable {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Executable {}

impl Hash for Executable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Executable {
    /// The address that the file states for an offset in it. Where the file could not be read, the offset itself.
    pub fn address_of(&self, file_offset: u64) -> FileAddress {
        let stated = self.segments.iter().find_map(|segment| segment.address_of(file_offset));
        FileAddress(stated.unwrap_or(file_offset))
    }

    /// The open file, if it is held.
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the file.
    pub fn close(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn hold(&self, file: File) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(file));
    }
}

/// What is mapped, before anything was read of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapped {
    /// Path, or a name such as `[vdso]`.
    pub path: String,
    /// What tells two files of one path apart.
    pub identity: FileIdentity,
}

impl Mapped {
    /// Memory without a file, in which code was made at run time.
    pub fn is_anonymous(&self) -> bool {
        // perf says //anon, maps say nothing; [heap], [stack] and [anon:...] are memory too.
        self.path.is_empty() || self.path.starts_with("//") || (self.path.starts_with('[') && !self.is_vdso())
    }

    fn is_vdso(&self) -> bool {
        self.path == "[vdso]"
    }
}

/// Every executable seen, each once.
#[derive(Debug)]
pub struct Executables {
    known: HashMap<Mapped, Arc<Executable>>,
    budget: usize,
    next_id: u32,
}

impl Executables {
    /// At most `budget` executables.
    pub fn new(budget: usize) -> Self {
        Self { known: HashMap::new(), budget, next_id: 0 }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The executable behind a mapping, if it was seen before.
    pub fn known(&self, mapped: &Mapped) -> Option<Arc<Executable>> {
        self.known.get(mapped).cloned()
    }

    /// The executable behind a mapping of process `pid` at `start..end`, with its file held open
    /// if it can be. `None` if the budget is exhausted by executables that are in use.
    pub fn get(&mut self, mapped: &Mapped, pid: u32, start: u64, end: u64) -> Option<Arc<Executable>> {
        if let Some(known) = self.known.get(mapped) {
            return Some(Arc::clone(known));
        }
        if self.known.len() >= self.budget {
            self.forget_unused();
        }
        if self.known.len() >= self.budget {
            return None;
        }
        let read = self.read(mapped, pid, start, end);
        // perf's notices name a file by its build id, /proc by its inode; it is one file all the same.
        let same = |known: &&Arc<Executable>| {
            read.build_id.is_some() && known.build_id == read.build_id && known.path == read.path
        };
        let known = self.known.values().find(same).cloned();
        let executable = known.unwrap_or_else(|| Arc::new(read));
        self.next_id = self.next_id.wrapping_add(1);
        self.known.insert(mapped.clone(), Arc::clone(&executable));
        Some(executable)
    }

    /// Holds the file again where it was let go of.
    pub fn reopen(executable: &Executable, mapped: &Mapped, pid: u32, start: u64, end: u64) {
        if executable.file().is_some() {
            return;
        }
        let file = match executable.kind {
            ExecutableKind::File => open(mapped, pid, start, end),
            ExecutableKind::Vdso => vdso::copy_of_our_own(),
        };
        if let Some(file) = file {
            executable.hold(file);
        }
    }

    /// Forgets executables that nothing but this table refers to.
    fn forget_unused(&mut self) {
        let mut ours = HashMap::<u32, usize>::new();
        for executable in self.known.values() {
            *ours.entry(executable.id).or_default() += 1;
        }
        self.known.retain(|_, executable| Arc::strong_count(executable) > ours[&executable.id]);
    }

    fn read(&self, mapped: &Mapped, pid: u32, start: u64, end: u64) -> Executable {
        let kind = if mapped.is_vdso() { ExecutableKind::Vdso } else { ExecutableKind::File };
        let file = match kind {
            ExecutableKind::File => open(mapped, pid, start, end),
            ExecutableKind::Vdso => vdso::copy_of_our_own(),
        };
        let (mut build_id, mut found, mut hash) = (None, Vec::new(), None);
        if let Some(file) = &file {
            if kind == ExecutableKind::File {
                hash = htlhash(file).ok();
            }
            let cache = ReadCache::new(file);
            build_id = build_id_of(&cache).unwrap_or_default();
            found = segments(&cache).unwrap_or_default();
        }
        if let (None, FileIdentity::BuildId(id)) = (&build_id, &mapped.identity) {
            build_id = Some(id.clone());
        }
        Executable {
            id: self.next_id,
            kind,
            path: mapped.path.trim_end_matches(" (deleted)").to_owned(),
            build_id,
            htlhash: hash,
            segments: found,
            file: Mutex::new(file.map(Arc::new)),
        }
    }
}

/// Opens the file that a process has mapped: the mapped inode itself where the kernel allows it,
/// else the path in the process's root, else in ours; these two only if the identity agrees.
fn open(mapped: &Mapped, pid: u32, start: u64, end: u64) -> Option<File> {
    if let Ok(file) = open_regular(&format!("/proc/{pid}/map_files/{start:x}-{end:x}")) {
        // The range may have been mapped anew since.
        if is_the_one(&file, &mapped.identity) {
            return Some(file);
        }
    }
    let path = mapped.path.trim_end_matches(" (deleted)");
    [format!("/proc/{pid}/root{path}"), path.to_owned()]
        .iter()
        .filter_map(|path| open_regular(path).ok())
        .find(|file| is_the_one(file, &mapped.identity))
}

/// Opening a FIFO would block and opening a device may do anything: look first, then open what was looked at.
fn open_regular(path: &str) -> io::Result<File> {
    let looked_at = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    if !looked_at.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(format!("/proc/self/fd/{}", looked_at.as_raw_fd()))
}

/// `process.executable.build_id.htlhash` of OpenTelemetry's semantic conventions: the first half of the SHA-256 of
/// the file's first 4096 bytes, its last 4096 bytes, and its length as eight bytes, the highest first.
pub(crate) fn htlhash(file: &File) -> io::Result<String> {
    const PART: u64 = 4096;
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(PART.min(length)).unwrap_or(0)];
    let mut hash = Sha256::new();
    for offset in [0, length - PART.min(length)] {
        file.read_exact_at(&mut bytes, offset)?;
        hash.update(&bytes);
    }
    hash.update(length.to_be_bytes());
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn is_the_one(file: &File, identity: &FileIdentity) -> bool {
    match identity {
        FileIdentity::BuildId(id) => {
            build_id_of(&ReadCache::new(file)).is_ok_and(|found| found.is_some_and(|found| found == *id))
        }
        // Device numbers are not compared: btrfs and overlayfs show others in maps than in stat.
        FileIdentity::Inode { inode, .. } => file.metadata().is_ok_and(|metadata| metadata.ino() == *inode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_code() -> (Mapped, u64, u64, u64) {
        let maps = super::super::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let here = own_code as fn() -> _ as usize as u64;
        let map = maps.into_iter().find(|map| (map.start..map.end).contains(&here)).unwrap();
        let identity = FileIdentity::Inode { major: map.major, minor: map.minor, inode: map.inode };
        (Mapped { path: map.path, identity }, map.start, map.end, map.file_offset)
    }

    #[test]
    fn reads_an_executable_once_and_knows_it_again() {
        let (mapped, start, end, offset) = own_code();
        let mut executables = Executables::new(8);
        let first = executables.get(&mapped, std::process::id(), start, end).unwrap();
        let second = executables.get(&mapped, std::process::id(), start, end).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.file().is_some());
        assert!(
            first
                .segments
                .iter()
                .any(|segment| segment.address_of(offset) == Some(first.address_of(offset).0))
        );
    }

    #[test]
    fn the_hash_is_of_the_first_and_last_page_and_the_length() {
        // By `(head -c 4096 f; tail -c 4096 f; printf '\0\0\0\0\0\0\x20\x0a') | sha256sum | head -c 32`
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..8202_u32).map(|number| number.to_le_bytes()[0]).collect();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        assert_eq!(htlhash(&file).unwrap(), "c467f93aa1d19139e3737dc446d1bbc5");
        assert!(htlhash(&tempfile::tempfile().unwrap()).is_ok(), "of an empty file, too");
    }

    #[test]
    fn lets_go_of_a_file_and_holds_it_again() {
        let (mapped, start, end, _) = own_code();
        let mut executables = Executables::new(8);
        let executable = executables.get(&mapped, std::process::id(), start, end).unwrap();
        executable.close();
        assert!(executable.file().is_none());
        Executables::reopen(&executable, &mapped, std::process::id(), start, end);
        assert!(executable.file().is_some());
    }

    #[test]
    fn does_not_take_another_file_at_the_same_path() {
        let (mut mapped, _, _, _) = own_code();
        mapped.identity = FileIdentity::Inode { major: 0, minor: 0, inode: u64::MAX };
        let executable = Executables::new(8).get(&mapped, std::process::id(), 0, 1).unwrap();
        assert!(executable.file().is_none());
    }

    #[test]
    fn refuses_more_than_its_budget_while_all_are_in_use() {
        let mut executables = Executables::new(1);
        let vdso = |name: &str| Mapped {
            path: name.into(),
            identity: FileIdentity::Inode { major: 0, minor: 0, inode: 0 },
        };
        let held = executables.get(&vdso("[vdso]"), 1, 0, 1).unwrap();
        assert!(executables.get(&vdso("/nowhere"), 1, 0, 1).is_none());
        drop(held);
        assert!(executables.get(&vdso("/nowhere"), 1, 0, 1).is_some());
    }
}
