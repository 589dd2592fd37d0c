//! Batches that wait for an exporter, oldest first: in memory, bounded by count and bytes, or on disk, bounded by
//! bytes. What does not fit pushes out the oldest.
//!
//! Bookkeeping only: who takes part writes, reads and removes files.

use super::spool::Kept;
use std::collections::VecDeque;
use std::sync::Arc;

/// Limits on the batches that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Batches in memory.
    pub(super) batches: usize,
    /// Bytes in memory.
    pub(super) bytes: u64,
    /// Bytes on disk; 0 without a spool.
    pub(super) disk_bytes: u64,
}

/// A batch that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Never the same twice.
    pub(super) id: u64,
    pub(super) place: Place,
    /// True if it is larger than all of the spool.
    unkeepable: bool,
}

/// The place where a batch is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Memory(Arc<[u8]>),
    /// In the spool.
    Disk(Kept),
}

/// The amount that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) batches: u64,
    pub(super) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    next: u64,
    limits: Limits,
    memory: Extent,
    disk: Extent,
    /// The batch that a call is about: it stays.
    held: Option<u64>,
}

impl Backlog {
    pub(super) fn new(limits: Limits) -> Self {
        let limits = Limits { batches: limits.batches.max(1), ..limits };
        let (memory, disk) = (Extent::default(), Extent::default());
        Self { waiting: VecDeque::new(), next: 0, limits, memory, disk, held: None }
    }

    /// Returns the amounts that wait in memory and on disk.
    pub(super) fn extents(&self) -> (Extent, Extent) {
        (self.memory, self.disk)
    }

    /// Appends `batch` and returns the batches in memory that were dropped for it (itself, if it can never fit).
    pub(super) fn push(&mut self, batch: Arc<[u8]>) -> Vec<Arc<[u8]>> {
        let size = batch.len() as u64;
        if size > self.limits.bytes {
            return vec![batch];
        }
        self.append(Place::Memory(batch));
        self.drop_surplus()
    }

    /// Drops the oldest in memory until the rest fits.
    fn drop_surplus(&mut self) -> Vec<Arc<[u8]>> {
        let mut dropped = Vec::new();
        let full = |this: &Self| {
            this.memory.batches > this.limits.batches as u64 || this.memory.bytes > this.limits.bytes
        };
        while full(self) {
            let Some(Place::Memory(oldest)) = self.drop_oldest(|place| matches!(place, Place::Memory(_)))
            else {
                break;
            };
            dropped.push(oldest);
        }
        dropped
    }

    /// Keeps nothing more on disk.
    pub(super) fn without_disk(&mut self) {
        self.limits.disk_bytes = 0;
    }

    /// Takes all out, oldest first, wherever it is; also what a call is about.
    pub(super) fn take_all(&mut self) -> Vec<Place> {
        self.held = None;
        (self.memory, self.disk) = (Extent::default(), Extent::default());
        self.waiting.drain(..).map(|waiting| waiting.place).collect()
    }

    /// Puts what waited for another before all that waits here, and returns the batches in memory that were dropped
    /// for it.
    pub(super) fn put_first(&mut self, places: Vec<Place>) -> Vec<Arc<[u8]>> {
        let newer = self.take_all();
        places.into_iter().chain(newer).for_each(|place| self.append(place));
        self.drop_surplus()
    }

    fn append(&mut self, place: Place) {
        self.add(&place);
        self.waiting.push_back(Waiting { id: self.next, place, unkeepable: false });
        self.next += 1;
    }

    fn extent_of(&mut self, place: &Place) -> (&mut Extent, u64) {
        match place {
            Place::Memory(batch) => (&mut self.memory, batch.len() as u64),
            Place::Disk(kept) => (&mut self.disk, kept.bytes),
        }
    }

    fn add(&mut self, place: &Place) {
        let (extent, bytes) = self.extent_of(place);
        extent.batches += 1;
        extent.bytes += bytes;
    }

    fn subtract(&mut self, place: &Place) {
        let (extent, bytes) = self.extent_of(place);
        extent.batches -= 1;
        extent.bytes -= bytes;
    }

    fn remove_at(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(at)?;
        self.subtract(&waiting.place);
        Some(waiting)
    }

