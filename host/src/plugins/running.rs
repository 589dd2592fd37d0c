//! The exporters that run: shared by who hands batches over, who watches them, and who exchanges them.

use super::{ExporterCounters, ExporterInstance, ExporterWatch};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A set of exporter instances, by name. Clones are the same set.
#[derive(Clone, Debug)]
pub struct Exporters(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    running: Vec<ExporterInstance>,
    /// Removed ones that still hand over what waits, and until when.
    leaving: Vec<(ExporterInstance, Instant)>,
    budget: Duration,
    ended: bool,
}

/// The agent ends; nothing is exchanged any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is ending")]
pub struct Ended;

impl Exporters {
    /// With so much time for each to finish.
    pub fn new(instances: Vec<ExporterInstance>, budget: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { running: instances, leaving: Vec::new(), budget, ended: false })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the time that each has to finish.
    pub fn set_budget(&self, budget: Duration) {
        self.lock().budget = budget;
    }

    /// Tells whether any wants names of functions.
    pub fn want_names(&self) -> bool {
        self.lock().running.iter().any(|exporter| exporter.wants().names)
    }

    /// Hands something to each of them, none of which changes meanwhile. If any wants names and there are none, it does
    /// nothing and returns false.
    pub fn each(&self, names: bool, mut hand_over: impl FnMut(&ExporterInstance)) -> bool {
        let state = self.lock();
        if !names && state.running.iter().any(|exporter| exporter.wants().names) {
            return false;
        }
        state.running.iter().for_each(&mut hand_over);
        true
    }

    /// Their counters and health.
    pub fn watch(&self) -> Vec<ExporterWatch> {
        self.lock().running.iter().map(ExporterInstance::watch).collect()
    }

    /// Between two profiles, `new` ones that are [prepared](ExporterInstance::prepare) take the place of those of the
    /// same name, or come in addition, and those named in `removed` go. Then waits for those that go: until they have
    /// ended, or the budget is over.
    ///
    /// # Errors
    ///
    /// The agent ends.
    pub fn exchange(&self, new: Vec<ExporterInstance>, removed: &[String]) -> Result<(), Ended> {
        let opening = {
            let mut state = self.lock();
            if state.ended {
                return Err(Ended);
            }
            let until = Instant::now() + state.budget;
            for name in removed {
                if let Some(at) = state.running.iter().position(|old| old.name() == name) {
                    let old = state.running.remove(at);
                    old.stop(until);
                    state.leaving.push((old, until));
                }
            }
            let mut opening = Vec::new();
            for new in new {
                opening.push(new.watch());
                match state.running.iter_mut().find(|old| old.name() == new.name()) {
                    Some(old) => {
                        new.follow(old, until);
                        *old = new;
                    }
                    None => state.running.push(new),
                }
            }
            state.running.sort_by(|a, b| a.name().cmp(b.name()));
            opening
        };
        // Each may wait for the one before; nobody waits for them.
        opening.iter().for_each(ExporterWatch::open);
        self.see_off();
        Ok(())
    }

    /// Waits for removed ones to end.
    fn see_off(&self) {
        let leaving: Vec<_> = self.lock().leaving.iter().map(|(old, until)| (old.watch(), *until)).collect();
        for (old, until) in leaving {
            let counters = old.shutdown(until);
            let mut state = self.lock();
            // The end of the agent reports those that it finds.
            if !state.ended {
                state.leaving.retain(|(other, _)| other.name() != old.name());
                tracing::info!(exporter = old.name(), ?counters, "exporter removed");
            }
        }
    }

    /// Has all of them finish within the budget, and returns what each did.
    pub fn shutdown(&self) -> Vec<(String, ExporterCounters)> {
        let mut all = Vec::new();
        {
            let mut state = self.lock();
            state.ended = true;
            let until = Instant::now() + state.budget;
            for exporter in &state.running {
                // All at once: one that hangs to the end takes no time from the others.
                exporter.stop(until);
                all.push((exporter.watch(), until));
            }
            all.extend(state.leaving.iter().map(|(old, until)| (old.watch(), *until)));
        }
        all.iter().map(|(exporter, until)| (exporter.name().to_owned(), exporter.shutdown(*until))).collect()
    }
}
