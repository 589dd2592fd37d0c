//! Batches that wait for an exporter, bounded by count and bytes. What does not fit pushes out the oldest.

use std::collections::VecDeque;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    batches: VecDeque<Arc<[u8]>>,
    bytes: u64,
    max_batches: usize,
    max_bytes: u64,
}

impl Queue {
    pub(super) fn new(max_batches: usize, max_bytes: u64) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, max_batches: max_batches.max(1), max_bytes }
    }

    /// Appends `batch` and returns the batches that were dropped for it (itself, if it fits in no queue).
    pub(super) fn push(&mut self, batch: Arc<[u8]>) -> Vec<Arc<[u8]>> {
        let size = batch.len() as u64;
        if size > self.max_bytes {
            return vec![batch];
        }
        let mut dropped = Vec::new();
        while self.batches.len() >= self.max_batches || self.bytes + size > self.max_bytes {
            let Some(oldest) = self.pop() else { break };
            dropped.push(oldest);
        }
        self.bytes += size;
        self.batches.push_back(batch);
        dropped
    }

    pub(super) fn pop(&mut self) -> Option<Arc<[u8]>> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.len() as u64;
        Some(batch)
    }

    /// Drops everything and returns it.
    pub(super) fn clear(&mut self) -> Vec<Arc<[u8]>> {
        self.bytes = 0;
        std::mem::take(&mut self.batches).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(size: usize) -> Arc<[u8]> {
        vec![0; size].into()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut queue = Queue::new(2, 100);
        let dropped = [1, 2, 3].map(|size| queue.push(batch(size)).len());
        assert_eq!(dropped, [0, 0, 1]);
        assert_eq!(queue.pop().unwrap().len(), 2);
    }

    #[test]
    fn as_many_go_as_a_large_batch_needs() {
        let mut queue = Queue::new(9, 100);
        let dropped = [40, 40, 20, 70].map(|size| queue.push(batch(size)).len());
        assert_eq!(dropped, [0, 0, 0, 2]);
        assert_eq!((queue.pop().unwrap().len(), queue.pop().unwrap().len()), (20, 70));
    }

    #[test]
    fn a_batch_that_can_never_fit_pushes_out_nothing() {
        let mut queue = Queue::new(9, 100);
        assert_eq!((queue.push(batch(50)).len(), queue.push(batch(101)).len()), (0, 1));
        assert_eq!(queue.clear().len(), 1);
    }
}
