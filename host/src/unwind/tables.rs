//! The tables that the sampler unwinds by, and what is kept in them (`ebpf/bpf/layout.h`).
//!
//! The sampler reads while we write. A new range is filled before the slot that leads to it is
//! published, and a range that was left is used again only after a grace period, when no run of
//! the sampler can still be in it. So nothing is locked and nothing is read twice.

use super::cfi::Row;
use super::page::PageKey;
use super::pages::Pages;
use super::rule::Rule;
use super::slab::Slab;
use super::slot::{Installed, is_of, process_slots};
use crate::bpf::TableMemory;
use crate::map::Map;
use stacksonde_ebpf::tables::{COUNT_SHIFT, MAPPING_WORDS, NAME_SHIFT};
use std::ops::Range;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// A mapping as the sampler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// The number that is added to an address for the file address.
    pub bias: u64,
    /// [`crate::process::Executable::id`].
    pub executable: u32,
    /// A value of [`stacksonde_ebpf::tables::mapping_kind`].
    pub kind: u8,
}

/// Eviction counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesCounters {
    /// Pages whose rows were put in.
    pub pages_added: u64,
    /// Pages whose rows were thrown out for others.
    pub pages_evicted: u64,
    /// Processes that were thrown out for others.
    pub processes_evicted: u64,
    /// Times that all was thrown out because the table of rules was full.
    pub rules_flushed: u64,
}

/// The tables and what is in them.
#[derive(Debug)]
pub struct Tables {
    memory: TableMemory,
    pages: Pages,
    mappings: Slab,
    processes: Map<u32, Installed>,
    /// Processes that were thrown out for others.
    evicted: u64,
    /// Counts touches; larger is more recent.
    clock: u64,
    /// Counts states of processes that were put in. (After 2^32 of them the sampler could recall what it found
    /// in one that it forgot long ago.)
    epoch: u32,
}

impl Tables {
    /// Empty tables in `memory`, which is all zero.
    pub fn new(memory: TableMemory) -> Self {
        let mappings = u32::try_from(memory.mappings.len() / MAPPING_WORDS).unwrap_or(u32::MAX);
        Self {
            pages: Pages::new(&memory),
            memory,
            mappings: Slab::new(0..mappings),
            processes: Map::default(),
            evicted: 0,
            clock: 0,
            epoch: 0,
        }
    }

    /// Their memory.
    pub fn memory(&self) -> &TableMemory {
        &self.memory
    }

    /// Returns the eviction counters so far.
    pub fn counters(&self) -> TablesCounters {
        TablesCounters { processes_evicted: self.evicted, ..self.pages.counters() }
    }

    /// Returns how many pages and processes are in.
    pub fn sizes(&self) -> (usize, usize) {
        (self.pages.len(), self.processes.len())
    }

