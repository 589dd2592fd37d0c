//! The executable mappings of one process, sorted by address.

use std::ops::Range;

/// One mapping; `T` says what is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<T> {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the file of the first address.
    pub file_offset: u64,
    /// The mapped object.
    pub what: T,
}

impl<T> Mapping<T> {
    /// Returns the offset in the file of an address that it covers.
    pub fn offset_of(&self, address: u64) -> u64 {
        self.file_offset.wrapping_add(address.wrapping_sub(self.start))
    }

    /// Returns the part of the file that it shows.
    pub fn file_range(&self) -> Range<u64> {
        self.file_offset..self.file_offset.saturating_add(self.end - self.start)
    }
}

/// Mappings that never overlap, searched by bisection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings<T> {
    sorted: Vec<Mapping<T>>,
}

impl<T> Default for Mappings<T> {
    fn default() -> Self {
        Self { sorted: Vec::new() }
    }
}

impl<T: Clone> Mappings<T> {
    /// The mapping that covers `address`.
    pub fn find(&self, address: u64) -> Option<&Mapping<T>> {
        let after = self.sorted.partition_point(|mapping| mapping.start <= address);
        self.sorted[..after].last().filter(|mapping| address < mapping.end)
    }

    /// Puts in a mapping. What it covers of older ones is gone, as after mmap(2) with MAP_FIXED.
    pub fn insert(&mut self, new: Mapping<T>) {
        if new.start >= new.end {
            return;
        }
        let first = self.sorted.partition_point(|mapping| mapping.end <= new.start);
        let last = self.sorted.partition_point(|mapping| mapping.start < new.end);
        let mut pieces = Vec::with_capacity(3);
        if let Some(old) = self.sorted[first..last].first().filter(|old| old.start < new.start) {
            pieces.push(Mapping { end: new.start, ..old.clone() });
        }
        let end = new.end;
        pieces.push(new);
        if let Some(old) = self.sorted[first..last].last().filter(|old| old.end > end) {
            let file_offset = old.file_offset.wrapping_add(end - old.start);
            pieces.push(Mapping { start: end, file_offset, ..old.clone() });
        }
        self.sorted.splice(first..last, pieces);
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping<T>> {
        self.sorted.iter()
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(all: &[(u64, u64, char)]) -> Mappings<char> {
        let mut mappings = Mappings::default();
        for (start, end, what) in all {
            mappings.insert(Mapping { start: *start, end: *end, file_offset: start * 10, what: *what });
        }
        mappings
    }

    fn seen(mappings: &Mappings<char>, upto: u64) -> String {
        (0..upto).map(|address| mappings.find(address).map_or('.', |mapping| mapping.what)).collect()
    }

    #[test]
    fn finds_by_address_up_to_the_end_exclusive() {
        assert_eq!(seen(&mappings(&[(2, 4, 'a'), (4, 5, 'b'), (7, 9, 'c')]), 10), "..aab..cc.");
    }

    #[test]
    fn a_new_mapping_replaces_what_it_covers() {
        assert_eq!(seen(&mappings(&[(1, 9, 'a'), (3, 5, 'b')]), 10), ".aabbaaaa.");
        assert_eq!(seen(&mappings(&[(1, 4, 'a'), (5, 8, 'b'), (3, 6, 'c')]), 10), ".aacccbb..");
        assert_eq!(seen(&mappings(&[(2, 3, 'a'), (4, 5, 'b'), (0, 9, 'c')]), 10), "ccccccccc.");
        assert_eq!(seen(&mappings(&[(2, 3, 'a'), (2, 3, 'b')]), 5), "..b..");
    }

    #[test]
    fn the_rest_of_a_split_mapping_keeps_its_place_in_the_file() {
        let mappings = mappings(&[(1, 9, 'a'), (3, 5, 'b')]);
        assert_eq!(mappings.find(7).unwrap().file_offset, 14);
        assert_eq!(mappings.find(1).unwrap().file_offset, 10);
    }

    #[test]
    fn an_empty_mapping_changes_nothing() {
        assert!(mappings(&[(3, 3, 'a')]).is_empty());
    }
}
