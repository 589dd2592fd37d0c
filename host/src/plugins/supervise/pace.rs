//! When to try again, and when to stop trying.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Waiting times that double from `first` to `last`, each shortened by up to half so that agents which
/// failed together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(first: Duration, last: Duration, seed: u64) -> Self {
        Self { first, last, next: first, random: fastrand::Rng::with_seed(seed) }
    }

    pub(super) fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.last);
        full - full.mul_f64(self.random.f64() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The largest number of panics, and the time within which they are counted.
const PANICS: usize = 5;
const WITHIN: Duration = Duration::from_secs(3600);

/// The panics of the last hour.
#[derive(Debug, Default)]
pub(super) struct Panics(VecDeque<Instant>);

impl Panics {
    /// Notes one at `now`, and says whether there have been too many.
    pub(super) fn too_many_at(&mut self, now: Instant) -> bool {
        self.0.retain(|panic| now.duration_since(*panic) < WITHIN);
        self.0.push_back(now);
        self.0.len() >= PANICS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_double_up_to_a_limit_and_vary() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 8 * second, 42);
        for full in [1, 2, 4, 8, 8, 8] {
            let time = backoff.next();
            assert!(time <= full * second && time >= full * second / 2, "{time:?} of {full} s");
        }
        backoff.reset();
        assert!(backoff.next() <= second);
    }

    #[test]
    fn the_fifth_panic_of_an_hour_is_one_too_many() {
        let start = Instant::now();
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        let mut panics = Panics::default();
        let verdicts = [0, 20, 40, 55, 70, 71, 72].map(|at| panics.too_many_at(minutes(at)));
        assert_eq!(verdicts, [false, false, false, false, false, true, true]);
    }
}