    /// Tells whether a process's mappings are in.
    pub fn has_process(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Tells whether a process has something in a range of addresses.
    pub fn overlaps(&self, pid: u32, range: std::ops::Range<u64>) -> bool {
        let Some(installed) = self.processes.get(&pid) else { return false };
        let (mut low, mut high) = (installed.first, installed.first + installed.count);
        let word =
            |index: u32, at: usize| self.memory.mappings[index as usize * MAPPING_WORDS + at].load(Relaxed);
        // The first mapping that ends after the range begins.
        while low < high {
            let middle = low + (high - low) / 2;
            if word(middle, 1) <= range.start { low = middle + 1 } else { high = middle }
        }
        low < installed.first + installed.count && word(low, 0) < range.end
    }

    /// A sample was taken of a process, at `time_ns`, whose main thread's name has this mark (0: not at hand).
    pub fn touch_process(&mut self, pid: u32, name: u32, time_ns: u64) {
        self.clock += 1;
        let Some(installed) = self.processes.get_mut(&pid) else { return };
        installed.used = self.clock;
        let is_news = installed.name == 0 && name != 0 || !installed.settled && installed.is_old(time_ns);
        if !is_news {
            return;
        }
        installed.settled = installed.is_old(time_ns);
        if installed.name == 0 {
            installed.name = name;
        }
        let region = installed.region();
        for slot in process_slots(&self.memory.processes, pid) {
            if is_of(&self.memory.processes, slot, pid) {
                self.memory.processes[slot + 1].store(region, Relaxed);
            }
        }
    }

    /// A sample was taken in a page.
    pub fn touch_page(&mut self, executable: u32, address: u64) {
        self.pages.touch(executable, address);
    }

    /// The rule at a file address whose page is in; `None` where it is not.
    pub fn rule_at(&mut self, executable: u32, address: u64) -> Option<Rule> {
        self.pages.rule_at(&self.memory, executable, address)
    }

    /// Puts in the rows of a page; whether there was room.
    pub fn add_page(&mut self, key: PageKey, rows: &[Row]) -> bool {
        self.pages.add(&self.memory, key, rows)
    }

    /// The mark of the name under which a process is in; 0 if there is none.
    pub fn name_of(&self, pid: u32) -> u32 {
        self.processes.get(&pid).map_or(0, |installed| installed.name)
    }

    /// Puts in the mappings of a process, sorted by address, instead of those it had; whether there was room.
    /// `name` and `time_ns` as of [`Tables::touch_process`].
    pub fn set_process(&mut self, pid: u32, mappings: &[TableMapping], name: u32, time_ns: u64) -> bool {
        let old = self.processes.get(&pid).copied();
        self.remove_process(pid);
        let Ok(count) = u32::try_from(mappings.len()) else { return false };
        if count == 0 || pid == 0 {
            return false;
        }
        let Some(first) = self.room_for_mappings(count) else { return false };
        if count >> (NAME_SHIFT - COUNT_SHIFT) != 0 || first >> COUNT_SHIFT != 0 {
            self.mappings.give_back(first, count);
            return false;
        }
        for (index, mapping) in mappings.iter().enumerate() {
            let at = (first as usize + index) * MAPPING_WORDS;
            let what = u64::from(mapping.executable) | u64::from(mapping.kind) << 32;
            for (place, word) in
                self.memory.mappings[at..].iter().zip([mapping.start, mapping.end, mapping.bias, what])
            {
                place.store(word, Relaxed);
            }
        }
        let slots = process_slots(&self.memory.processes, pid);
        let mut free = slots.filter(|slot| self.memory.processes[*slot].load(Relaxed) == 0);
        let Some(slot) = free.next() else {
            self.mappings.give_back(first, count);
            return false;
        };
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.clock += 1;
        let old = old.filter(|old| name == 0 || old.name == name);
        let mut installed = Installed {
            first,
            count,
            epoch: self.epoch,
            used: self.clock,
            name: old.map_or(name, |old| old.name),
            since_ns: old.map_or(time_ns, |old| old.since_ns),
            settled: false,
        };
        installed.settled = installed.is_old(time_ns);
        self.memory.processes[slot + 1].store(installed.region(), Relaxed);
        self.memory.processes[slot].store(u64::from(pid) | u64::from(self.epoch) << 32, Release);
        self.processes.insert(pid, installed);
        true
    }

    /// The mappings of a process that is in which overlap `range`, and its epoch.
    pub fn overlapping(
        &self,
        pid: u32,
        range: Range<u64>,
    ) -> Option<(u32, impl Iterator<Item = TableMapping>)> {
        let installed = self.processes.get(&pid)?;
        let first = installed.first as usize * MAPPING_WORDS;
        let words = &self.memory.mappings[first..first + installed.count as usize * MAPPING_WORDS];
        let mappings = words.chunks_exact(MAPPING_WORDS).map(|words| {
            let [start, end, bias, what] = std::array::from_fn(|word| words[word].load(Relaxed));
            let [a, b, c, d, kind, ..] = what.to_le_bytes();
            TableMapping { start, end, bias, executable: u32::from_le_bytes([a, b, c, d]), kind }
        });
        let overlap = move |mapping: &TableMapping| mapping.start < range.end && range.start < mapping.end;
        Some((installed.epoch, mappings.filter(overlap)))
    }

    /// Takes out the mappings of a process: it ended, or they changed.
    pub fn remove_process(&mut self, pid: u32) {
        let Some(installed) = self.processes.remove(&pid) else { return };
        for slot in process_slots(&self.memory.processes, pid) {
            if is_of(&self.memory.processes, slot, pid) {
                self.memory.processes[slot].store(0, Release);
            }
        }
        self.mappings.retire(installed.first, installed.count);
    }

    fn room_for_mappings(&mut self, count: u32) -> Option<u32> {
        loop {
            if let Some(first) = self.mappings.take(count) {
                return Some(first);
            }
            if !self.mappings.has_retired() {
                self.evict_processes()?;
            }
            self.mappings.reclaim();
        }
    }

    /// Throws out a sixteenth of the processes, those used least recently: each time costs a grace period.
    fn evict_processes(&mut self) -> Option<()> {
        let mut by_use: Vec<_> =
            self.processes.iter().map(|(pid, installed)| (installed.used, *pid)).collect();
        by_use.sort_unstable();
        let count = (by_use.len() / 16).max(1);
        by_use.first()?;
        for (_, pid) in by_use.into_iter().take(count) {
            self.remove_process(pid);
            self.evicted += 1;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::{SETTLED_NS, name_mark};
    use super::*;
    use crate::bpf::TableSizes;
    use stacksonde_ebpf::tables::{PAGE_BITS, SETTLED, rule_kind};

    fn tables(row_lines: u32, mappings: u32) -> Tables {
        let sizes = TableSizes {
            process_lines: 16,
            mappings,
            page_lines: 16,
            row_lines,
            recent_lines: 16,
            rules: 64,
            filter_lines: 16,
        };
        Tables::new(TableMemory::ours(&sizes))
    }

    fn rule(cfa: i32) -> Rule {
        Rule { kind: rule_kind::SP, cfa, fp: -2, other: -3 }
    }

    fn add(tables: &mut Tables, page: u32) -> bool {
        let start = u64::from(page) << PAGE_BITS;
        tables.add_page(PageKey { executable: 1, page }, &[(start, rule(1)), (start + 9, rule(2))])
    }

    #[test]
    fn finds_the_rule_of_a_page_that_is_in() {
        let mut tables = tables(100, 10);
        assert!(add(&mut tables, 7));
        assert_eq!(tables.rule_at(1, (7 << PAGE_BITS) + 8), Some(rule(1)));
        assert_eq!(tables.rule_at(1, (7 << PAGE_BITS) + 4095), Some(rule(2)));
        assert_eq!(tables.rule_at(1, 8 << PAGE_BITS), None);
        assert_eq!(tables.rule_at(2, 7 << PAGE_BITS), None);
    }

    #[test]
    fn throws_out_what_was_used_least_recently() {
        // A block of these has three lines.
        let mut tables = tables(31, 10);
        for page in 1..=10 {
            assert!(add(&mut tables, page));
        }
        assert!(tables.rule_at(1, 1 << PAGE_BITS).is_some());
        assert!(add(&mut tables, 11));
        assert!(tables.rule_at(1, 1 << PAGE_BITS).is_some());
        assert_eq!(tables.rule_at(1, 2 << PAGE_BITS), None);
        assert_eq!(tables.counters().pages_evicted, 1);
    }

    #[test]
    fn knows_what_a_new_mapping_would_take_away() {
        let mut tables = tables(31, 10);
        let mapping = |start| TableMapping { start, end: start + 10, bias: 0, executable: 0, kind: 0 };
        assert!(tables.set_process(1, &[mapping(20), mapping(40), mapping(60)], 0, 0));
        for (range, expected) in
            [(0..20, false), (0..21, true), (30..40, false), (29..31, true), (69..70, true), (70..99, false)]
        {
            assert_eq!(tables.overlaps(1, range.clone()), expected, "{range:?}");
        }
        assert!(!tables.overlaps(2, 0..99));
    }

    #[test]
    fn a_process_settles_and_keeps_the_name_that_it_was_sampled_under() {
        let mut tables = tables(40, 10);
        let mapping = TableMapping { start: 1, end: 2, bias: 0, executable: 0, kind: 0 };
        let slot = |tables: &Tables| {
            let slot = process_slots(&tables.memory.processes, 1)
                .find(|slot| is_of(&tables.memory.processes, *slot, 1));
            tables.memory.processes[slot.unwrap() + 1].load(Relaxed)
        };
        let name = name_mark(b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(tables.set_process(1, &[mapping], 0, 5));
        assert_eq!((tables.name_of(1), slot(&tables) & SETTLED), (0, 0));
        tables.touch_process(1, name, 6);
        assert_eq!((tables.name_of(1), slot(&tables) & SETTLED), (name, 0));
        tables.touch_process(1, 0, 5 + SETTLED_NS);
        assert_eq!((tables.name_of(1), slot(&tables) & SETTLED), (name, SETTLED));
        assert!(tables.set_process(1, &[mapping; 2], 0, 5 + SETTLED_NS));
        assert_eq!((tables.name_of(1), slot(&tables) & SETTLED), (name, SETTLED), "other mappings");
        assert!(tables.set_process(1, &[mapping; 2], name + 2, 5 + SETTLED_NS));
        assert_eq!((tables.name_of(1), slot(&tables) & SETTLED), (name + 2, 0), "another program");
        assert_eq!(slot(&tables) >> COUNT_SHIFT & 0xfffff, 2);
    }

    #[test]
    fn holds_any_number_of_pages_one_after_the_other() {
        let mut tables = tables(40, 10);
        assert!((0..100).all(|page| add(&mut tables, page)));
        assert!(tables.sizes().0 <= 13);
    }

    #[test]
    fn a_process_that_no_longer_fits_costs_the_one_that_was_silent_longest() {
        let mut tables = tables(40, 10);
        let mapping = TableMapping { start: 1, end: 2, bias: 0, executable: 0, kind: 0 };
        for pid in [1, 2] {
            assert!(tables.set_process(pid, &[mapping; 5], 0, 0));
        }
        tables.touch_process(1, 0, 0);
        assert!(tables.set_process(3, &[mapping; 4], 0, 0));
        assert!(tables.has_process(1) && !tables.has_process(2) && tables.has_process(3));
        assert!(!tables.set_process(4, &[mapping; 11], 0, 0), "more than the table holds");
    }
}
