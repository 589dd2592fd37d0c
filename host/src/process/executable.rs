//! Executable files: which one a mapping shows, and how to reach its bytes.

use super::elf::{Segment, build_id_of, segment_of, segments};
use super::living::by_living_task;
use super::pinned::Stamp;
use super::reader::{FileReader, Unread, Unseen, reason};
use super::watched::{Headers, WatchedFile, fill};
use super::{FileAddress, PinnedFile, vdso};
use crate::blocking::{Backoff, WaitsFor};
use crate::bpf::Identity as FileIdentity;
use crate::descriptors;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The kind of object that a mapping shows.
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
    /// The kind of object.
    pub kind: ExecutableKind,
    /// Path as the process that was seen first saw it.
    pub path: String,
    /// GNU build id, if it has one and could be read.
    pub build_id: Option<Vec<u8>>,
    /// OpenTelemetry's hash of it in lower-case hex, if it is a file that could be read.
    pub htlhash: Option<String>,
    /// Executable segments; none if the file could not be read.
    pub segments: Vec<Segment>,
    /// The state of its file when it was read; `None` if it was not. Another executable takes the place of this one as soon as a
    /// file is read that is in another state, since addresses in the two mean different things.
    stamp: Option<Stamp>,
    /// The file itself, while it is owned: by the table of processes from first sight in an interval to its end, and
    /// by the profile until it is published. It must outlive the process, but must not keep a container's file
    /// system busy.
    file: Mutex<Weak<PinnedFile>>,
    /// A task that had it mapped lately.
    seen_in: AtomicU32,
}

/// Returns the last part of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
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
    /// The address that the file states for an offset in it that a mapping of this range of the file shows. Where the file
    /// could not be read, the offset itself.
    pub fn address_of(&self, mapped: &Range<u64>, file_offset: u64) -> FileAddress {
        let segment = segment_of(&self.segments, mapped, file_offset);
        FileAddress(segment.map_or(file_offset, |segment| segment.address_of(file_offset)))
    }

    /// Tells whether it is the kernel's shared object.
    pub(super) fn is_vdso(&self) -> bool {
        self.kind == ExecutableKind::Vdso
    }

    /// Returns its name, without folders.
    pub fn name(&self) -> &str {
        base_name(&self.path)
    }

    /// Returns the file, if anybody owns it; it stays as long as what this returns. Whoever has a profile has the files
    /// of its frames.
    pub fn file(&self) -> Option<Arc<PinnedFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Returns the file, if anybody owns it and nobody has written over it since it was read. (Copies of the vDSO are made at any
    /// time.)
    pub fn unchanged_file(&self) -> Option<Arc<PinnedFile>> {
        self.file().filter(|file| self.is_vdso() || self.stamp.is_none_or(|stamp| file.is_still(stamp)))
    }

    /// Returns the id of a task that had it mapped lately.
    pub fn seen_in(&self) -> u32 {
        self.seen_in.load(Ordering::Relaxed)
    }

    fn refer_to(&self, file: &Arc<PinnedFile>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(file);
    }
}

/// A mapped object, before anything was read of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapped {
    /// Path, or a name such as `[vdso]`.
    pub path: String,
    /// The file's identity, which tells two files of one path apart.
    pub identity: FileIdentity,
}

impl Mapped {
    /// Tells whether two paths may be of one file: a file can have been removed since, and the kernel's events name it from
    /// the process's root, `/proc` from ours.
    pub(super) fn is_at_path_of(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|mapped| mapped.path.trim_end_matches(" (deleted)"));
        !self.is_anonymous() && (one.ends_with(other) || other.ends_with(one))
    }

    /// Memory without a file, in which code was made at run time.
    pub fn is_anonymous(&self) -> bool {
        // perf says //anon, maps say nothing; [heap], [stack] and [anon:...] are memory too.
        self.path.is_empty() || self.path.starts_with("//") || (self.path.starts_with('[') && !self.is_vdso())
    }

    fn is_vdso(&self) -> bool {
        self.path == "[vdso]"
    }
}

/// A range that a process has mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedAt {
    /// The process.
    pub pid: u32,
    /// A thread of it.
    pub tid: u32,
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

