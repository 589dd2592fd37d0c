//! A limit of what is done for one file: debug information is written by others, and may be made to be read forever.

use crate::symbolize::limit::CpuLimit;
use std::cell::{Cell, RefCell};
use std::io;

/// Readings between two looks at the clock.
const CLOCK_EVERY: u64 = 1 << 16;

/// Readings that are left. Whatever loops over debug information reads in each turn, so this ends it.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<u64>,
    limit: CpuLimit,
    /// Set once it was all used up.
    exhausted: Cell<bool>,
    /// Set if a part was left out because it alone took too much.
    skipped: Cell<bool>,
    /// Why the file could not be read.
    failure: RefCell<Option<io::Error>>,
}

impl Work {
    pub(super) fn new(readings: u64, limit: CpuLimit) -> Self {
        Self {
            left: Cell::new(readings),
            limit,
            exhausted: Cell::new(false),
            skipped: Cell::new(false),
            failure: RefCell::default(),
        }
    }

    /// Takes some off; an error if nothing is left.
    pub(super) fn spend(&self, readings: u64) -> gimli::Result<()> {
        let left = self.left.get();
        let after = left.saturating_sub(readings);
        self.left.set(after);
        if after / CLOCK_EVERY != left / CLOCK_EVERY && self.limit.is_over() {
            self.left.set(0);
            self.fail(io::ErrorKind::TimedOut.into());
        }
        if self.left.get() == 0 {
            self.exhausted.set(true);
            return Err(gimli::Error::Io);
        }
        Ok(())
    }

    /// Does something that may take no more than so many readings, or it fails. What it makes is held in memory, a
    /// piece for each few readings, so this limits that, too.
    pub(super) fn at_most<T>(
        &self,
        readings: u64,
        job: impl FnOnce() -> gimli::Result<T>,
    ) -> gimli::Result<T> {
        let (all, exhausted) = (self.left.get(), self.exhausted.get());
        let lent = all.min(readings);
        self.left.set(lent);
        let result = job();
        let used = lent - self.left.get();
        self.left.set(all - used);
        if self.failure.borrow().is_some() {
            self.left.set(0);
        } else if lent < all {
            // Only that one job took too much.
            if self.exhausted.replace(exhausted) && !exhausted {
                self.skip();
            }
        }
        result
    }

    /// Nothing more is to be read.
    pub(super) fn fail(&self, error: io::Error) {
        self.left.set(0);
        self.failure.borrow_mut().get_or_insert(error);
    }

    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    /// Takes in that a part is left out.
    pub(super) fn skip(&self) {
        self.skipped.set(true);
    }

    /// Tells whether anything was left out.
    pub(super) fn is_cut(&self) -> bool {
        self.exhausted.get() || self.skipped.get()
    }
}
