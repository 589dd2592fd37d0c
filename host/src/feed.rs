//! Batches for a consumer within this process, such as `top`: the same bytes that exporters get.
//!
//! Like an exporter's queue it is bounded by count and bytes, holds up no thread, and drops its oldest batch first;
//! samples in dropped batches are reported as a loss in the next batch.

use crate::batch::Dropped;
use stacksonde_batch::Batch;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The loss of dropped batches.
const BEHIND: &str = "samples_lost_display_behind";

/// The two ends; clones are of the same.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    batches: usize,
    bytes: usize,
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// Samples dropped since the last batch was made.
    given_up: u64,
}

impl Feed {
    /// For at most so many batches and bytes.
    pub fn new(batches: usize, bytes: usize) -> Self {
        Self(Arc::new(Shared { batches, bytes, waiting: Mutex::default(), came: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a batch. Never blocks.
    pub fn push(&self, batch: Arc<[u8]>) {
        let mut waiting = self.lock();
        waiting.bytes += batch.len();
        waiting.batches.push_back(batch);
        while waiting.batches.len() > self.0.batches || waiting.bytes > self.0.bytes {
            let Some(oldest) = waiting.batches.pop_front() else { break };
            waiting.bytes -= oldest.len();
            waiting.given_up += samples(&oldest);
        }
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Takes the losses that the next batch has to report.
    pub fn take_dropped(&self) -> Dropped {
        match std::mem::take(&mut self.lock().given_up) {
            0 => Vec::new(),
            samples => vec![(BEHIND.to_owned(), samples)],
        }
    }

    /// The oldest batch that waits, if any.
    pub fn try_next(&self) -> Option<Arc<[u8]>> {
        let mut waiting = self.lock();
        let batch = waiting.batches.pop_front()?;
        waiting.bytes -= batch.len();
        Some(batch)
    }

    /// The oldest batch; waits for one.
    pub async fn next(&self) -> Arc<[u8]> {
        loop {
            if let Some(batch) = self.try_next() {
                return batch;
            }
            self.0.came.notified().await;
        }
    }
}

fn samples(batch: &[u8]) -> u64 {
    let Ok(batch) = Batch::parse(batch) else { return 0 };
    batch.samples().iter().fold(0, |sum: u64, sample| sum.saturating_add(sample.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_batch::tables::{Process, Sample, Stack, Thread};
    use stacksonde_batch::{Header, Writer};

    fn batch(samples: u64) -> Arc<[u8]> {
        let mut writer = Writer::new(Header::default());
        writer.process(Process::default());
        writer.thread(Thread::default());
        writer.stack(Stack::default());
        writer.sample(Sample { count: samples, ..Sample::default() });
        writer.finish().unwrap().into()
    }

    #[test]
    fn the_oldest_goes_first_and_its_samples_are_told() {
        let feed = Feed::new(2, usize::MAX);
        [1, 2, 3, 4].into_iter().for_each(|samples| feed.push(batch(samples)));
        assert_eq!(feed.take_dropped(), [(BEHIND.to_owned(), 3)]);
        assert_eq!(feed.take_dropped(), []);
        assert_eq!(feed.try_next().map(|batch| samples(&batch)), Some(3));
        assert_eq!(feed.try_next().map(|batch| samples(&batch)), Some(4));
        assert_eq!(feed.try_next(), None);
    }

    #[test]
    fn what_is_larger_than_all_that_may_wait_is_a_loss() {
        let feed = Feed::new(2, batch(1).len());
        feed.push(batch(1));
        feed.push(batch(2));
        assert_eq!(feed.take_dropped(), [(BEHIND.to_owned(), 1)]);
        let small = Feed::new(2, 10);
        small.push(batch(5));
        assert_eq!((small.try_next(), small.take_dropped()), (None, vec![(BEHIND.to_owned(), 5)]));
    }
}