/// Every executable seen, each once, and the files of those that were seen in the interval under way.
#[derive(Debug)]
pub struct Executables {
    known: HashMap<Mapped, Known>,
    /// By [`Executable::id`].
    held: HashMap<u32, Arc<PinnedFile>>,
    /// Files that may be held.
    max_held: usize,
    reader: FileReader,
    budget: usize,
    next_id: u32,
}

/// An executable as it is known.
#[derive(Debug)]
struct Known {
    executable: Arc<Executable>,
    /// When its file is looked for again that could not be looked at.
    backoff: Backoff,
}

/// The content of a file, as far as it is wanted.
#[derive(Debug, Default)]
struct Content {
    /// The state of the file before and after it was read.
    stamp: Option<Stamp>,
    build_id: Option<Vec<u8>>,
    htlhash: Option<String>,
    segments: Vec<Segment>,
}

impl Executables {
    /// At most `budget` executables.
    pub fn new(budget: usize) -> Self {
        Self {
            known: HashMap::new(),
            held: HashMap::new(),
            max_held: descriptors::to_spare(),
            reader: FileReader::default(),
            budget,
            next_id: 0,
        }
    }

    /// Returns the number of known ones.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Tells whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns what looks at files on the path of samples.
    pub fn reader(&mut self) -> &mut FileReader {
        &mut self.reader
    }

    /// Releases the files of the interval that is over, which its profile owns; they are held again when they are seen.
    pub fn release_files(&mut self) {
        self.held.clear();
    }

    /// The executable behind a mapping, if it was seen before.
    pub fn known(&self, mapped: &Mapped) -> Option<Arc<Executable>> {
        self.known.get(mapped).map(|known| Arc::clone(&known.executable))
    }

    /// Finds the executable behind a mapping, and holds its file from now on if it can be had. `None` if the budget is
    /// exhausted by executables that are in use.
    pub fn get(&mut self, mapped: &Mapped, at: MappedAt, now_ns: u64) -> Option<Arc<Executable>> {
        let known = self.known.get(mapped);
        if let Some(known) = known {
            let executable = Arc::clone(&known.executable);
            executable.seen_in.store(at.tid, Ordering::Relaxed);
            // What was written over it meanwhile is another program, under the same name and number.
            if let Some(file) = executable.unchanged_file() {
                self.held.insert(executable.id, file);
                return Some(executable);
            }
            if !known.backoff.is_due(now_ns) {
                return Some(executable);
            }
        }
        let read = known.and_then(|known| known.executable.stamp);
        if known.is_none() {
            if self.known.len() >= self.budget {
                self.forget_unused();
            }
            if self.known.len() >= self.budget {
                return None;
            }
        }
        let (executable, failed) = match self.find(mapped, at, read) {
            Ok((file, None)) => (self.hold(mapped, file), false),
            Ok((file, Some(content))) => {
                self.take_in(mapped, content);
                (self.hold(mapped, file), false)
            }
            Err(unseen) => {
                if !self.known.contains_key(mapped) {
                    self.take_in(mapped, Content::default());
                }
                (self.known(mapped), unseen != Unseen::Gone)
            }
        };
        if let Some(known) = self.known.get_mut(mapped) {
            known.executable.seen_in.store(at.tid, Ordering::Relaxed);
            match failed {
                true => known.backoff.fail(now_ns),
                false => known.backoff = Backoff::default(),
            }
        }
        executable
    }

    /// Owns the file of an executable that is known.
    fn hold(&mut self, mapped: &Mapped, file: PinnedFile) -> Option<Arc<Executable>> {
        let executable = self.known(mapped)?;
        let file = executable.file().unwrap_or_else(|| Arc::new(file));
        executable.refer_to(&file);
        self.held.insert(executable.id, file);
        Some(executable)
    }

