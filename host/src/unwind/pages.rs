//! Pages of code whose rows are in the tables: which they are, and which make room for others.

use super::cfi::Row;
use super::page::{PageKey, block, rule_number};
use super::rule::Rule;
use super::slab::Slab;
use super::slot::probed_lines;
use super::tables::TablesCounters;
use crate::bpf::{SharedWords, TableMemory};
use crate::map::Map;
use stacksonde_ebpf::tables::{HASH_FACTOR, PAGE_BITS, PAGE_LINES, WORDS};
use std::sync::atomic::Ordering::{Relaxed, Release};

/// The content of the tables `pages`, `rows` and `rules`.
#[derive(Debug)]
pub(super) struct Pages {
    rule_numbers: Map<Rule, u16>,
    rows: Slab,
    resident: Map<PageKey, Resident>,
    counters: TablesCounters,
    /// Counts touches; larger is more recent.
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    line: u32,
    lines: u32,
    used: u64,
}

impl Pages {
    /// None, in memory that is all zero.
    pub(super) fn new(memory: &TableMemory) -> Self {
        let lines = u32::try_from(memory.rows.len() / WORDS).unwrap_or(u32::MAX);
        let mut pages = Self {
            rule_numbers: Map::default(),
            // Line 0 stands for none.
            rows: Slab::new(1..lines),
            resident: Map::default(),
            counters: TablesCounters::default(),
            clock: 0,
        };
        pages.number_fixed_rules(memory);
        pages
    }

    /// Those without unwind information have the numbers that the sampler takes for granted.
    fn number_fixed_rules(&mut self, memory: &TableMemory) {
        for rule in [Rule::NONE, Rule::BARE] {
            self.rule_number(memory, rule);
        }
    }

    /// Returns the eviction counters so far.
    pub(super) fn counters(&self) -> TablesCounters {
        self.counters
    }

    /// Returns their number.
    pub(super) fn len(&self) -> usize {
        self.resident.len()
    }

    /// A sample was taken in a page.
    pub(super) fn touch(&mut self, executable: u32, address: u64) {
        self.clock += 1;
        if let Some(resident) = PageKey::of(executable, address).and_then(|key| self.resident.get_mut(&key)) {
            resident.used = self.clock;
        }
    }

    /// The rule at a file address whose page is in; `None` where it is not.
    pub(super) fn rule_at(&mut self, memory: &TableMemory, executable: u32, address: u64) -> Option<Rule> {
        let resident = self.resident.get_mut(&PageKey::of(executable, address)?)?;
        self.clock += 1;
        resident.used = self.clock;
        let first = resident.line as usize * WORDS;
        let in_page = (address & ((1 << PAGE_BITS) - 1)) as u32;
        let number = rule_number(|index| memory.rows[first + index].load(Relaxed), in_page);
        Some(Rule::from_word(memory.rules[usize::from(number)].load(Relaxed)))
    }

    /// Puts in the rows of a page; whether there was room.
    pub(super) fn add(&mut self, memory: &TableMemory, key: PageKey, rows: &[Row]) -> bool {
        if self.resident.contains_key(&key) {
            return true;
        }
        let words = match block(key, rows, |rule| self.rule_number(memory, rule)) {
            Some(words) => words,
            None => {
                // Rules are few; only damaged files have so many.
                self.flush(memory);
                let Some(words) = block(key, rows, |rule| self.rule_number(memory, rule)) else {
                    return false;
                };
                words
            }
        };
        let lines = u32::try_from(words.len() / WORDS).unwrap_or(u32::MAX);
        let Some(line) = self.room(memory, lines) else { return false };
        let first = line as usize * WORDS;
        for (place, word) in memory.rows[first..].iter().zip(&words) {
            place.store(*word, Relaxed);
        }
        while !publish(memory, key, line) {
            // Its lines of the index are full: the page there that was used least recently makes room.
            let Some(other) = self.oldest_neighbour(memory, key) else {
                self.rows.give_back(line, lines);
                return false;
            };
            self.evict(memory, other);
        }
        self.clock += 1;
        self.resident.insert(key, Resident { line, lines, used: self.clock });
        self.counters.pages_added += 1;
        true
    }

