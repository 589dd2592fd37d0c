//! The state of one process.

use super::executable::Mapped;
use super::files::MappedFiles;
use super::mappings::{Mapping, Mappings};
use super::maps_file::ExecutableMaps;
use super::proc_files::Incarnation;
use super::{Executable, Identity};
use crate::blocking::Backoff;
use crate::bpf::Identity as FileIdentity;
use std::sync::Arc;

/// An entry of the table of processes.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) identity: Option<Arc<Identity>>,
    /// When `identity` is looked at again, some of which could not be read.
    pub(super) unnamed: Option<Backoff>,
    pub(super) parent: u32,
    pub(super) comm: Option<String>,
    pub(super) mappings: Arc<Mappings<What>>,
    /// True if `mappings` is believed complete: read from `/proc`, or known by events from the start.
    pub(super) whole: bool,
    /// When `/proc` was last read; 0 for never.
    pub(super) read_ns: u64,
    /// The time that the read took.
    pub(super) reading_ns: u64,
    /// When it was last read and a file that had been mapped was so no more: CLOCK_MONOTONIC, nanoseconds; 0 for never.
    pub(super) replaced_ns: u64,
    /// Mappings that were not taken in when it was.
    pub(super) left_out: u64,
    /// Addresses that were looked for since then and lie in none of `mappings`.
    pub(super) missed: Vec<u64>,
    /// The last event that concerned it.
    pub(super) touched_ns: u64,
    /// Changes with `mappings`; never the same twice.
    pub(super) version: u64,
    pub(super) ended: bool,
    /// The result of the last scan of `/proc`, if there was one: `None` for nothing.
    pub(super) incarnation: Option<Option<Incarnation>>,
}

impl Process {
    /// It runs another program: its mappings and names are read at its next sample.
    pub(super) fn forget_program(&mut self, version: u64) {
        self.mappings = Arc::default();
        self.version = version;
        (self.whole, self.read_ns, self.identity, self.comm) = (false, 0, None, None);
        self.unnamed = None;
    }

    /// Takes in mappings that were read again, until this time.
    pub(super) fn take_maps(&mut self, maps: ExecutableMaps, until_ns: u64, files: &mut MappedFiles) {
        let mut new = Mappings::default();
        for line in maps.lines {
            let identity = FileIdentity { major: line.major, minor: line.minor, inode: line.inode };
            let mapped = files.one(Mapped { path: line.path, identity });
            let mut what = What { mapped, executable: None };
            // Keep what was noticed with a build id: it is the same mapping, better known.
            let same = self.mappings.find(line.start);
            let same = same.filter(|same| same.start == line.start && same.end == line.end);
            if let Some(same) = same.filter(|same| same.what.mapped.path == what.mapped.path) {
                what = same.what.clone();
            }
            new.insert(Mapping { start: line.start, end: line.end, file_offset: line.file_offset, what });
        }
        // Each as it was noticed must still be there, whole or as a part of a larger one.
        let is_there = |old: &Mapping<What>| {
            let offset = |new: &Mapping<What>| new.file_offset + (old.start - new.start);
            new.find(old.start).is_some_and(|new| {
                offset(new) == old.file_offset && new.what.mapped.is_at_path_of(&old.what.mapped)
            })
        };
        let is_kept = |old: &Mapping<What>| old.what.mapped.is_anonymous() || is_there(old);
        if maps.left_out == 0 && !self.mappings.iter().all(is_kept) {
            self.replaced_ns = until_ns;
        }
        self.mappings = Arc::new(new);
        self.left_out = maps.left_out;
        self.whole = self.left_out == 0;
    }

    /// Takes out the addresses whose mappings are to be taken in the next time, sorted.
    pub(super) fn take_sampled(&mut self) -> Vec<u64> {
        let mut sampled = std::mem::take(&mut self.missed);
        if self.left_out > 0 {
            let known = self.mappings.iter().filter(|mapping| mapping.what.executable.is_some());
            sampled.extend(known.map(|mapping| mapping.start));
        }
        sampled.sort_unstable();
        sampled
    }

    /// Remembers an address that lies in no mapping, for the next time that they are read.
    pub(super) fn miss(&mut self, address: u64) {
        const MISSED_MAX: usize = 256;
        if self.missed.len() < MISSED_MAX && !self.missed.contains(&address) {
            self.missed.push(address);
        }
    }

    /// After an exec the kernel maps the program first; the dynamic loader comes next.
    pub(super) fn first_program(&self) -> Option<&str> {
        let path = &self.mappings.iter().next()?.what.mapped.path;
        path.starts_with('/').then_some(path)
    }
}

/// The object that a mapping shows; the executable is looked at when it is first sampled.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) mapped: Arc<Mapped>,
    pub(super) executable: Option<Seen>,
}

/// An executable that was looked at for a mapping.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) executable: Arc<Executable>,
    /// In which interval that was.
    pub(super) interval: u64,
    /// When its file is looked for again; `None` while it is held.
    pub(super) unheld: Option<Backoff>,
}

impl Seen {
    /// Says whether there is nothing to look for in this interval, at this time.
    pub(super) fn is_settled(&self, interval: u64, now_ns: u64) -> bool {
        self.interval == interval && self.unheld.is_none_or(|backoff| !backoff.is_due(now_ns))
    }
}
