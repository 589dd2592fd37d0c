//! Ranges of a table, handed out and taken back.

use std::collections::BTreeMap;
use std::time::Duration;

/// Which parts of `0..size` are free; neighbours are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slab {
    /// Length by start.
    free: BTreeMap<u32, u32>,
    /// Ranges, {start, length}, that the sampler may still be in.
    retired: Vec<(u32, u32)>,
}

impl Slab {
    /// All of `range` is free.
    pub(super) fn new(range: std::ops::Range<u32>) -> Self {
        let length = range.end.saturating_sub(range.start);
        Self {
            free: (length > 0).then_some((range.start, length)).into_iter().collect(),
            retired: Vec::new(),
        }
    }

    /// Takes the first free range that is long enough; its start.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        let (start, free) =
            self.free.iter().find(|(_, free)| **free >= length).map(|(at, free)| (*at, *free))?;
        self.free.remove(&start);
        if free > length {
            self.free.insert(start + length, free - length);
        }
        Some(start)
    }

    /// Takes a range back that nothing leads to any more, but in which the sampler may still be.
    pub(super) fn retire(&mut self, start: u32, length: u32) {
        self.retired.push((start, length));
    }

    /// Tells whether there are such.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Frees them, after a grace period.
    pub(super) fn reclaim(&mut self) {
        wait_for_grace();
        for (start, length) in std::mem::take(&mut self.retired) {
            self.give_back(start, length);
        }
    }

    /// Takes a range back that the sampler never saw.
    pub(super) fn give_back(&mut self, start: u32, length: u32) {
        let (mut start, mut length) = (start, length);
        if let Some((before, free)) = self.free.range(..start).next_back().map(|(at, free)| (*at, *free))
            && before + free == start
        {
            self.free.remove(&before);
            (start, length) = (before, free + length);
        }
        if let Some(free) = self.free.remove(&(start + length)) {
            length += free;
        }
        if length > 0 {
            self.free.insert(start, length);
        }
    }
}

/// Waits until every run of the sampler that is under way has ended: it runs inside an RCU read-side
/// critical section, and membarrier(2) waits for those (kernel/sched/membarrier.c, MEMBARRIER_CMD_GLOBAL).
fn wait_for_grace() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: plain numbers.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        // Refused on kernels with nohz_full CPUs. A run takes some microseconds.
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_in_any_order_is_one_range_again() {
        let whole = Slab::new(1..101);
        let mut slab = whole.clone();
        let taken: Vec<_> = (0..10).map(|_| slab.take(10).unwrap()).collect();
        assert_eq!(slab.take(1), None);
        for index in [3, 1, 2, 9, 0, 8, 5, 7, 6, 4] {
            slab.give_back(taken[index], 10);
        }
        assert_eq!(slab, whole);
    }

    #[test]
    fn a_range_is_handed_out_once() {
        let mut slab = Slab::new(0..8);
        assert_eq!(
            (slab.take(3), slab.take(4), slab.take(2), slab.take(1)),
            (Some(0), Some(3), None, Some(7))
        );
        slab.give_back(0, 3);
        assert_eq!((slab.take(4), slab.take(2)), (None, Some(0)));
    }
}
