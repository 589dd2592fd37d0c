//! Which mappings are taken in of a process that has more than its share.

use super::maps_file::MapsLine;
use std::collections::HashMap;

/// Takes mappings one by one, up to a number.
///
/// The less room is left the fewer of one file's mappings are taken, so that a file that is mapped a hundred thousand
/// times, or as much memory without a file, leaves room for all others, wherever they are mapped. What was sampled is
/// taken in any case.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    most: usize,
    taken: usize,
    left_out: u64,
    /// Mappings taken of each file: device and inode, zeros for none.
    of_files: HashMap<(u32, u32, u64), usize>,
    /// Addresses that were sampled, sorted.
    sampled: &'a [u64],
}

impl<'a> Selection<'a> {
    /// Nothing is taken yet. `sampled` is sorted and bounded.
    pub(super) fn new(most: usize, sampled: &'a [u64]) -> Self {
        Self { most, taken: 0, left_out: 0, of_files: HashMap::new(), sampled }
    }

    /// Says whether a mapping is to be taken, and counts it.
    pub(super) fn takes(&mut self, line: &MapsLine) -> bool {
        let of_file = self.of_files.entry((line.major, line.minor, line.inode)).or_default();
        let room = self.most.saturating_sub(self.taken);
        let from = self.sampled.partition_point(|address| *address < line.start);
        let is_sampled = self.sampled.get(from).is_some_and(|address| *address < line.end);
        if *of_file < 2 * room || is_sampled {
            *of_file += 1;
            self.taken += 1;
            true
        } else {
            self.left_out += 1;
            false
        }
    }

    /// Counts those that were not taken.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: u64, inode: u64) -> MapsLine {
        let start = index * 0x1000;
        MapsLine {
            start,
            end: start + 0x1000,
            file_offset: 0,
            major: 1,
            minor: 1,
            inode,
            path: String::new(),
        }
    }

    #[test]
    fn one_file_leaves_room_for_others_and_what_is_sampled_stays() {
        let sampled = [0x1000 * 69_000 + 7];
        let mut selection = Selection::new(3000, &sampled);
        let heavy: Vec<u64> = (0..70_000).filter(|index| selection.takes(&line(*index, 5))).collect();
        assert!((1500..2500).contains(&heavy.len()), "{}", heavy.len());
        assert!(heavy.contains(&69_000) && !heavy.contains(&69_001));
        assert!(selection.takes(&line(70_001, 6)) && selection.takes(&line(70_002, 7)), "libraries above it");
        assert_eq!(selection.left_out(), 70_000 - heavy.len() as u64);
        let others = (80_000..90_000).filter(|index| selection.takes(&line(*index, 8))).count();
        assert!(selection.taken <= 3001 && others > 100, "{others} {}", selection.taken);
    }

    #[test]
    fn all_are_taken_where_there_is_room() {
        let mut selection = Selection::new(3000, &[]);
        assert!((0..1900).all(|index| selection.takes(&line(index, index / 1000))));
        assert_eq!(selection.left_out(), 0);
    }
}
