//! The memory of the unwind tables (`ebpf/bpf/layout.h`): made with the sampler, written by [`crate::unwind`].

use super::SharedWords;
use super::sampler::LoadError;
use stacksonde_ebpf::object::Loaded;
use stacksonde_ebpf::tables::{MAPPING_WORDS, WORDS};
use std::os::fd::AsFd;

/// Bytes of a line.
const LINE_BYTES: u64 = (WORDS * size_of::<u64>()) as u64;

/// Sizes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Lines of the table of processes, of four each; a power of two.
    pub process_lines: u32,
    /// Mappings of all processes.
    pub mappings: u32,
    /// Lines of the index of pages, of eight each; a power of two.
    pub page_lines: u32,
    /// Lines of rows.
    pub row_lines: u32,
    /// Lines of the table of rules found lately; 0, or a power of two, 65536 at most.
    pub recent_lines: u32,
    /// Rules.
    pub rules: u32,
    /// Buckets of the table of what is excluded; a power of two.
    pub filter_lines: u32,
}

impl TableSizes {
    /// Tables for so many processes and mappings, with `row_bytes` of rows and `recent_bytes` of rules found lately.
    pub fn for_budget(processes: u32, mappings: u32, row_bytes: u64, recent_bytes: u64) -> Self {
        let recent_lines = u32::try_from(recent_bytes / LINE_BYTES).unwrap_or(u32::MAX).min(1 << 16);
        let row_lines = u32::try_from(row_bytes / LINE_BYTES).unwrap_or(u32::MAX).max(1024);
        Self {
            // Open addressing wants room: half of the slots stay free.
            process_lines: (processes / 2).clamp(16, 1 << 20).next_power_of_two(),
            mappings: mappings.max(64),
            // A page of code takes some ten lines of rows and more.
            page_lines: (row_lines / 32).max(16).next_power_of_two(),
            row_lines,
            // The largest power of two that is not more.
            recent_lines: recent_lines.checked_ilog2().map_or(0, |bits| 1 << bits),
            rules: 1 << 16,
            // A bucket has four slots, and what does not fit is only judged again.
            filter_lines: processes.clamp(16, 1 << 20).next_power_of_two(),
        }
    }

    /// Bytes of all tables.
    pub fn bytes(&self) -> u64 {
        let lines = [
            self.process_lines,
            self.page_lines,
            self.row_lines,
            self.recent_lines.max(1),
            1,
            self.filter_lines,
        ];
        let lines: u64 = lines.map(u64::from).iter().sum();
        lines * LINE_BYTES + u64::from(self.mappings) * 32 + u64::from(self.rules) * 8
    }
}

/// The tables' memory.
#[derive(Debug)]
pub struct TableMemory {
    /// Open addressing by pid.
    pub processes: SharedWords,
    /// Mappings of processes.
    pub mappings: SharedWords,
    /// Open addressing by page.
    pub pages: SharedWords,
    /// Blocks of rows.
    pub rows: SharedWords,
    /// Rules found lately, written by the sampler.
    pub recent: SharedWords,
    /// Rules.
    pub rules: SharedWords,
}

impl TableMemory {
    /// Memory that no sampler reads.
    pub fn ours(sizes: &TableSizes) -> Self {
        let lines = |lines: u32| SharedWords::ours(lines as usize * WORDS);
        Self {
            processes: lines(sizes.process_lines),
            mappings: SharedWords::ours(sizes.mappings as usize * MAPPING_WORDS),
            pages: lines(sizes.page_lines),
            rows: lines(sizes.row_lines),
            recent: lines(sizes.recent_lines),
            rules: SharedWords::ours(sizes.rules as usize),
        }
    }
}

/// Words of the table of what is excluded: a line, then buckets.
pub(super) fn filter_words(sizes: &TableSizes) -> usize {
    (1 + sizes.filter_lines as usize) * WORDS
}

/// Maps an array of a loaded object.
pub(super) fn map_array(
    object: &mut Loaded,
    name: &'static str,
    words: usize,
) -> Result<SharedWords, LoadError> {
    let array = object.take_map(name).ok_or(LoadError::Missing(name))?;
    SharedWords::map(array.as_fd(), words).map_err(|error| LoadError::Shared(name, error))
}

impl TableMemory {
    /// Maps the arrays of a loaded object.
    pub(super) fn of(object: &mut Loaded, sizes: &TableSizes) -> Result<Self, LoadError> {
        let mut take = |name: &'static str, words: usize| map_array(object, name, words);
        let lines = |lines: u32| lines as usize * WORDS;
        Ok(Self {
            processes: take("processes", lines(sizes.process_lines))?,
            mappings: take("mappings", sizes.mappings as usize * MAPPING_WORDS)?,
            pages: take("pages", lines(sizes.page_lines))?,
            rows: take("rows", lines(sizes.row_lines))?,
            recent: take("recent", lines(sizes.recent_lines.max(1)))?,
            rules: take("rules", sizes.rules as usize)?,
        })
    }
}