    fn drop_oldest(&mut self, which: impl Fn(&Place) -> bool) -> Option<Place> {
        let droppable = |waiting: &Waiting| which(&waiting.place) && self.held != Some(waiting.id);
        let at = self.waiting.iter().position(droppable)?;
        self.remove_at(at).map(|waiting| waiting.place)
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Keeps the batch `id` from being dropped until [`Backlog::release`]; false if it was dropped already.
    pub(super) fn hold(&mut self, id: u64) -> bool {
        let is_there = self.waiting.iter().any(|waiting| waiting.id == id);
        self.held = is_there.then_some(id);
        is_there
    }

    /// Ends what [`Backlog::hold`] began.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Takes the batch `id` out, wherever it is by now.
    pub(super) fn remove(&mut self, id: u64) -> Option<Place> {
        if self.held == Some(id) {
            self.held = None;
        }
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        self.remove_at(at).map(|waiting| waiting.place)
    }

    /// The oldest batch that is not on disk and could be.
    pub(super) fn unkept(&self) -> Option<(u64, Arc<[u8]>)> {
        self.waiting.iter().filter(|waiting| !waiting.unkeepable).find_map(|waiting| match &waiting.place {
            Place::Memory(batch) => Some((waiting.id, Arc::clone(batch))),
            Place::Disk(_) => None,
        })
    }

    /// Tells whether the batch `id`, of so many bytes on disk, has a place there, once others have been dropped; if
    /// not, it stays in memory.
    pub(super) fn can_be_kept(&mut self, id: u64, bytes: u64) -> bool {
        let fits = bytes <= self.limits.disk_bytes;
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.id == id) {
            waiting.unkeepable = !fits;
        }
        fits
    }

    /// The batch on disk that has to be dropped before one of so many bytes is written, if any; it is taken out.
    pub(super) fn too_old_for(&mut self, bytes: u64) -> Option<Kept> {
        (self.disk.bytes + bytes > self.limits.disk_bytes).then(|| self.oldest_on_disk()).flatten()
    }

    /// Takes the oldest batch on disk out.
    pub(super) fn oldest_on_disk(&mut self) -> Option<Kept> {
        match self.drop_oldest(|place| matches!(place, Place::Disk(_)))? {
            Place::Disk(kept) => Some(kept),
            Place::Memory(_) => None,
        }
    }

    /// The batch `id` is on disk now; false if nobody waits for it any more.
    pub(super) fn kept(&mut self, id: u64, kept: Kept) -> bool {
        self.moved(id, Place::Disk(kept))
    }

