//! Callers that samples have in common: attributed once.
//!
//! Most samples of a thread differ in their innermost frame only. So what the others are is looked up once, and then
//! found as a whole: one line of a table and the addresses themselves, instead of several lines a frame.

use super::Frame;
use crate::map::Map;
use std::sync::Arc;

/// The frames of a user stack but the innermost.
#[derive(Debug)]
pub struct Callers {
    /// Unique while the agent runs; equal callers of two processes, or at two times, may have two.
    pub id: u64,
    /// Leaf first. Addresses lie inside the call.
    pub frames: Box<[Frame]>,
}

/// Bytes that all of [`CallersSeen`] may take, about.
const BYTES: usize = 1 << 20;

/// Callers that were attributed lately.
#[derive(Debug, Default)]
pub(super) struct CallersSeen {
    /// By the state of a process's mappings and the return addresses.
    known: Map<Box<[u64]>, Arc<Callers>>,
    /// The key that is looked for: kept for its memory.
    key: Vec<u64>,
    bytes: usize,
    last_id: u64,
}

impl CallersSeen {
    /// Those at these return addresses of a process whose mappings are at `version`.
    pub(super) fn find(&mut self, version: u64, addresses: &[u64]) -> Option<Arc<Callers>> {
        self.key.clear();
        self.key.push(version);
        self.key.extend_from_slice(addresses);
        self.known.get(self.key.as_slice()).cloned()
    }

    /// Callers with these frames. Those that are `lasting` are found again by the same version and addresses.
    pub(super) fn make(&mut self, frames: Box<[Frame]>, lasting: Option<(u64, &[u64])>) -> Arc<Callers> {
        self.last_id += 1;
        let callers = Arc::new(Callers { id: self.last_id, frames });
        if let Some((version, addresses)) = lasting {
            let key: Box<[u64]> = std::iter::once(version).chain(addresses.iter().copied()).collect();
            let bytes = size_of_val(&*key) + size_of_val(&*callers.frames) + 2 * size_of::<Callers>();
            if self.bytes + bytes > BYTES {
                self.clear();
            }
            self.bytes += bytes;
            self.known.insert(key, Arc::clone(&callers));
        }
        callers
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(addresses: &[u64]) -> Box<[Frame]> {
        addresses.iter().map(|address| Frame::Unknown(*address)).collect()
    }

    #[test]
    fn finds_them_by_state_and_all_addresses() {
        let mut seen = CallersSeen::default();
        let made = seen.make(frames(&[1, 2]), Some((7, &[1, 2])));
        assert_eq!(seen.find(7, &[1, 2]).map(|found| found.id), Some(made.id));
        for (version, addresses) in [(8, &[1, 2][..]), (7, &[1]), (7, &[1, 2, 3]), (7, &[])] {
            assert!(seen.find(version, addresses).is_none(), "{version} {addresses:?}");
        }
        let passing = seen.make(frames(&[9]), None);
        assert!(passing.id != made.id && seen.find(7, &[9]).is_none());
    }

    #[test]
    fn stays_within_its_bytes() {
        let mut seen = CallersSeen::default();
        let many: Vec<u64> = (0..1000).collect();
        for version in 0..1000 {
            seen.make(frames(&many), Some((version, &many)));
            assert!(seen.known.len() * 1000 * (8 + size_of::<Frame>()) <= BYTES);
        }
        assert!(seen.find(999, &many).is_some(), "the last one is there");
    }
}
