//! The start of an instance: with its spool, and with the backlog of the instance that it replaces.
//!
//! The new instance is made while the old one still runs, so that one that cannot be made costs nothing. Then the old
//! one finishes the call that it is in, and ends; what waited for it, in memory and on disk, waits for the new one.
//! Whoever needs both locks takes the new one's first.

use super::{Shared, State, keeper};
use crate::plugins::backlog::Place;
use crate::plugins::spool::Spool;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// The batches of an instance on disk.
#[derive(Default)]
struct Opened {
    spool: Option<Arc<Spool>>,
    /// The batches that an earlier run left there.
    found: Vec<Place>,
    /// True if new batches are written there.
    keeps: bool,
    trouble: Option<String>,
}

impl Shared {
    /// From here on what waits for `old`, which has to end by `until`, is this instance's.
    pub(in crate::plugins) fn follow(&self, old: &Arc<Self>, until: Instant) {
        let mut state = self.lock();
        old.leave(until);
        state.predecessor = Some(Arc::clone(old));
    }

    fn leave(&self, until: Instant) {
        let mut state = self.lock();
        for batch in state.pending.take() {
            state.enqueue(batch);
        }
        state.leaves_backlog = true;
        state.stop.get_or_insert(until);
        self.work.notify_all();
    }

    /// Opens the spool, takes over what the predecessor left, and has the threads begin. Waits for the predecessor's
    /// end, until its time is up.
    pub(in crate::plugins) fn open(self: &Arc<Self>) {
        let predecessor = self.lock().predecessor.clone();
        let left = predecessor.as_ref().and_then(|old| {
            old.wait_to_leave();
            old.spool.get().cloned()
        });
        let opened = self.open_spool(left.as_ref());
        if let (Some(old), Some(from), Some(to)) = (&predecessor, &left, &opened.spool)
            && !Arc::ptr_eq(from, to)
        {
            old.move_to(from, to);
        }
        self.begin(opened);
    }

    fn begin(self: &Arc<Self>, Opened { spool, found, keeps, trouble }: Opened) {
        let mut state = self.lock();
        // At the end of the agent somebody else may have taken it over.
        if let Some(old) = state.predecessor.take() {
            state.inherit(&mut old.lock());
        }
        // On disk, so that nothing is dropped for it.
        let _none = state.backlog.put_first(found);
        if let Some(spool) = spool {
            // It is opened once.
            let _set = self.spool.set(spool);
        }
        if keeps {
            state.keeper_ended = false;
            if let Err(error) = keeper::start(self) {
                state.keeper_ended = true;
                self.does_without_spool(&mut state, format!("no thread can be started for it: {error}"));
            }
        } else {
            state.backlog.without_disk();
            let batches = state.backlog.extents().1.batches;
            if batches > 0
                && let Some(spool) = self.spool.get()
            {
                tracing::warn!(
                    exporter = self.name,
                    batches,
                    "what waits in {} is handed over from there; what is left at the agent's end stays there until the \
                     directory is the exporter's spool again",
                    spool.folder().display()
                );
            }
        }
        if let Some(trouble) = trouble {
            self.does_without_spool(&mut state, trouble);
        }
        state.open = true;
        self.work.notify_all();
    }

    fn does_without_spool(&self, state: &mut State, trouble: String) {
        tracing::error!(
            exporter = self.name,
            "batches wait in memory only, because there is no spool: {trouble}"
        );
        state.backlog.without_disk();
        state.spool_trouble = Some(trouble);
    }

    /// `left` is the predecessor's, of which nobody else may write the folder.
    fn open_spool(&self, left: Option<&Arc<Spool>>) -> Opened {
        let Some(settings) = &self.spool_settings else {
            // What is there is handed over from there.
            return Opened { spool: left.cloned(), ..Opened::default() };
        };
        if let Some(left) = left.filter(|left| left.folder() == settings.directory.join(&self.name)) {
            return Opened { spool: Some(Arc::clone(left)), keeps: true, ..Opened::default() };
        }
        match Spool::open(&settings.directory, &self.name) {
            Ok((spool, found)) => {
                if !found.is_empty() {
                    tracing::info!(
                        exporter = self.name,
                        batches = found.len(),
                        "an earlier run left batches in the spool"
                    );
                }
                let found = found.into_iter().map(Place::Disk).collect();
                Opened { spool: Some(Arc::new(spool)), found, keeps: true, trouble: None }
            }
            Err(error) => {
                Opened { spool: left.cloned(), trouble: Some(error.to_string()), ..Opened::default() }
            }
        }
    }

    /// Waits for the threads' end, until it is time.
    fn wait_to_leave(&self) {
        let mut state = self.lock();
        while !(state.ended && state.keeper_ended) {
            let left = state.stop.map(|until| until.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                let what = state.call.as_ref().map_or("the queue", |call| call.what);
                tracing::warn!(
                    exporter = self.name,
                    "stopped waiting for {what} of the instance before; the batch that it was about is handed over again"
                );
                return;
            };
            state = self.end.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Moves what waits on disk to another spool. What finds no place there waits in memory.
    fn move_to(&self, from: &Spool, to: &Spool) {
        let waiting = self.lock().backlog.on_disk();
        for (id, kept) in waiting {
            let place = to.take_over(from, &kept).map(Place::Disk).or_else(|error| {
                tracing::warn!(
                    exporter = self.name,
                    "a batch is not moved to {}: {error}",
                    to.folder().display()
                );
                let batch = from.read(&kept)?;
                from.remove(&kept);
                Ok(Place::Memory(batch))
            });
            match place {
                // If the agent ended meanwhile, it is found there by the next run.
                Ok(place) => _ = self.lock().backlog.moved(id, place),
                Err(error) => {
                    self.lock().backlog.remove(id);
                    self.damaged(&error);
                }
            }
        }
    }
}