    /// The batch `id` is elsewhere now; false if nobody waits for it any more.
    pub(super) fn moved(&mut self, id: u64, to: Place) -> bool {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.id == id) else { return false };
        self.add(&to);
        let from = std::mem::replace(&mut self.waiting[at].place, to);
        self.subtract(&from);
        true
    }

    /// All that are on disk, oldest first, with their ids.
    pub(super) fn on_disk(&self) -> Vec<(u64, Kept)> {
        let on_disk = |waiting: &Waiting| match &waiting.place {
            Place::Disk(kept) => Some((waiting.id, kept.clone())),
            Place::Memory(_) => None,
        };
        self.waiting.iter().filter_map(on_disk).collect()
    }

    /// Takes out all that is in memory. What is on disk stays for another run.
    pub(super) fn clear_memory(&mut self) -> Vec<Arc<[u8]>> {
        let mut taken = Vec::new();
        self.held = None;
        self.memory = Extent::default();
        self.waiting.retain(|waiting| match &waiting.place {
            Place::Memory(batch) => {
                taken.push(Arc::clone(batch));
                false
            }
            Place::Disk(_) => true,
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { batches: 9, bytes: 100, disk_bytes: 50 };

    fn batch(size: usize) -> Arc<[u8]> {
        vec![0; size].into()
    }

    fn kept(number: u64, bytes: u64) -> Kept {
        Kept { number, bytes }
    }

    impl Backlog {
        /// Appends what an earlier run left in the spool.
        fn found(&mut self, kept: Kept) {
            self.append(Place::Disk(kept));
        }
    }

    fn sizes(dropped: Vec<Arc<[u8]>>) -> Vec<usize> {
        dropped.iter().map(|batch| batch.len()).collect()
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut backlog = Backlog::new(Limits { batches: 2, ..LIMITS });
        let dropped = [1, 2, 3].map(|size| sizes(backlog.push(batch(size))));
        assert_eq!(dropped, [vec![], vec![], vec![1]]);
        assert_eq!(backlog.first().unwrap().place, Place::Memory(batch(2)));
    }

    #[test]
    fn as_many_go_as_a_large_batch_needs() {
        let mut backlog = Backlog::new(LIMITS);
        let dropped = [40, 40, 20, 70].map(|size| sizes(backlog.push(batch(size))));
        assert_eq!(dropped, [vec![], vec![], vec![], vec![40, 40]]);
        assert_eq!(backlog.extents().0, Extent { batches: 2, bytes: 90 });
    }

    #[test]
    fn a_batch_that_can_never_fit_pushes_out_nothing() {
        let mut backlog = Backlog::new(LIMITS);
        assert_eq!((backlog.push(batch(50)).len(), backlog.push(batch(101)).len()), (0, 1));
        assert_eq!(sizes(backlog.clear_memory()), [50]);
    }

    #[test]
    fn the_batch_of_a_call_stays_and_can_go_between_calls() {
        let mut backlog = Backlog::new(Limits { batches: 1, ..LIMITS });
        backlog.push(batch(1));
        let id = backlog.first().unwrap().id;
        assert!(backlog.hold(id));
        assert_eq!(sizes(backlog.push(batch(2))), [2], "all others go before it");
        backlog.release();
        assert_eq!(sizes(backlog.push(batch(3))), [1]);
        assert!(!backlog.hold(id) && backlog.remove(id).is_none());
    }

    #[test]
    fn what_is_on_disk_takes_no_memory_and_stays_in_order() {
        let mut backlog = Backlog::new(Limits { batches: 1, ..LIMITS });
        backlog.found(kept(7, 20));
        backlog.push(batch(60));
        let (id, _) = backlog.unkept().unwrap();
        assert!(backlog.too_old_for(10).is_none());
        assert!(backlog.kept(id, kept(8, 10)) && backlog.unkept().is_none());
        assert_eq!(backlog.extents(), (Extent::default(), Extent { batches: 2, bytes: 30 }));
        assert!(backlog.push(batch(60)).is_empty());
        assert_eq!(backlog.first().unwrap().place, Place::Disk(kept(7, 20)));
        assert!(!backlog.kept(99, kept(9, 1)), "nobody waits for it");
    }

    #[test]
    fn what_waited_for_another_comes_first_and_the_oldest_in_memory_go_if_it_is_too_much() {
        let mut old = Backlog::new(LIMITS);
        old.found(kept(1, 10));
        old.push(batch(30));
        old.push(batch(40));
        let first = old.first().unwrap().id;
        old.hold(first);
        let mut new = Backlog::new(LIMITS);
        new.push(batch(50));
        assert_eq!(sizes(new.put_first(old.take_all())), [30]);
        assert_eq!((new.first().unwrap().place.clone(), old.first()), (Place::Disk(kept(1, 10)), None));
        assert_eq!(new.extents(), (Extent { batches: 2, bytes: 90 }, Extent { batches: 1, bytes: 10 }));
        assert_eq!(old.extents(), (Extent::default(), Extent::default()));
        new.without_disk();
        let (id, _) = new.unkept().unwrap();
        assert!(!new.can_be_kept(id, 1));
    }

    #[test]
    fn the_oldest_on_disk_goes_for_a_newer_one_but_not_while_it_is_in_a_call() {
        let mut backlog = Backlog::new(LIMITS);
        for number in 1..=3 {
            backlog.found(kept(number, 15));
        }
        let first = backlog.first().unwrap().id;
        backlog.hold(first);
        assert_eq!(backlog.too_old_for(10), Some(kept(2, 15)));
        assert_eq!(backlog.too_old_for(10), None);
        backlog.release();
        assert_eq!(backlog.oldest_on_disk(), Some(kept(1, 15)));
        backlog.push(batch(90));
        let (id, _) = backlog.unkept().unwrap();
        assert!(backlog.can_be_kept(id, 50) && backlog.unkept().is_some());
        assert!(!backlog.can_be_kept(id, 51) && backlog.unkept().is_none());
        assert_eq!(sizes(backlog.clear_memory()), [90]);
        assert!(backlog.clear_memory().is_empty());
        assert_eq!(backlog.extents().1, Extent { batches: 1, bytes: 15 });
    }
}
