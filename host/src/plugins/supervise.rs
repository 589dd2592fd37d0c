//! One exporter instance's threads: what they share with the agent, and their life.
//!
//! One thread calls the plugin, and it alone; where there is a spool, another one writes it. The agent only ever
//! locks [`Shared`], which neither holds during a call or while a file is written, so that nothing that a plugin
//! or a disk does makes the agent wait.

mod instance;
mod keeper;
mod pace;
mod state;
mod succession;

use super::backlog::{Place, Waiting};
use super::exporter::{ExporterCounters, ExporterSettings, Health};
use super::interval::Pending;
use super::loss::{self, Reason};
use super::spool::{Kept, ReadError, Spool, SpoolSettings};
pub(super) use instance::run;
use stacksonde_plugin::Wants;
use state::{Call, Standing, State};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The state that the agent and the threads of an instance share.
#[derive(Debug)]
pub(super) struct Shared {
    name: String,
    deadline: Duration,
    queue_bytes: u64,
    spool_settings: Option<SpoolSettings>,
    /// The spool of batches on disk, once the instance is open.
    spool: OnceLock<Arc<Spool>>,
    state: Mutex<State>,
    /// Wakes the threads: a batch came, or the end.
    work: Condvar,
    /// Wakes the agent: a thread has ended.
    end: Condvar,
}

impl Shared {
    pub(super) fn new(settings: &ExporterSettings) -> Self {
        Self {
            name: settings.name.clone(),
            deadline: settings.deadline,
            queue_bytes: settings.queue_bytes,
            spool_settings: settings.spool.clone(),
            spool: OnceLock::new(),
            state: Mutex::new(State::new(settings)),
            work: Condvar::new(),
            end: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Option<Duration>) -> MutexGuard<'a, State> {
        match most {
            Some(most) => self.work.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Holds to what the exporter wants, from here on: drops larger batches, puts together those that come
    /// too often.
    pub(super) fn agree(&self, wants: &Wants) {
        let mut state = self.lock();
        state.max_bytes = wants.max_bytes;
        let most = wants.max_bytes.map_or(self.queue_bytes, |most| most.min(self.queue_bytes));
        state.pending = Pending::new(wants.min_interval_ms, most);
    }

    pub(super) fn submit(&self, batch: Arc<[u8]>) {
        let mut state = self.lock();
        self.notice_overdue(&mut state);
        if matches!(state.standing, Standing::Disabled(_)) {
            state.lose(Reason::Disabled, &batch);
        } else if state.stop.is_some() {
            state.lose(Reason::Shutdown, &batch);
        } else {
            for batch in state.pending.push(batch) {
                state.enqueue(batch);
            }
            self.work.notify_all();
        }
    }

    pub(super) fn counters(&self) -> ExporterCounters {
        self.lock().counters()
    }

    pub(super) fn take_dropped(&self) -> Vec<(String, u64)> {
        self.lock().take_untold()
    }

    pub(super) fn health(&self) -> Health {
        let mut state = self.lock();
        if self.notice_overdue(&mut state) {
            return Health::Stuck;
        }
        match (&state.standing, &state.spool_trouble) {
            (Standing::Good, None) => Health::Good,
            (Standing::Good, Some(why)) => Health::Degraded(format!("the spool: {why}")),
            (Standing::Degraded(why), _) => Health::Degraded(why.clone()),
            (Standing::Disabled(why), _) => Health::Disabled(why.clone()),
        }
    }

    /// Tells the threads to have ended by `until`.
    pub(super) fn stop(&self, until: Instant) {
        let mut state = self.lock();
        for batch in state.pending.take() {
            state.enqueue(batch);
        }
        state.stop.get_or_insert(until);
        self.work.notify_all();
    }

    /// Waits for the threads' end, until `until`; what they left undone and is not on disk is counted as dropped.
    pub(super) fn wait_for_end(&self, until: Instant) -> ExporterCounters {
        let mut state = self.lock();
        while !(state.ended && state.keeper_ended) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = state.call.as_ref().map_or("the queue", |call| call.what);
                tracing::warn!(exporter = self.name, "stopped waiting for {what} at shutdown");
                break;
            }
            state = self.end.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // Of an instance that was not open yet.
        if let Some(old) = state.predecessor.take() {
            state.inherit(&mut old.lock());
        }
        state.lose_memory(Reason::Shutdown);
        state.counters()
    }

    /// Tells whether a call is past its deadline; says so once in the log.
    fn notice_overdue(&self, state: &mut State) -> bool {
        let Some(call) = state.call.as_mut().filter(|call| call.since.elapsed() > self.deadline) else {
            return false;
        };
        if !std::mem::replace(&mut call.told, true) {
            let seconds = self.deadline.as_secs_f32();
            tracing::warn!(
                exporter = self.name,
                "stuck: {} has not returned within {seconds} s; other exporters go on",
                call.what
            );
        }
        true
    }
}

/// For the thread that calls the plugin.
impl Shared {
    /// The oldest batch; waits for one. `None` at the end. It stays in the backlog until it is taken or lost.
    fn next(&self) -> Option<(u64, Arc<[u8]>)> {
        loop {
            let Waiting { id, place, .. } = self.first()?;
            let batch = match (place, self.spool.get()) {
                (Place::Memory(batch), _) => batch,
                (Place::Disk(kept), Some(spool)) => match spool.read(&kept) {
                    Ok(batch) => batch,
                    Err(error) => {
                        // It may have been pushed out just now.
                        if self.lock().take_out(id).is_some() {
                            spool.remove(&kept);
                            self.damaged(&error);
                        }
                        continue;
                    }
                },
                (Place::Disk(_), None) => return None,
            };
            let mut state = self.lock();
            if state.is_too_large(&batch) {
                drop(state);
                self.lost(id, Reason::TooLarge, &batch);
            } else if state.backlog.hold(id) {
                return Some((id, batch));
            }
        }
    }

