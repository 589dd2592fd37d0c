//! The thread that empties the kernel's rings and accounts for its ticks.

use super::accounting::{Interval, Received, TickAccounting};
use super::early::EarlyStacks;
use super::merge::{Event, Merge};
use super::period::Changes;
use super::sampler::{Cpu, LoadError, Sampler};
use super::{Notice, RawSample};
use crate::system_call::opened;
use crate::telemetry::reached;
use stacksonde_ebpf::sample::Record;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest time for which samples lie in a ring that does not fill. A wake-up on cold caches costs as much as
/// dozens of samples.
const POLL: Duration = Duration::from_secs(1);

/// The same where no sample had come since the last look when the wait began: so far only process events wait.
const IDLE_POLL: Duration = Duration::from_secs(2);

/// The same where tables were wanting lately: each sample there has a copy of the stack until they are put in.
const WANTING_POLL: Duration = Duration::from_millis(250);

/// The same where code of sampled processes is being replaced: until that is read the sampler may walk by tables
/// that are no longer right.
const HASTY_POLL: Duration = Duration::from_millis(10);

/// The time for which a recent condition is expected to come back.
const LATELY_NS: u64 = 1_000_000_000;

/// The longest time without a message.
const SILENCE_NS: u64 = 1_000_000_000;

/// Time between two looks at the list of CPUs: a little more often than the reader wakes where nothing happens.
const LOOK_NS: u64 = 900_000_000;

/// The time after its time stamp for which a record may still be on its way into a ring: an interrupt's length.
const SETTLE_NS: u64 = 2_000_000;

/// A message from the reader.
#[derive(Debug)]
pub enum Message {
    /// Samples and process events, oldest first; none is older than any sent before. There may be none: a message comes
    /// every two seconds at least.
    Events(Vec<Event>),
    /// An interval is over; all its events were sent.
    Interval(Interval),
}

/// A bounded way from a [`Reader`] to who takes its messages. (The standard library's wakes the receiver while it
/// holds the lock that the receiver needs next, which costs each message two more switches of threads.)
pub fn messages(room: usize) -> (mpsc::Sender<Message>, mpsc::Receiver<Message>) {
    mpsc::channel(room)
}

/// Tells a [`Reader`] that code of sampled processes is being replaced; clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Haste(Arc<AtomicU64>);

impl Haste {
    /// It was replaced at this time: CLOCK_MONOTONIC, nanoseconds.
    pub fn note(&self, time_ns: u64) {
        self.0.store(time_ns, Ordering::Relaxed);
    }
}