    /// Makes a new executable known, in the place of what a mapping was taken for before.
    fn take_in(&mut self, mapped: &Mapped, content: Content) {
        let Content { stamp, build_id, htlhash, segments } = content;
        let path = mapped.path.trim_end_matches(" (deleted)");
        // File systems show other devices in some places than in others; it is one file all the same. What was not read
        // has offsets in the file for addresses, which are nobody else's.
        let same = |known: &&Known| {
            stamp.is_some()
                && known.executable.stamp == stamp
                && known.executable.path == path
                && known.executable.build_id == build_id
                && known.executable.htlhash == htlhash
        };
        let executable = match self.known.values().find(same) {
            Some(known) => Arc::clone(&known.executable),
            None => {
                let kind = if mapped.is_vdso() { ExecutableKind::Vdso } else { ExecutableKind::File };
                let id = self.next_id;
                self.next_id = self.next_id.wrapping_add(1);
                let (path, file) = (path.to_owned(), Mutex::default());
                Arc::new(Executable {
                    id,
                    kind,
                    path,
                    build_id,
                    htlhash,
                    segments,
                    stamp,
                    file,
                    seen_in: AtomicU32::default(),
                })
            }
        };
        self.known.insert(mapped.clone(), Known { executable, backoff: Backoff::default() });
    }

    /// Forgets executables that nothing but this table refers to.
    fn forget_unused(&mut self) {
        let mut ours = HashMap::<u32, usize>::new();
        for known in self.known.values() {
            *ours.entry(known.executable.id).or_default() += 1;
        }
        self.known.retain(|_, known| Arc::strong_count(&known.executable) > ours[&known.executable.id]);
    }

    /// Pins the file behind a mapping, and reads it if that is wanted: the mapped inode itself where the kernel allows it,
    /// else what is at its path. Its identity must agree. It is read unless it still is as it was when it was `read`.
    fn find(
        &mut self,
        mapped: &Mapped,
        at: MappedAt,
        read: Option<Stamp>,
    ) -> Result<(PinnedFile, Option<Content>), Unseen> {
        if self.held.len() >= self.max_held {
            let error = io::Error::from_raw_os_error(libc::EMFILE);
            return Err(self.reader.miss(&mapped.path, Unread::NoResource, &error));
        }
        if mapped.is_vdso() {
            return match vdso::copy_of_our_own().and_then(|copy| PinnedFile::new(copy.into())) {
                Ok(file) => self.check(at.pid, file, mapped, read),
                Err(error) => Err(match reason(&error) {
                    Unseen::Unread(reason) => self.reader.miss(&mapped.path, reason, &error),
                    Unseen::Gone => Unseen::Gone,
                }),
            };
        }
        for pin in [by_range, by_path] {
            let wanted = mapped.clone();
            let pinned =
                self.reader.look(at.pid, WaitsFor::Process(at.pid), &mapped.path, move || pin(&wanted, at));
            let seen = match pinned {
                Ok(Some(file)) => self.check(at.pid, file, mapped, read),
                Ok(None) => Err(Unseen::Gone),
                Err(unseen) => Err(unseen),
            };
            if seen.as_ref().err() != Some(&Unseen::Gone) {
                return seen;
            }
        }
        Err(Unseen::Gone)
    }

    /// Reads what is wanted of a file.
    fn check(
        &mut self,
        pid: u32,
        file: PinnedFile,
        mapped: &Mapped,
        read: Option<Stamp>,
    ) -> Result<(PinnedFile, Option<Content>), Unseen> {
        let is_file = !mapped.is_vdso();
        if read.is_some_and(|read| !is_file || file.is_still(read)) {
            return Ok((file, None));
        }
        let waits_for = file.waits_for();
        let read = move || {
            let before = file.stamp()?;
            let content = Content::read(&file.open()?, is_file)?;
            if !file.is_still(before) {
                return Err(io::Error::other("it is being written"));
            }
            Ok((file, Some(Content { stamp: Some(before), ..content })))
        };
        self.reader.look(pid, waits_for, &mapped.path, read)
    }
}

impl Content {
    fn read(file: &File, is_file: bool) -> io::Result<Self> {
        let watched = WatchedFile::new(file);
        let segments = segments(&Headers::of(&watched)).unwrap_or_default();
        Ok(Self {
            stamp: None,
            build_id: read_build_id(file)?,
            htlhash: if is_file { htlhash(file)? } else { None },
            segments: watched.judge(segments)?,
        })
    }
}

