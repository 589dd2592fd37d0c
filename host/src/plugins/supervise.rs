//! One exporter instance's thread: what it shares with the agent, and its life.
//!
//! The thread is the only one that calls the plugin. The agent only ever locks [`Shared`], which the
//! thread never holds during a call, so that nothing a plugin does makes the agent wait.

mod instance;
mod pace;

use super::exporter::{ExporterCounters, ExporterSettings, Health};
use super::interval::Pending;
use super::loss::{self, Reason};
use super::queue::Queue;
pub(super) use instance::run;
use stacksonde_plugin::Wants;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the agent and the thread of an instance share.
#[derive(Debug)]
pub(super) struct Shared {
    name: String,
    deadline: Duration,
    queue_bytes: u64,
    state: Mutex<State>,
    /// Wakes the thread: a batch came, or the end.
    work: Condvar,
    /// Wakes the agent: the thread has ended.
    end: Condvar,
}

#[derive(Debug)]
struct State {
    /// Batches that wait to become one of the interval that the exporter wants.
    pending: Pending,
    queue: Queue,
    max_bytes: Option<u64>,
    /// The batch that the thread is handing over.
    in_hand: Option<Arc<[u8]>>,
    counters: ExporterCounters,
    /// Samples in dropped batches that no batch has told of.
    untold: BTreeMap<Reason, u64>,
    standing: Standing,
    call: Option<Call>,
    /// When the thread has to have ended, once that is asked for.
    stop: Option<Instant>,
    ended: bool,
}

impl State {
    fn lose(&mut self, reason: Reason, batch: &[u8]) {
        self.counters.dropped.count(reason);
        *self.untold.entry(reason).or_default() += loss::samples(batch);
    }

    fn enqueue(&mut self, batch: Arc<[u8]>) {
        if self.max_bytes.is_some_and(|limit| batch.len() as u64 > limit) {
            return self.lose(Reason::TooLarge, &batch);
        }
        for dropped in self.queue.push(batch) {
            self.lose(Reason::QueueFull, &dropped);
        }
    }

    /// Loses what waits.
    fn lose_queue(&mut self, reason: Reason) {
        for batch in self.pending.take().into_iter().chain(self.queue.clear()) {
            self.lose(reason, &batch);
        }
    }
}

/// [`Health`], but for what the clock says.
#[derive(Debug)]
enum Standing {
    Good,
    Degraded(String),
    Disabled(String),
}

/// A call that the plugin has not returned from.
#[derive(Debug)]
struct Call {
    what: &'static str,
    since: Instant,
    /// Whether the log has been told that it is overdue.
    told: bool,
}

impl Shared {
    pub(super) fn new(settings: &ExporterSettings) -> Self {
        let state = State {
            pending: Pending::default(),
            queue: Queue::new(settings.queue_batches, settings.queue_bytes),
            max_bytes: None,
            in_hand: None,
            counters: ExporterCounters::default(),
            untold: BTreeMap::new(),
            standing: Standing::Good,
            call: None,
            stop: None,
            ended: false,
        };
        Self {
            name: settings.name.clone(),
            deadline: settings.deadline,
            queue_bytes: settings.queue_bytes,
            state: Mutex::new(state),
            work: Condvar::new(),
            end: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.work.notify_one();
        }
    }

    pub(super) fn counters(&self) -> ExporterCounters {
        self.lock().counters.clone()
    }

    pub(super) fn take_dropped(&self) -> Vec<(String, u64)> {
        let untold = std::mem::take(&mut self.lock().untold);
        untold.into_iter().map(|(reason, samples)| (reason.name().to_owned(), samples)).collect()
    }

    pub(super) fn health(&self) -> Health {
        let mut state = self.lock();
        if self.notice_overdue(&mut state) {
            return Health::Stuck;
        }
        match &state.standing {
            Standing::Good => Health::Good,
            Standing::Degraded(why) => Health::Degraded(why.clone()),
            Standing::Disabled(why) => Health::Disabled(why.clone()),
        }
    }

    /// Tells the thread to have ended by `until`.
    pub(super) fn stop(&self, until: Instant) {
        let mut state = self.lock();
        for batch in state.pending.take() {
            state.enqueue(batch);
        }
        state.stop.get_or_insert(until);
        self.work.notify_one();
    }

    /// Waits for the thread's end, until `until`; what it left undone is counted as dropped.
    pub(super) fn wait_for_end(&self, until: Instant) -> ExporterCounters {
        let mut state = self.lock();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = state.call.as_ref().map_or("the queue", |call| call.what);
                tracing::warn!(exporter = self.name, "gave up waiting for {what} at shutdown");
                break;
            }
            state = self.end.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(batch) = state.in_hand.take() {
            state.lose(Reason::Shutdown, &batch);
        }
        state.lose_queue(Reason::Shutdown);
        state.counters.clone()
    }

    /// Whether a call is past its deadline; says so once in the log.
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

    // What follows is for the thread.

    /// The next batch; waits for one. `None` at the end.
    fn next(&self) -> Option<Arc<[u8]>> {
        let mut state = self.lock();
        loop {
            if state.stop.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            if let Some(batch) = state.queue.pop() {
                state.in_hand = Some(Arc::clone(&batch));
                return Some(batch);
            }
            if state.stop.is_some() {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for `time`, or until the end is asked for.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while state.stop.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_stopping(&self) -> bool {
        self.lock().stop.is_some()
    }

    /// Runs `body`, a call into the plugin, and times it.
    fn call<R>(&self, what: &'static str, body: impl FnOnce() -> R) -> R {
        self.lock().call = Some(Call { what, since: Instant::now(), told: false });
        let result = body();
        let mut state = self.lock();
        if let Some(call) = state.call.take().filter(|call| call.since.elapsed() > self.deadline) {
            state.counters.overruns += 1;
            let seconds = call.since.elapsed().as_secs_f32();
            tracing::warn!(exporter = self.name, "{what} returned after {seconds} s, past its deadline");
        }
        result
    }

    fn delivered(&self) {
        let mut state = self.lock();
        state.counters.delivered += 1;
        state.in_hand = None;
        if matches!(state.standing, Standing::Degraded(_)) {
            tracing::info!(exporter = self.name, "takes profiles again");
        }
        state.standing = Standing::Good;
    }

    /// The batch in hand is lost.
    fn lost(&self, reason: Reason) {
        let mut state = self.lock();
        if let Some(batch) = state.in_hand.take() {
            state.lose(reason, &batch);
        }
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

    /// Calls it no more; what waits is lost.
    fn disabled(&self, why: String) {
        tracing::error!(exporter = self.name, "disabled: {why}");
        let mut state = self.lock();
        state.lose_queue(Reason::Disabled);
        state.standing = Standing::Disabled(why);
    }

    fn ended(&self) {
        self.lock().ended = true;
        self.end.notify_all();
    }
}