    fn first(&self) -> Option<Waiting> {
        let mut state = self.lock();
        loop {
            let left = state.stop.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) || state.leaves_backlog {
                return None;
            }
            // While it is not open, what it has to hand over first is still to come.
            if state.open {
                if let Some(waiting) = state.backlog.first() {
                    return Some(waiting.clone());
                }
                if left.is_some() {
                    return None;
                }
            }
            state = self.wait(state, left);
        }
    }

    /// Waits for `time`, or until the end is asked for. What waits may be pushed out meanwhile; false if the batch
    /// `id` was.
    fn pause(&self, id: u64, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        state.backlog.release();
        while state.stop.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, Some(left));
        }
        state.backlog.hold(id)
    }

    /// Tells whether the batch `id` is still held, not pushed out since it was asked for.
    fn is_held(&self, id: u64) -> bool {
        self.lock().backlog.hold(id)
    }

    fn is_stopping(&self) -> bool {
        self.lock().stop.is_some()
    }

    fn leaves_backlog(&self) -> bool {
        self.lock().leaves_backlog
    }

    /// Runs `body`, a call into the plugin, and times it.
    fn call<R>(&self, what: &'static str, body: impl FnOnce() -> R) -> R {
        self.lock().call = Some(Call { what, since: Instant::now(), told: false });
        let result = body();
        let mut state = self.lock();
        let Some(call) = state.call.take() else { return result };
        let time = call.since.elapsed();
        if what == "export" {
            let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            state.counters.export_ns = state.counters.export_ns.saturating_add(time);
        }
        if time > self.deadline {
            state.counters.overruns += 1;
            let seconds = time.as_secs_f32();
            tracing::warn!(exporter = self.name, "{what} returned after {seconds} s, past its deadline");
        }
        result
    }

    /// The batch `id` is out of the backlog, and so is its file.
    fn done(&self, mut state: MutexGuard<'_, State>, id: u64) {
        let kept = state.take_out(id);
        drop(state);
        if let (Some(kept), Some(spool)) = (kept, self.spool.get()) {
            spool.remove(&kept);
        }
    }

    fn delivered(&self, id: u64, batch: &[u8]) {
        let samples = loss::samples(batch);
        let mut state = self.lock();
        state.counters.delivered += 1;
        state.counters.delivered_samples += samples;
        state.counters.delivered_bytes += batch.len() as u64;
        if matches!(state.standing, Standing::Degraded(_)) {
            tracing::info!(exporter = self.name, "takes profiles again");
        }
        state.standing = Standing::Good;
        self.done(state, id);
    }

    /// The batch `id` is lost.
    fn lost(&self, id: u64, reason: Reason, batch: &[u8]) {
        let mut state = self.lock();
        state.lose(reason, batch);
        self.done(state, id);
    }

    fn retried(&self) {
        self.lock().counters.retries += 1;
    }

    fn failed(&self, message: &str) {
        let mut state = self.lock();
        if matches!(state.standing, Standing::Good) {
            tracing::warn!(exporter = self.name, "fails: {message}");
        }
        state.counters.last_error = Some(message.into());
        state.standing = Standing::Degraded(message.into());
    }

    fn panicked(&self, message: &str) {
        tracing::error!(exporter = self.name, "{message}");
        let mut state = self.lock();
        state.counters.panics += 1;
        state.counters.last_error = Some(message.into());
        state.standing = Standing::Degraded(message.into());
    }

    /// Calls it no more; what waits in memory is lost, what is on disk stays.
    fn disabled(&self, why: String) {
        tracing::error!(exporter = self.name, "disabled: {why}");
        let mut state = self.lock();
        state.lose_memory(Reason::Disabled);
        state.standing = Standing::Disabled(why);
    }

    fn ended(&self) {
        let mut state = self.lock();
        state.backlog.release();
        state.ended = true;
        // The other thread ends when there is nothing more to write.
        self.work.notify_all();
        self.end.notify_all();
    }
}