    fn rule_number(&mut self, memory: &TableMemory, rule: Rule) -> Option<u16> {
        if let Some(number) = self.rule_numbers.get(&rule) {
            return Some(*number);
        }
        let number = u16::try_from(self.rule_numbers.len()).ok()?;
        memory.rules.get(usize::from(number))?.store(rule.to_word(), Release);
        self.rule_numbers.insert(rule, number);
        Some(number)
    }

    fn room(&mut self, memory: &TableMemory, lines: u32) -> Option<u32> {
        loop {
            if let Some(line) = self.rows.take(lines) {
                return Some(line);
            }
            if !self.rows.has_retired() {
                self.evict_some(memory);
            }
            if !self.rows.has_retired() {
                return None;
            }
            self.rows.reclaim();
        }
    }

    /// Throws out an eighth of the pages, those used least recently.
    fn evict_some(&mut self, memory: &TableMemory) {
        let mut by_use: Vec<_> = self.resident.iter().map(|(key, resident)| (resident.used, *key)).collect();
        by_use.sort_unstable();
        let count = (by_use.len() / 8).max(1);
        for (_, key) in by_use.into_iter().take(count) {
            self.evict(memory, key);
        }
    }

    fn evict(&mut self, memory: &TableMemory, key: PageKey) {
        let Some(resident) = self.resident.remove(&key) else { return };
        for slot in page_slots(&memory.pages, key) {
            if memory.pages[slot].load(Relaxed) >> 32 == u64::from(resident.line) {
                memory.pages[slot].store(0, Release);
            }
        }
        self.rows.retire(resident.line, resident.lines);
        self.counters.pages_evicted += 1;
    }

    /// Throws out all, and the rules with them.
    fn flush(&mut self, memory: &TableMemory) {
        for key in self.resident.keys().copied().collect::<Vec<_>>() {
            self.evict(memory, key);
        }
        // Afterwards no run of the sampler has any of the numbers in hand, and it must not recall them either.
        self.rows.reclaim();
        memory.recent.iter().for_each(|word| word.store(0, Relaxed));
        self.rule_numbers.clear();
        self.number_fixed_rules(memory);
        self.counters.rules_flushed += 1;
    }

    fn oldest_neighbour(&self, memory: &TableMemory, key: PageKey) -> Option<PageKey> {
        let slots = page_slots(&memory.pages, key);
        let lines: Vec<u64> = slots.map(|slot| memory.pages[slot].load(Relaxed) >> 32).collect();
        let inside = self.resident.iter().filter(|(_, resident)| lines.contains(&resident.line.into()));
        inside.min_by_key(|(_, resident)| resident.used).map(|(key, _)| *key)
    }
}

/// Puts the page into the index; whether its lines there had a free slot.
fn publish(memory: &TableMemory, key: PageKey, line: u32) -> bool {
    let mut free = page_slots(&memory.pages, key).filter(|slot| memory.pages[*slot].load(Relaxed) == 0);
    let Some(slot) = free.next() else { return false };
    memory.pages[slot].store(page_tag(key) | u64::from(line) << 32, Release);
    true
}

/// Its high half leads to the page's lines of the index.
fn page_hash(key: PageKey) -> u64 {
    let key = key.word();
    (key ^ key >> 29).wrapping_mul(HASH_FACTOR)
}

/// Returns the low half of the page's slot.
fn page_tag(key: PageKey) -> u64 {
    page_hash(key) & 0xffff_ffff | 1
}

/// Slots in which a page may stand.
fn page_slots(pages: &SharedWords, key: PageKey) -> impl Iterator<Item = usize> + use<> {
    probed_lines(pages, page_hash(key), PAGE_LINES).flatten()
}