/// Asks a [`Reader`] to finish; clones ask the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    fn new() -> io::Result<Self> {
        // SAFETY: plain numbers in, a new descriptor or -1 out.
        let descriptor = unsafe { opened(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) };
        Ok(Self(Arc::new(descriptor?)))
    }

    /// Asks. The reader stops the ticks, reads what is left and ends its last interval.
    pub fn stop(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: 8 bytes of a live buffer. It fails only if 2^64 - 1 stops were asked for.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// Reads the rings of a [`Sampler`] until it is stopped.
pub struct Reader {
    sampler: Sampler,
    epoll: OwnedFd,
    stop: Stop,
    merge: Merge,
    accounting: TickAccounting,
    received: Received,
    /// When the interval under way began: CLOCK_MONOTONIC, nanoseconds.
    start_ns: u64,
    /// When the rings were last emptied, and how many samples had come by then.
    drained_ns: u64,
    drained_sent: u64,
    /// When periods change; `None` where they are fixed.
    changes: Option<Changes>,
    /// When the list of CPUs was last looked at.
    looked_ns: u64,
    /// True once there was a sample.
    has_sampled: bool,
    /// The number of samples dropped by full rings, published once per second.
    lost: Option<Arc<AtomicU64>>,
    haste: Haste,
    /// Reads large stacks; `None` if no thread could be had.
    early: Option<EarlyStacks>,
    /// When a sample was last read for which tables were wanting.
    wanting_ns: u64,
    /// When a message was last sent.
    sent_ns: u64,
}

impl Reader {
    /// Starts the ticks. They wait in the rings for [`Reader::run`].
    pub fn start(mut sampler: Sampler) -> Result<Self, LoadError> {
        let stop = Stop::new().map_err(LoadError::Wait)?;
        let epoll = wait_for(&sampler, &stop).map_err(LoadError::Wait)?;
        let start_ns = monotonic_ns();
        sampler.enable().map_err(LoadError::Wait)?;
        let accounting = TickAccounting::new(&sampler);
        let changes = sampler.period_changes();
        Ok(Self {
            sampler,
            epoll,
            stop,
            merge: Merge::default(),
            accounting,
            received: Received::default(),
            start_ns,
            drained_ns: start_ns,
            drained_sent: 0,
            changes,
            looked_ns: start_ns,
            has_sampled: false,
            lost: None,
            haste: Haste::default(),
            early: EarlyStacks::new()
                .inspect_err(
                    |error| tracing::debug!(%error, "large stacks are only read when their turn comes"),
                )
                .ok(),
            wanting_ns: start_ns,
            sent_ns: start_ns,
        })
    }

    /// Has it told there, once a second, how many samples did not fit into rings.
    pub(crate) fn tell_lost(&mut self, lost: Option<Arc<AtomicU64>>) {
        self.lost = lost;
    }

    /// A handle that has it look more often while that is needed.
    pub fn haste(&self) -> Haste {
        self.haste.clone()
    }

    /// A handle that ends [`Reader::run`].
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Sends what the ticks bring, in intervals of `interval` (`None`: one, to the end), until stopped
    /// or until nobody receives any more.
    pub fn run(mut self, interval: Option<Duration>, to: &mpsc::Sender<Message>) -> Result<(), LoadError> {
        let length_ns = interval.map(|length| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        let mut start_ns = self.start_ns;
        let mut unix_minus_monotonic_ns = unix_minus_monotonic_ns_now();
        loop {
            let deadline = length_ns.map(|length| start_ns.saturating_add(length));
            let woken = self.wait(deadline).map_err(LoadError::Wait)?;
            let stopped = woken == Woken::Stop;
            if stopped {
                self.sampler.disable().map_err(LoadError::Wait)?;
            }
            if woken == Woken::Change {
                self.change_periods();
                continue;
            }
            let now = monotonic_ns();
            self.drain();
            self.drained_ns = now;
            self.drained_sent = self.sampler.sent();
            if !stopped {
                self.follow_cpus(now);
            }
            let settled = if stopped { u64::MAX } else { now.saturating_sub(SETTLE_NS) };
            // What comes after a stop is sent whole, whenever the interval should have ended.
            let over = deadline.filter(|end| !stopped && *end <= settled);
            let left = self.merge.first_urgent_ns().map_or(0, |first| first.saturating_sub(settled));
            if left > 0 && over.is_none() {
                // It can be sent in a moment, and the others with it: one wake-up for all of them. (Waiting for
                // events counts in milliseconds, in which its process may be gone.)
                std::thread::sleep(Duration::from_nanos(left));
                continue;
            }
            if !self.send_events(over.unwrap_or(settled), now, to) {
                return Ok(());
            }
            if over.is_some() || stopped {
                let end_ns = if stopped { now } else { over.unwrap_or(now) };
                let (ticks, frames) =
                    self.accounting.settle(&self.sampler, std::mem::take(&mut self.received), stopped);
                let done =
                    Message::Interval(Interval { start_ns, end_ns, unix_minus_monotonic_ns, ticks, frames });
                unix_minus_monotonic_ns = unix_minus_monotonic_ns_now();
                if to.blocking_send(done).is_err() || stopped {
                    return Ok(());
                }
                start_ns = end_ns;
            }
        }
    }

    /// Gives CPUs other periods. Nothing else is done then: right after a change no CPU ticks for a while, so that it would
    /// not be seen what it costs.
    fn change_periods(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        if let Err(error) = self.sampler.change_periods(changes) {
            tracing::warn!(
                "sampling goes on at fixed periods, since the kernel does not change that of an event: {error}; programs \
                 that work in step with it are seen too often or not at all"
            );
            self.changes = None;
        }
    }

    /// Samples CPUs that came online, closes those that went; once a second.
    fn follow_cpus(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.looked_ns) < LOOK_NS {
            return;
        }
        self.looked_ns = now_ns;
        if let Some(lost) = &self.lost {
            lost.store(self.sampler.lost_in_rings(), Ordering::Relaxed);
        }
        match self.sampler.follow_cpus(&mut self.accounting) {
            Ok(new) if new.is_empty() => {}
            Ok(new) => {
                for cpu in self.sampler.cpus.iter().filter(|cpu| new.contains(&cpu.number)) {
                    if let Err(error) = watch_cpu(&self.epoll, cpu) {
                        tracing::debug!(cpu = cpu.number, %error, "its ring is only polled");
                    }
                }
                tracing::info!(cpus = ?new, "sampling CPUs that came online");
            }
            Err(error) => tracing::debug!(%error, "CPUs cannot be followed"),
        }
    }

    fn send_events(&mut self, until_ns: u64, now_ns: u64, to: &mpsc::Sender<Message>) -> bool {
        let events = self.merge.take(until_ns);
        if events.is_empty() && now_ns.saturating_sub(self.sent_ns) < SILENCE_NS {
            return true;
        }
        self.sent_ns = now_ns;
        to.blocking_send(Message::Events(events)).is_ok()
    }

    /// Waits for a filling ring, the poll's end, the interval's end, the next change of periods or the stop.
    fn wait(&self, deadline_ns: Option<u64>) -> io::Result<Woken> {
        let now = monotonic_ns();
        let change_ns = self.changes.as_ref().map_or(u64::MAX, Changes::next_ns);
        if change_ns <= now {
            return Ok(Woken::Change);
        }
        let lately = |at_ns: u64| now.saturating_sub(at_ns) < LATELY_NS;
        let poll = if self.merge.is_urgent() {
            Duration::ZERO
        } else if lately(self.haste.0.load(Ordering::Relaxed)) {
            HASTY_POLL
        } else if lately(self.wanting_ns) {
            WANTING_POLL
        } else if self.sampler.sent() == self.drained_sent {
            IDLE_POLL
        } else {
            POLL
        };
        let poll_ns = self.drained_ns + u64::try_from(poll.as_nanos()).unwrap_or(u64::MAX);
        let drain_ns = deadline_ns.map_or(poll_ns, |end| poll_ns.min(end + SETTLE_NS + 1_000_000));
        let left = Duration::from_nanos(drain_ns.min(change_ns).saturating_sub(now));
        let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: the array outlives the call and its length is stated.
        let count = unsafe {
            let room = i32::try_from(ready.len()).unwrap_or(1);
            libc::epoll_wait(self.epoll.as_raw_fd(), ready.as_mut_ptr(), room, timeout)
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => return Ok(Woken::Drain),
                error => return Err(error),
            },
        };
        Ok(match &ready[..count] {
            [] if change_ns <= drain_ns => Woken::Change,
            ready if ready.iter().any(|event| event.u64 == STOP) => Woken::Stop,
            _ => Woken::Drain,
        })
    }

    /// Samples first: every event that explains one of them then lies in the side band already.
    fn drain(&mut self) {
        for cpu in &mut self.sampler.cpus {
            while let Some(record) = cpu.ring.next() {
                match Record::parse(&record) {
                    Ok(record) => {
                        if !std::mem::replace(&mut self.has_sampled, true) {
                            reached("first sample taken", record.head.time_ns);
                        }
                        if record.head.stack_bytes > 0 {
                            self.wanting_ns = record.head.time_ns;
                        }
                        let cpu_time_ns = cpu.course.stands_for(record.head.time_ns);
                        let mut sample = RawSample::decode(&record, cpu_time_ns);
                        if let Some(rest) = sample.rest.as_mut().filter(|rest| rest.stack.is_full()) {
                            let early = self.early.as_ref();
                            rest.early = early
                                .and_then(|early| early.read((sample.pid, sample.tid), rest.stack.start));
                        }
                        self.merge.add([Event::Sample(sample)]);
                    }
                    Err(error) => {
                        tracing::debug!(cpu = cpu.number, %error, "a record of the sampler could not be read");
                        self.received.malformed += 1;
                    }
                }
            }
        }
        let mut notices = Vec::new();
        for side_band in self.sampler.cpus.iter_mut().filter_map(|cpu| cpu.notices.as_mut()) {
            self.received.notices_lost += side_band.drain(&mut notices);
        }
        if let Some(lifecycle) = &mut self.sampler.lifecycle {
            self.received.notices_lost += lifecycle.drain(&mut notices);
        }
        self.received.notices_lost += notices.iter().map(Notice::lost).sum::<u64>();
        self.merge.add(notices.into_iter().map(Event::Notice));
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// It is time to look into the rings.
    Drain,
    /// It is time to change periods.
    Change,
    /// The stop was asked for.
    Stop,
}

/// Marks the stop among what epoll reports.
const STOP: u64 = u64::MAX;

/// Rings are watched edge-triggered: only a record that asks for it wakes us, not every one.
fn wait_for(sampler: &Sampler, stop: &Stop) -> io::Result<OwnedFd> {
    // SAFETY: a plain number in, a new descriptor or -1 out.
    let epoll = unsafe { opened(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }?;
    for cpu in &sampler.cpus {
        watch_cpu(&epoll, cpu)?;
    }
    if let Some(lifecycle) = &sampler.lifecycle {
        watch(&epoll, lifecycle.descriptor(), libc::EPOLLIN | libc::EPOLLET, 0)?;
    }
    watch(&epoll, stop.0.as_raw_fd(), libc::EPOLLIN, STOP)?;
    Ok(epoll)
}

fn watch_cpu(epoll: &OwnedFd, cpu: &Cpu) -> io::Result<()> {
    watch(epoll, cpu.ring.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, 0)?;
    match &cpu.notices {
        Some(notices) => watch(epoll, notices.descriptor(), libc::EPOLLIN | libc::EPOLLET, 0),
        None => Ok(()),
    }
}

fn watch(epoll: &OwnedFd, descriptor: libc::c_int, events: libc::c_int, mark: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: mark };
    // SAFETY: the event outlives the call; the descriptors are open.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// CLOCK_MONOTONIC, nanoseconds: the clock of samples and process events.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME less CLOCK_MONOTONIC now, in nanoseconds.
fn unix_minus_monotonic_ns_now() -> i64 {
    // Between two readings of the one clock the other is read: their middle is the same moment, and where something
    // else ran meanwhile another attempt is nearer.
    let attempt = || {
        let before = i128::from(monotonic_ns());
        let unix = i128::from(clock_ns(libc::CLOCK_REALTIME));
        let after = i128::from(monotonic_ns());
        (after - before, unix - (before + after) / 2)
    };
    let nearest = [attempt(), attempt(), attempt()].into_iter().min_by_key(|(took, _)| *took);
    nearest.and_then(|(_, difference)| i64::try_from(difference).ok()).unwrap_or(0)
}

/// Returns a clock's reading, in nanoseconds since its zero.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanoseconds) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