/// For the thread that writes the spool.
impl Shared {
    /// The oldest batch that is not on disk; waits for one. `None` at the end, once all are.
    fn next_unkept(&self) -> Option<(u64, Arc<[u8]>)> {
        let mut state = self.lock();
        loop {
            if state.leaves_backlog {
                return None;
            }
            if let Some(unkept) = state.backlog.unkept() {
                return Some(unkept);
            }
            // Until the other one has ended, a batch that it did not get rid of may come.
            if state.stop.is_some() {
                return None;
            }
            state = self.wait(state, None);
        }
    }

    /// Tells whether a batch of so many bytes can be in the spool at all; if not, the batch `id` is not asked about
    /// again.
    fn can_be_kept(&self, id: u64, bytes: u64) -> bool {
        self.lock().backlog.can_be_kept(id, bytes)
    }

    fn too_old_for(&self, bytes: u64) -> Option<Kept> {
        self.lock().backlog.too_old_for(bytes)
    }

    fn oldest_on_disk(&self) -> Option<Kept> {
        self.lock().backlog.oldest_on_disk()
    }

    fn kept(&self, id: u64, kept: Kept) -> bool {
        let mut state = self.lock();
        if state.spool_trouble.take().is_some() {
            tracing::info!(exporter = self.name, "the spool can be written again");
        }
        state.backlog.kept(id, kept)
    }

    fn lost_from_spool(&self, reason: Reason, batch: &[u8]) {
        self.lock().lose(reason, batch);
    }

    /// A file of the spool holds no batch; how many samples that costs nobody knows.
    fn damaged(&self, error: &ReadError) {
        tracing::error!(exporter = self.name, "a batch in the spool is lost: {error}");
        self.lock().lose(Reason::SpoolDamaged, &[]);
    }

    fn spool_failed(&self, error: &std::io::Error) {
        let mut state = self.lock();
        state.counters.spool_failures += 1;
        if state.spool_trouble.is_none() {
            tracing::error!(
                exporter = self.name,
                "a batch waits in memory, because the spool cannot be written: {error}"
            );
        }
        state.spool_trouble = Some(error.to_string());
    }

    /// Waits before another attempt, or until the end is asked for.
    fn pause_keeping(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while state.stop.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, Some(left));
        }
    }

    fn keeper_ended(&self) {
        self.lock().keeper_ended = true;
        self.end.notify_all();
    }
}
