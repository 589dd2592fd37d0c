//! Batches that are put together, for an exporter that asked for batches no more often than every so many
//! milliseconds.

use stacksonde_batch::{Batch, merge};
use std::sync::Arc;

/// Batches that wait for their interval to be long enough.
#[derive(Debug, Default)]
pub(super) struct Pending {
    min_interval_ms: u64,
    max_bytes: u64,
    batches: Vec<Arc<[u8]>>,
    bytes: u64,
}

impl Pending {
    /// For an exporter that wants no more than one batch in `min_interval_ms`, and none of more than `max_bytes`:
    /// rather than lose any, it then gets one early.
    pub(super) fn new(min_interval_ms: u64, max_bytes: u64) -> Self {
        Self { min_interval_ms, max_bytes, ..Self::default() }
    }

    /// Takes `batch`, and returns what is to be handed over now, if anything.
    pub(super) fn push(&mut self, batch: Arc<[u8]>) -> Vec<Arc<[u8]>> {
        if self.min_interval_ms == 0 {
            return vec![batch];
        }
        let size = batch.len() as u64;
        let mut now = match self.bytes + size > self.max_bytes {
            true => self.take(),
            false => Vec::new(),
        };
        self.bytes += size;
        self.batches.push(batch);
        if self.is_due() {
            now.extend(self.take());
        }
        now
    }

    /// Takes the batches that wait, merged into one: for the end. They stay as they are if they cannot be merged.
    pub(super) fn take(&mut self) -> Vec<Arc<[u8]>> {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        let read: Vec<_> = batches.iter().filter_map(|batch| Batch::parse(batch).ok()).collect();
        if read.len() < 2 || read.len() < batches.len() {
            return batches;
        }
        match merge(&read) {
            Ok(merged) => vec![merged.into()],
            Err(error) => {
                tracing::warn!("batches of several intervals are handed over one by one: {error}");
                batches
            }
        }
    }

    /// Tells whether the batches that wait span the interval; those that cannot be read count as such.
    fn is_due(&self) -> bool {
        let header = |batch: &Arc<[u8]>| Batch::parse(batch).ok().map(|batch| *batch.header());
        match (self.batches.first().and_then(header), self.batches.last().and_then(header)) {
            (Some(first), Some(last)) => {
                let ns = last.end_ns.saturating_sub(first.start_ns);
                // Intervals end some milliseconds early or late; what is due now would else wait for another one.
                ns / 1_000_000 + ns / 1_000_000 / 50 >= self.min_interval_ms
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_batch::{Header, Writer};

    /// A batch from one second to another.
    fn batch(from: u64, to: u64) -> Arc<[u8]> {
        let second = 1_000_000_000;
        let header = Header { start_ns: from * second, end_ns: to * second, ..Header::default() };
        Writer::new(header).finish().unwrap().into()
    }

    fn spans(batches: &[Arc<[u8]>]) -> Vec<(u64, u64)> {
        let seconds = |batch: &Arc<[u8]>| {
            let header = *Batch::parse(batch).unwrap().header();
            (header.start_ns / 1_000_000_000, header.end_ns / 1_000_000_000)
        };
        batches.iter().map(seconds).collect()
    }

    #[test]
    fn batches_are_put_together_until_they_span_the_interval() {
        let mut pending = Pending::new(25_000, u64::MAX);
        assert_eq!(spans(&pending.push(batch(0, 10))), []);
        assert_eq!(spans(&pending.push(batch(10, 20))), []);
        assert_eq!(spans(&pending.push(batch(20, 30))), [(0, 30)]);
        assert_eq!(spans(&pending.push(batch(30, 40))), []);
        assert_eq!(spans(&pending.take()), [(30, 40)]);
        assert_eq!(spans(&pending.take()), []);
    }

    #[test]
    fn without_an_interval_each_is_handed_over_as_it_is() {
        let mut pending = Pending::new(0, u64::MAX);
        assert_eq!(spans(&pending.push(batch(0, 10))), [(0, 10)]);
    }

    #[test]
    fn what_would_become_too_large_comes_early() {
        let size = batch(0, 10).len() as u64;
        let mut pending = Pending::new(60_000, 2 * size);
        assert_eq!(spans(&pending.push(batch(0, 10))), []);
        assert_eq!(spans(&pending.push(batch(10, 20))), []);
        assert_eq!(spans(&pending.push(batch(20, 30))), [(0, 20)]);
    }

    #[test]
    fn what_is_no_batch_is_handed_over_as_it_is() {
        let mut pending = Pending::new(60_000, u64::MAX);
        let bytes: Arc<[u8]> = vec![1, 2, 3].into();
        assert_eq!(pending.push(Arc::clone(&bytes)), [bytes]);
    }
}
