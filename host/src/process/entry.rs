//! What is known of one process.

use super::executable::Mapped;
use super::files::MappedFiles;
use super::mappings::{Mapping, Mappings};
use super::maps_file::{MapsLine, read_first};
use super::proc_files::Incarnation;
use super::{Executable, Identity};
use crate::bpf::Identity as FileIdentity;
use std::sync::Arc;
use std::time::Instant;

/// An entry of the table of processes.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) parent: u32,
    pub(super) comm: Option<String>,
    pub(super) mappings: Arc<Mappings<What>>,
    /// Whether `mappings` is believed whole: read from `/proc`, or noticed from the start.
    pub(super) whole: bool,
    /// When `/proc` was last read; 0 for never.
    pub(super) read_ns: u64,
    /// How long that took.
    pub(super) reading_ns: u64,
    /// The last event that concerned it.
    pub(super) touched_ns: u64,
    /// Changes with `mappings`; never the same twice.
    pub(super) version: u64,
    pub(super) ended: bool,
    /// What a look through `/proc` last found, if there was one: `None` for nothing.
    pub(super) incarnation: Option<Option<Incarnation>>,
}

impl Process {
    /// It runs another program: its mappings and names are read at its next sample.
    pub(super) fn forget_program(&mut self, version: u64) {
        self.mappings = Arc::default();
        self.version = version;
        (self.whole, self.read_ns, self.identity, self.comm) = (false, 0, None, None);
    }

    /// Reads the mappings anew, out of the first of these maps files that says anything: `most` of them at most, of which
    /// those of files are worth most. How many were left out; `None` if no file says anything.
    pub(super) fn read_maps(
        &mut self,
        paths: &[String],
        most: usize,
        files: &mut MappedFiles,
    ) -> Option<u64> {
        let mut new = Mappings::default();
        let mut left_out = 0;
        let take = |line: MapsLine| {
            if new.len() >= if line.path.is_empty() { most - most / 4 } else { most } {
                left_out += 1;
                return;
            }
            let identity = FileIdentity::Inode { major: line.major, minor: line.minor, inode: line.inode };
            let mapped = files.one(Mapped { path: line.path, identity });
            let mut what = What { mapped, executable: None };
            // Keep what was noticed with a build id: it is the same mapping, better known.
            let same = self.mappings.find(line.start);
            let same = same.filter(|same| same.start == line.start && same.end == line.end);
            if let Some(same) = same.filter(|same| same.what.mapped.path == what.mapped.path) {
                what = same.what.clone();
            }
            new.insert(Mapping { start: line.start, end: line.end, file_offset: line.file_offset, what });
        };
        let began = Instant::now();
        if !read_first(paths, take) {
            return None;
        }
        self.reading_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.mappings = Arc::new(new);
        self.whole = left_out == 0;
        Some(left_out)
    }

    /// After an exec the kernel maps the program first; the dynamic loader comes next.
    pub(super) fn first_program(&self) -> Option<&str> {
        let path = &self.mappings.iter().next()?.what.mapped.path;
        path.starts_with('/').then_some(path)
    }
}

/// What a mapping shows; the executable is looked at when it is first sampled.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) mapped: Arc<Mapped>,
    pub(super) executable: Option<(Arc<Executable>, u64)>,
}