fn read_build_id(file: &File) -> io::Result<Option<Vec<u8>>> {
    let watched = WatchedFile::new(file);
    let build_id = build_id_of(&Headers::of(&watched)).unwrap_or_default();
    watched.judge(build_id)
}

/// Pins the inode that a process has mapped in a range, where the kernel allows it.
fn by_range(mapped: &Mapped, at: MappedAt) -> io::Result<Option<PinnedFile>> {
    by_living_task(at.pid, at.tid, |task| {
        match PinnedFile::at(format!("/proc/{task}/map_files/{:x}-{:x}", at.start, at.end)) {
            // The range may have been mapped again since.
            Ok(file) => Ok(Some(file).filter(|file| has_inode(file, &mapped.identity))),
            Err(error) if is_denied(&error) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// Pins what a process has at the path of a mapping: in its own root, or in ours if its own cannot be had any more.
fn by_path(mapped: &Mapped, at: MappedAt) -> io::Result<Option<PinnedFile>> {
    let path = Path::new(mapped.path.trim_end_matches(" (deleted)"));
    if !path.is_absolute() {
        return Ok(None);
    }
    match by_living_task(at.pid, at.tid, |task| PinnedFile::root_of(task).map(Some)) {
        Ok(Some(root)) => {
            let file = PinnedFile::below(&root, path)?;
            Ok(Some(file).filter(|file| has_inode(file, &mapped.identity)))
        }
        Err(error) if !is_denied(&error) && reason(&error) != Unseen::Gone => Err(error),
        // Which path it is was up to the process, and so may the number of its inode have been.
        _ => {
            let file = PinnedFile::below(&File::open("/")?, path)?;
            let FileIdentity { major, minor, inode, .. } = mapped.identity;
            Ok(Some(file).filter(|file| file.inode() == inode && file.is_on(major, minor)))
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Says whether a file has the inode that is mapped, where that is known.
fn has_inode(file: &PinnedFile, identity: &FileIdentity) -> bool {
    // Device numbers are not compared: btrfs and overlayfs show others in maps than in stat.
    file.inode() == identity.inode
}

/// `process.executable.build_id.htlhash` of OpenTelemetry's semantic conventions: the first half of the SHA-256 of
/// the file's first 4096 bytes, its last 4096 bytes, and its length as eight bytes, the highest first.
/// `None` if it is truncated meanwhile.
pub(crate) fn htlhash(file: &File) -> io::Result<Option<String>> {
    const PART: u64 = 4096;
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(PART.min(length)).unwrap_or(0)];
    let mut hash = Sha256::new();
    for offset in [0, length - PART.min(length)] {
        if !fill(file, &mut bytes, offset)? {
            return Ok(None);
        }
        hash.update(&bytes);
    }
    hash.update(length.to_be_bytes());
    Ok(Some(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_code() -> (Mapped, u64, u64, u64) {
        let maps = super::super::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let here = own_code as fn() -> _ as usize as u64;
        let map = maps.into_iter().find(|map| (map.start..map.end).contains(&here)).unwrap();
        let identity = FileIdentity { major: map.major, minor: map.minor, inode: map.inode };
        (Mapped { path: map.path, identity }, map.start, map.end, map.file_offset)
    }

    fn here(start: u64, end: u64) -> MappedAt {
        let pid = std::process::id();
        MappedAt { pid, tid: pid, start, end }
    }

    #[test]
    fn reads_an_executable_once_and_knows_it_again() {
        let (mapped, start, end, offset) = own_code();
        let mut executables = Executables::new(8);
        let first = executables.get(&mapped, here(start, end), 0).unwrap();
        let second = executables.get(&mapped, here(start, end), 0).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.file().is_some());
        let address = first.address_of(&(offset..offset + (end - start)), offset).0;
        assert!(first.segments.iter().any(|segment| segment.address_of(offset) == address));
    }

    #[test]
    fn the_hash_is_of_the_first_and_last_page_and_the_length() {
        // By `(head -c 4096 f; tail -c 4096 f; printf '\0\0\0\0\0\0\x20\x0a') | sha256sum | head -c 32`
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..8202_u32).map(|number| number.to_le_bytes()[0]).collect();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        assert_eq!(htlhash(&file).unwrap().as_deref(), Some("c467f93aa1d19139e3737dc446d1bbc5"));
        assert!(htlhash(&tempfile::tempfile().unwrap()).unwrap().is_some(), "of an empty file, too");
    }

    #[test]
    fn a_file_stays_as_long_as_somebody_owns_it() {
        let (mapped, start, end, _) = own_code();
        let mut executables = Executables::new(8);
        let executable = executables.get(&mapped, here(start, end), 0).unwrap();
        let of_profile = executable.file().unwrap();
        executables.release_files();
        let again = executables.get(&mapped, here(start, end), 0).unwrap().file().unwrap();
        assert!(Arc::ptr_eq(&of_profile, &again), "the next interval owns the same one");
        drop((of_profile, again));
        assert!(executable.file().is_some());
        executables.release_files();
        assert!(executable.file().is_none());
        let pid = std::process::id();
        executables.get(&mapped, MappedAt { pid, tid: pid, start, end }, 0).unwrap();
        assert!(executable.file().is_some(), "it is found again");
    }

    #[test]
    fn does_not_take_another_file_at_the_same_path() {
        let (mut mapped, _, _, _) = own_code();
        mapped.identity = FileIdentity { major: 0, minor: 0, inode: u64::MAX };
        let executable = Executables::new(8).get(&mapped, here(0, 1), 0).unwrap();
        assert!(executable.file().is_none());
    }

    #[test]
    fn what_could_not_be_read_is_another_executable_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let (own, _, _, offset) = own_code();
        let mapped = |inode| Mapped {
            path: path.to_str().unwrap().into(),
            identity: FileIdentity { major: 0, minor: 0, inode },
        };
        std::fs::copy(&own.path, &path).unwrap();
        let mapped = mapped(std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap()));
        let elsewhere = folder.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        let mut executables = Executables::new(8);
        let unread = executables.get(&mapped, here(0, 1), 0).unwrap();
        assert!(unread.segments.is_empty() && unread.address_of(&(offset..offset + 1), offset).0 == offset);
        std::fs::rename(&elsewhere, &path).unwrap();
        let read = executables.get(&mapped, here(0, 1), 1).unwrap();
        assert!(read != unread && !read.segments.is_empty() && read.file().is_some());
        assert_eq!(executables.len(), 1);
    }

    #[test]
    fn a_lack_of_descriptors_is_counted_and_no_answer() {
        let (mapped, start, end, _) = own_code();
        let mut executables = Executables::new(8);
        let enough = std::mem::take(&mut executables.max_held);
        let refused = executables.get(&mapped, here(start, end), 0).unwrap();
        assert!(refused.file().is_none() && refused.segments.is_empty());
        assert_eq!(executables.reader().take_unread().no_resource, 1);
        executables.max_held = enough;
        assert!(!executables.get(&mapped, here(start, end), 2_000_000_000).unwrap().segments.is_empty());
    }

    #[test]
    fn what_failed_is_not_tried_again_at_once() {
        let (mapped, start, end, _) = own_code();
        let mut executables = Executables::new(8);
        executables.get(&mapped, here(start, end), 0).unwrap();
        executables.release_files();
        executables.known.get_mut(&mapped).unwrap().backoff.fail(5);
        assert!(executables.get(&mapped, here(start, end), 6).unwrap().file().is_none());
        let later = 60_000_000_000;
        assert!(executables.get(&mapped, here(start, end), later).unwrap().file().is_some());
    }

    #[test]
    fn refuses_more_than_its_budget_while_all_are_in_use() {
        let mut executables = Executables::new(1);
        let vdso = |name: &str| Mapped {
            path: name.into(),
            identity: FileIdentity { major: 0, minor: 0, inode: 0 },
        };
        let held = executables.get(&vdso("[vdso]"), here(0, 1), 0).unwrap();
        assert!(executables.get(&vdso("/nowhere"), here(0, 1), 0).is_none());
        drop(held);
        assert!(executables.get(&vdso("/nowhere"), here(0, 1), 0).is_some());
    }
}
