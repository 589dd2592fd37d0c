//! Calls that may never return.
//!
//! Reading of other programs may wait for somebody who does not answer: their files lie on file systems that hang
//! (FUSE, NFS), and `/proc/<pid>` and memory of a process wait for what that process has mapped. A [`Worker`] makes such
//! calls in a thread of its own. A call without an answer in time leaves that thread to it, and the next call gets
//! another one; what the call waits for is not asked again until the thread comes back.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The other side of a call, for which it may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitsFor {
    /// A file system, by the number of its device.
    Device(u32, u32),
    /// A process: its memory, and what of `/proc/<pid>` needs its locks.
    Process(u32),
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(major, minor) => write!(f, "device {major}:{minor}"),
            Self::Process(pid) => write!(f, "process {pid}"),
        }
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It did not return in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// An earlier call waits for the same, so this one was not made.
    #[error("{0} has not answered an earlier call yet")]
    StillWaiting(WaitsFor),
    /// So many calls wait already, in all or for the same user, that this one was not made.
    #[error("{0} calls wait for an answer, which is as many as may")]
    TooMany(usize),
    /// There is no thread to make it in.
    #[error("cannot start a thread: {0}")]
    NoThread(std::io::Error),
    /// It panicked; the log has the message.
    #[error("the call panicked; please report it with the log")]
    Panicked,
}

/// Calls without an answer that may have a thread each.
const WAITING_MAX: usize = 64;
/// Those that may be about processes of one user, so that none can use up all.
const WAITING_OF_USER_MAX: usize = 16;
/// A thread that wants a CPU and gets none is given so many deadlines: that says nothing of what it asks.
const DEADLINES_FOR_CPU: u32 = 20;
/// Deadlines that may pass in vain at a time. After that each call is given [`SHORT`] only, ...
const BURST: u32 = 5;
/// ... until this many times as long has passed: waiting in vain takes a tenth of the time at most.
const PAUSE: u32 = 10;
/// Divides the deadline.
const SHORT: u32 = 20;

/// Makes calls that may never return, one at a time.
#[derive(Debug)]
pub struct Worker {
    name: &'static str,
    deadline: Duration,
    thread: Option<Thread>,
    waiting: Waiting,
    /// Time that passed in vain lately.
    in_vain: Duration,
    /// When that was last looked at.
    since: Instant,
}

/// The other sides of calls that nobody waits for any more, and the users whose processes they are about.
type Waiting = Arc<Mutex<HashMap<WaitsFor, Option<u32>>>>;

#[derive(Debug)]
struct Thread {
    calls: SyncSender<Box<dyn FnOnce() + Send>>,
    /// 0 until it runs.
    tid: Arc<AtomicI32>,
}

impl Worker {
    /// Gives each call `deadline`; the threads have this name, and the niceness of the thread that makes the call.
    pub fn new(name: &'static str, deadline: Duration) -> Self {
        Self {
            name,
            deadline,
            thread: None,
            waiting: Waiting::default(),
            in_vain: Duration::ZERO,
            since: Instant::now(),
        }
    }

    /// Makes a call that may have to wait for `what`, and returns its result. What it returns too late is dropped in
    /// its thread.
    pub fn run<T: Send + 'static>(
        &mut self,
        what: WaitsFor,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.run_about(0, what, call)
    }

    /// The same, for a call about a process (0: about none).
    pub fn run_about<T: Send + 'static>(
        &mut self,
        pid: u32,
        what: WaitsFor,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.admit(pid, what)?;
        let (answer, answered) = sync_channel(1);
        let waiting = Arc::clone(&self.waiting);
        let call = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(call));
            // Under the lock, so that whoever gives up either sees the result or is seen here.
            let mut waiting = lock(&waiting);
            waiting.remove(&what);
            if let Err(unsent) = answer.send(result) {
                drop(waiting);
                drop(unsent);
            }
        });
        let deadline = self.patience();
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => Thread::start(self.name).map_err(NoAnswer::NoThread)?,
        };
        // It waits for calls as long as it can be sent one.
        let _sent = thread.calls.send(call);
        let asked = Instant::now();
        let result = loop {
            match answered.recv_timeout(deadline) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Timeout)
                    if asked.elapsed() < deadline * DEADLINES_FOR_CPU && thread.wants_cpu() => {}
                Err(_) => {
                    let user = user_of(pid);
                    let mut waiting = lock(&self.waiting);
                    let Ok(result) = answered.try_recv() else {
                        waiting.insert(what, user);
                        self.in_vain += asked.elapsed();
                        return Err(NoAnswer::TimedOut(asked.elapsed()));
                    };
                    break result;
                }
            }
        };
        self.thread = Some(thread);
        result.map_err(|_| NoAnswer::Panicked)
    }

    /// Refuses a call that would wait in vain, or that there may be no thread for.
    fn admit(&self, pid: u32, what: WaitsFor) -> Result<(), NoAnswer> {
        let waiting = lock(&self.waiting);
        if waiting.contains_key(&what) {
            return Err(NoAnswer::StillWaiting(what));
        }
        if waiting.len() < WAITING_OF_USER_MAX {
            return Ok(());
        }
        let user = user_of(pid);
        let of_user = waiting.values().filter(|other| **other == user).count();
        match waiting.len() {
            count if count >= WAITING_MAX => Err(NoAnswer::TooMany(count)),
            _ if of_user >= WAITING_OF_USER_MAX => Err(NoAnswer::TooMany(of_user)),
            _ => Ok(()),
        }
    }

    /// Decides how long the next call is waited for.
    fn patience(&mut self) -> Duration {
        if self.in_vain.is_zero() {
            return self.deadline;
        }
        let now = Instant::now();
        self.in_vain = self.in_vain.saturating_sub((now - self.since) / PAUSE);
        self.since = now;
        if self.in_vain < self.deadline * BURST { self.deadline } else { self.deadline / SHORT }
    }
}

impl Thread {
    /// Starts one, which ends when no more calls can come.
    fn start(name: &str) -> std::io::Result<Self> {
        let (calls, asked) = sync_channel::<Box<dyn FnOnce() + Send>>(1);
        let tid = Arc::new(AtomicI32::new(0));
        let of_thread = Arc::clone(&tid);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            // SAFETY: takes nothing and always succeeds.
            of_thread.store(unsafe { libc::gettid() }, Relaxed);
            asked.into_iter().for_each(|call| call());
        })?;
        Ok(Self { calls, tid })
    }

    /// Says whether it runs, or would if there were a CPU for it: then it waits for nobody.
    fn wants_cpu(&self) -> bool {
        match self.tid.load(Relaxed) {
            0 => true,
            tid => {
                let stat = std::fs::read(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
                // The state stands after the name in parentheses, which is ours.
                let after = stat.iter().rposition(|byte| *byte == b')');
                after.and_then(|at| stat.get(at + 2)) == Some(&b'R')
            }
        }
    }
}

/// Finds the user of a process. The owner of `/proc/<pid>` would not do: a process can make that root.
fn user_of(pid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    str::from_utf8(line).ok()?.split_whitespace().next()?.parse().ok()
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<WaitsFor, Option<u32>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When what could not be looked at is tried again: after a second, and each time after twice as long, up to a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    next_ns: u64,
}

impl Backoff {
    /// Says whether it is time to try, at `now_ns`. It always is before the first failure.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.next_ns <= now_ns
    }

    /// Takes in that an attempt failed at `now_ns`.
    pub fn fail(&mut self, now_ns: u64) {
        const FIRST_NS: u64 = 1_000_000_000;
        self.next_ns = now_ns.saturating_add(FIRST_NS << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// No call of these tests takes that long, on whichever machine.
    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn returns_what_a_call_returns_from_one_thread() {
        let mut worker = Worker::new("test", LONG);
        let ids: std::collections::HashSet<_> = (0..9)
            .map(|_| worker.run(WaitsFor::Process(1), || std::thread::current().id()).unwrap())
            .collect();
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn what_does_not_answer_is_left_alone_until_it_does_and_holds_up_nobody_else() {
        let mut worker = Worker::new("test", SHORT);
        let (end, ended) = channel::<()>();
        let hung = WaitsFor::Device(1, 2);
        let refused = worker.run(hung, move || ended.recv().is_ok());
        assert!(matches!(refused, Err(NoAnswer::TimedOut(_))), "{refused:?}");
        let refused = worker.run(hung, || ());
        assert!(matches!(refused, Err(NoAnswer::StillWaiting(_))), "{refused:?}");
        worker.deadline = LONG;
        assert_eq!(worker.run(WaitsFor::Device(1, 3), || 7).unwrap(), 7);
        end.send(()).unwrap();
        let since = Instant::now();
        while worker.run(hung, || ()).is_err() {
            assert!(since.elapsed() < LONG);
            std::thread::yield_now();
        }
    }

    #[test]
    fn so_many_calls_wait_in_all_and_for_a_user_and_no_more() {
        let mut worker = Worker::new("test", SHORT);
        let (end, ended) = channel::<()>();
        let refused =
            worker.run_about(std::process::id(), WaitsFor::Device(0, 0), move || ended.recv().is_ok());
        assert!(matches!(refused, Err(NoAnswer::TimedOut(_))), "{refused:?}");
        let user = lock(&worker.waiting)[&WaitsFor::Device(0, 0)];
        // SAFETY: a plain question.
        assert_eq!(user, Some(unsafe { libc::getuid() }));
        let own = std::process::id();
        let admit = |count: u32, of: Option<u32>| {
            lock(&worker.waiting).extend((0..count).map(|number| (WaitsFor::Device(9, number), of)));
            let own = worker.admit(own, WaitsFor::Device(1, 1));
            (own.is_ok(), worker.admit(0, WaitsFor::Device(1, 1)).is_ok())
        };
        let (most, all) = (u32::try_from(WAITING_OF_USER_MAX).unwrap(), u32::try_from(WAITING_MAX).unwrap());
        assert_eq!(admit(most - 1, user), (false, true));
        assert_eq!(admit(most - 1, Some(u32::MAX)), (true, true));
        assert_eq!(admit(all, Some(u32::MAX)), (false, false));
        drop(end);
    }

    #[test]
    fn a_thread_that_is_busy_waits_for_nobody() {
        let mut worker = Worker::new("test", Duration::from_millis(50));
        let busy = || {
            let since = Instant::now();
            while since.elapsed() < Duration::from_millis(200) {}
        };
        worker.run(WaitsFor::Process(1), busy).unwrap();
    }

    #[test]
    fn waiting_in_vain_is_bounded() {
        let mut worker = Worker::new("test", LONG);
        assert_eq!(worker.patience(), LONG);
        worker.in_vain = LONG * BURST + LONG;
        assert_eq!(worker.patience(), LONG / super::SHORT);
        worker.since = worker.since.checked_sub(LONG * PAUSE * 2).unwrap_or(worker.since);
        worker.in_vain = LONG;
        assert_eq!(worker.patience(), LONG);
    }

    #[test]
    fn a_panic_ends_the_call_alone() {
        let mut worker = Worker::new("test", LONG);
        let panicked = worker.run(WaitsFor::Process(1), || panic!("on purpose"));
        assert!(matches!(panicked, Err(NoAnswer::Panicked)));
        assert_eq!(worker.run(WaitsFor::Process(1), || 1).unwrap(), 1);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(0));
        for seconds in [1, 2, 4, 8, 16, 32, 64, 64] {
            backoff.fail(5);
            assert_eq!(backoff.next_ns, 5 + seconds * 1_000_000_000);
            assert!(!backoff.is_due(6) && backoff.is_due(backoff.next_ns));
        }
    }
}
