//! CPU accounting: which ticks were due, which ran, and what became of them.
//!
//! Ticks are due by time, over the periods that were in force ([`super::Course`]): CLOCK_MONOTONIC, by which the kernel's
//! timers go, while a CPU is online and sampled. The
//! event's own count is a second witness, and cannot be the only one: it stands still while the kernel throttles the
//! event, and after the CPU was offline.

use super::idle::{CpuTimes, CpuTimesSource, idle_share};
use super::perf::{Clock, Event};
use super::reader::monotonic_ns;
use super::sampler::{Cpu, Sampler};
use stacksonde_ebpf::Counters;
use std::collections::{BTreeMap, BTreeSet};

/// The accounting of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub end_ns: u64,
    /// CLOCK_REALTIME less CLOCK_MONOTONIC when the interval began, in nanoseconds.
    pub unix_minus_monotonic_ns: i64,
    /// Ticks, and their ends.
    pub ticks: Ticks,
    /// Ways in which the sampler found the rules by which it walked.
    pub frames: Frames,
}

/// Ways in which the sampler found the rules of frames, on all CPUs in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// By what it remembered.
    pub recalled: u64,
    /// By mapping, page and row.
    pub looked_up: u64,
    /// By what it remembered, and wrongly; only counted with `sampling.verify_unwinding`.
    pub mistaken: u64,
}

/// Ticks of all CPUs in one interval: `due = ran + idle_undelivered + throttled + unwatched + stolen + undelivered` and
/// `ran = idle + excluded + sent + ring_full + no_ring + no_scratch`, up to one tick a CPU that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Ticks that were due by the time for which CPUs were online.
    pub due: u64,
    /// Runs of the program.
    pub ran: u64,
    /// Runs in the idle task.
    pub idle: u64,
    /// Runs in processes that the filter leaves out.
    pub excluded: u64,
    /// Records written to rings.
    pub sent: u64,
    /// Records lost because a ring was full.
    pub ring_full: u64,
    /// Records lost because a CPU had no ring.
    pub no_ring: u64,
    /// Records lost because the scratch area could not be had.
    pub no_scratch: u64,
    /// Ticks that never ran the program because their CPU was idle: some kernels run none there.
    pub idle_undelivered: u64,
    /// Ticks that did not happen because the kernel had stopped the event: it came more often than
    /// `kernel.perf_event_max_sample_rate` allows.
    pub throttled: u64,
    /// Ticks of a CPU that was back online and whose event had not been opened again yet.
    pub unwatched: u64,
    /// Ticks that never ran the program because the hypervisor ran something else on that CPU.
    pub stolen: u64,
    /// Other ticks that were due and never ran the program: the kernel skips it while another BPF program
    /// or a map system call runs on that CPU, and when timers are late.
    pub undelivered: u64,
    /// Records that could not be read.
    pub malformed: u64,
    /// Process events that the kernel dropped or that could not be read.
    pub notices_lost: u64,
}

/// Faults that the reader itself found in what it received in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) malformed: u64,
    pub(super) notices_lost: u64,
}

/// A reading of an event's clock, with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// CLOCK_MONOTONIC, nanoseconds.
    at_ns: u64,
    clock: Clock,
}

impl Reading {
    /// Reads an event. `None` where the kernel has nothing to say of it.
    fn take(event: &Event) -> Option<Self> {
        /// Readings within so long are of one moment; a busy machine may want another attempt.
        const MOMENT_NS: u64 = 100_000;
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..3 {
            let before = monotonic_ns();
            let clock = event.read_clock().ok().flatten()?;
            let took = monotonic_ns().saturating_sub(before);
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, Self { at_ns: before + took / 2, clock }));
            }
            if took < MOMENT_NS {
                break;
            }
        }
        best.map(|(_, reading)| reading)
    }
}

/// Totals of one CPU since sampling began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTotals {
    counters: Counters,
    /// Ticks that were due.
    due: u64,
    /// Time in which they were, in nanoseconds.
    due_ns: u64,
    /// Of that, time in which the event did not count though it was on.
    throttled_ns: u64,
    /// Of that, time in which there was no event though the CPU was online.
    unwatched_ns: u64,
    /// Ticks that were due and did not run the program. The total never falls back: a tick may be missed and arrive
    /// after all.
    missing: u64,
    times: Option<CpuTimes>,
}

/// One CPU.
#[derive(Clone, Copy, Debug, Default)]
struct CpuAccount {
    now: CpuTotals,
    /// The part that was told already.
    told: CpuTotals,
    /// The last reading of its event; `None` while it has none.
    event: Option<Reading>,
    /// Ticks that were due before its event was opened.
    due_before: u64,
    /// Times of the CPU when its event was last known to go on, and CLOCK_MONOTONIC then.
    seen: Option<(CpuTimes, u64)>,
    /// When its event ended, if it did: CLOCK_MONOTONIC.
    ended_ns: Option<u64>,
}

/// Ticks of all CPUs, and what of them was told so far.
pub(super) struct TickAccounting {
    cpus: BTreeMap<u32, CpuAccount>,
    period_ns: u64,
    times: CpuTimesSource,
    /// Set once it was said that events are throttled.
    said_throttled: bool,
}

impl TickAccounting {
    /// An account for each CPU whose event is on.
    pub(super) fn new(sampler: &Sampler) -> Self {
        let mut accounting = Self {
            cpus: BTreeMap::new(),
            period_ns: sampler.period_ns,
            times: CpuTimesSource::find(),
            said_throttled: false,
        };
        let times = accounting.times.read();
        for cpu in &sampler.cpus {
            accounting.open_at(cpu, times.get(&cpu.number).copied());
        }
        accounting
    }

    /// The event of this CPU was switched on just now.
    pub(super) fn open(&mut self, cpu: &Cpu) {
        let times = self.times.read().get(&cpu.number).copied();
        self.open_at(cpu, times);
    }

    fn open_at(&mut self, cpu: &Cpu, times: Option<CpuTimes>) {
        let reading = Reading::take(&cpu.event);
        let account = self.cpus.entry(cpu.number).or_default();
        // It was switched on so long ago.
        account.event = reading.map(|Reading { at_ns, clock }| Reading {
            at_ns: at_ns.saturating_sub(clock.enabled_ns),
            clock: Clock::default(),
        });
        if let (Some(ended_ns), Some(event)) = (account.ended_ns.take(), account.event) {
            let sampled_ns = account.seen.map_or(0, |(_, at_ns)| ended_ns.saturating_sub(at_ns));
            let gap_ns = event.at_ns.saturating_sub(ended_ns);
            let unwatched_ns = unwatched_ns(account.seen.map(|(times, _)| times), times, sampled_ns, gap_ns);
            account.now.due_ns += unwatched_ns;
            account.now.unwatched_ns += unwatched_ns;
            account.due_before += unwatched_ns / self.period_ns;
        }
        account.seen = times.zip(account.event).map(|(times, event)| (times, event.at_ns));
        // Of a CPU that comes online for the first time what it did before is not ours to tell.
        account.told.times = account.told.times.or(times);
    }

    /// The event of this CPU ended: it went offline, or was.
    pub(super) fn close(&mut self, cpu: &Cpu) {
        let Some(account) = self.cpus.get_mut(&cpu.number) else { return };
        let last = account.event.take();
        let now = Reading::take(&cpu.event);
        let mut ended_ns = monotonic_ns();
        if let (Some(last), Some(now)) = (last, now) {
            // Its clock stood still when the CPU went: ticks were due until then.
            let ticked = now.clock.enabled_ns.saturating_sub(last.clock.enabled_ns);
            let until = Reading { at_ns: now.at_ns.min(last.at_ns + ticked), clock: now.clock };
            account.now.advance(last, until, self.period_ns);
            ended_ns = until.at_ns;
        }
        account.due_before += cpu.course.due(ended_ns);
        account.now.due = account.due_before;
        account.ended_ns = Some(ended_ns);
    }

    /// Counts what happened since the last time. Events are read before counters, so that a tick between the two never
    /// looks undelivered. `is_off`: events were switched off before.
    pub(super) fn settle(&mut self, sampler: &Sampler, received: Received, is_off: bool) -> (Ticks, Frames) {
        let mut going_on = BTreeSet::new();
        for cpu in &sampler.cpus {
            let Some(account) = self.cpus.get_mut(&cpu.number) else { continue };
            let (Some(last), Some(mut now)) = (account.event, Reading::take(&cpu.event)) else { continue };
            // An event that ended without our knowing is found by the next look for such.
            let elapsed = now.at_ns.saturating_sub(last.at_ns);
            let enabled = now.clock.enabled_ns.saturating_sub(last.clock.enabled_ns);
            let has_ended = is_off || enabled + slack_ns(elapsed, self.period_ns) < elapsed;
            if has_ended {
                now.at_ns = last.at_ns + enabled;
            } else {
                going_on.insert(cpu.number);
            }
            account.now.advance(last, now, self.period_ns);
            account.now.due = account.due_before + cpu.course.due(now.at_ns);
            account.event = Some(now);
        }
        let times = self.times.read();
        let mut ticks =
            Ticks { malformed: received.malformed, notices_lost: received.notices_lost, ..Ticks::default() };
        let mut frames = Frames::default();
        for (number, account) in &mut self.cpus {
            let counters = sampler.counters(*number);
            let now = &mut account.now;
            now.counters = counters;
            // The times of a CPU that is offline stand still.
            now.times = times.get(number).copied().or(now.times);
            if let (Some(times), Some(event)) =
                (times.get(number), account.event.filter(|_| going_on.contains(number)))
            {
                account.seen = Some((*times, event.at_ns));
            }
            now.missing = now.due.saturating_sub(counters.runs).max(now.missing);
            let before = ticks;
            ticks.add(now, &account.told);
            frames.add(&counters, &account.told.counters);
            tracing::debug!(
                cpu = number,
                due = ticks.due - before.due,
                lost = ticks.lost() - before.lost(),
                throttled = ticks.throttled - before.throttled,
                excluded = ticks.excluded - before.excluded,
                "CPU accounting"
            );
            account.told = *now;
        }
        if ticks.throttled > 0 && !std::mem::replace(&mut self.said_throttled, true) {
            say_throttled();
        }
        (ticks, frames)
    }
}

/// Returns how much two clocks may differ over a time before that means something: their rates differ by some ten thousandths,
/// and they are not read at the very same moment.
fn slack_ns(elapsed_ns: u64, period_ns: u64) -> u64 {
    elapsed_ns / 200 + period_ns
}

fn say_throttled() {
    let limit = std::fs::read("/proc/sys/kernel/perf_event_max_sample_rate").unwrap_or_default();
    let limit = String::from_utf8_lossy(limit.trim_ascii()).into_owned();
    tracing::warn!(
        "the kernel throttles sampling: kernel.perf_event_max_sample_rate is {limit}; to change that: sysctl -w \
         kernel.perf_event_max_sample_rate=100000, and where the kernel itself lowered it, sysctl -w \
         kernel.perf_cpu_time_max_percent=0 before"
    );
}

impl CpuTotals {
    /// Counts in what passed between two readings of one event.
    fn advance(&mut self, last: Reading, now: Reading, period_ns: u64) {
        let elapsed = now.at_ns.saturating_sub(last.at_ns);
        let counted = now.clock.count_ns.saturating_sub(last.clock.count_ns);
        let enabled = now.clock.enabled_ns.saturating_sub(last.clock.enabled_ns);
        self.due_ns += elapsed;
        // The event's two clocks are one, read at one moment; a tick may be under way.
        let stopped = enabled.saturating_sub(counted);
        if stopped > 2 * period_ns {
            self.throttled_ns += stopped.min(elapsed);
        }
    }
}

/// Computes how long a CPU was online in the `gap_ns` in which it had no event, of which it ends now; it was sampled for
/// `sampled_ns` since its times were `then`. Where the kernel does not tell, it was offline for all of it.
fn unwatched_ns(then: Option<CpuTimes>, now: Option<CpuTimes>, sampled_ns: u64, gap_ns: u64) -> u64 {
    let online = then.zip(now).map_or(0, |(then, now)| now.online_ns.saturating_sub(then.online_ns));
    online.saturating_sub(sampled_ns).min(gap_ns)
}

impl Frames {
    /// Adds what one CPU counted between two readings.
    fn add(&mut self, now: &Counters, before: &Counters) {
        self.recalled += now.frames_recalled.saturating_sub(before.frames_recalled);
        self.looked_up += now.frames_looked_up.saturating_sub(before.frames_looked_up);
        self.mistaken += now.frames_mistaken.saturating_sub(before.frames_mistaken);
    }
}

impl Ticks {
    /// Ticks for which there was something to sample and is no record.
    fn lost(&self) -> u64 {
        self.throttled + self.unwatched + self.stolen + self.undelivered + self.ring_full
    }

    /// Adds what happened on one CPU between two readings.
    fn add(&mut self, now: &CpuTotals, before: &CpuTotals) {
        let since =
            |field: fn(&Counters) -> u64| field(&now.counters).saturating_sub(field(&before.counters));
        let (ran, idle) = (since(|c| c.runs), since(|c| c.idle));
        let missing = now.missing - before.missing;
        let times = |field: fn(CpuTimes) -> u64| {
            let both = now.times.zip(before.times);
            both.map_or(0, |(now, before)| field(now).saturating_sub(field(before)))
        };
        let due_ns = now.due_ns - before.due_ns;
        let idle_ns = times(|times| times.idle_ns).min(due_ns);
        // While there was no tick the CPU was idle as often as at other times.
        let idle_in = |ticks: u64| share(ticks, idle_ns, due_ns);
        let ticks_in = |ns: u64| share(ran + missing, ns, due_ns);
        let throttled = ticks_in(now.throttled_ns - before.throttled_ns).min(missing);
        let unwatched = ticks_in(now.unwatched_ns - before.unwatched_ns).min(missing - throttled);
        let untold = missing - throttled - unwatched;
        let idle_told = idle_in(throttled) + idle_in(unwatched);
        let idle_ticks = ticks_in(idle_ns).saturating_sub(idle_told);
        let idle_undelivered = idle_share(untold, idle, ran.saturating_sub(idle), idle_ticks);
        // A timer that comes due while the hypervisor runs something else ticks once, however long that was.
        let stolen = ticks_in(times(|times| times.stolen_ns)).min(untold - idle_undelivered);
        self.due += ran + missing;
        self.ran += ran;
        self.idle += idle;
        self.excluded += since(|c| c.excluded);
        self.sent += since(|c| c.sent);
        self.ring_full += since(|c| c.ring_full);
        self.no_ring += since(|c| c.no_ring);
        self.no_scratch += since(|c| c.no_scratch);
        self.idle_undelivered += idle_undelivered + idle_told;
        self.throttled += throttled - idle_in(throttled);
        self.unwatched += unwatched - idle_in(unwatched);
        self.stolen += stolen;
        self.undelivered += untold - idle_undelivered - stolen;
    }
}

/// `whole * part / all`.
fn share(whole: u64, part: u64, all: u64) -> u64 {
    let share = u128::from(whole) * u128::from(part) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(whole).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn reading(at_ms: u64, enabled_ms: u64, count_ms: u64) -> Reading {
        Reading { at_ns: at_ms * MS, clock: Clock { count_ns: count_ms * MS, enabled_ns: enabled_ms * MS } }
    }

    fn totals(due_ms: u64, throttled_ms: u64, missing: u64, idle_ms: u64, runs: u64, idle: u64) -> CpuTotals {
        let times = CpuTimes { idle_ns: idle_ms * MS, stolen_ns: 0, online_ns: due_ms * MS };
        CpuTotals {
            counters: Counters { runs, idle, ..Counters::default() },
            due: due_ms,
            due_ns: due_ms * MS,
            throttled_ns: throttled_ms * MS,
            unwatched_ns: 0,
            missing,
            times: Some(times),
        }
    }

    #[test]
    fn time_is_due_whether_or_not_the_event_counts() {
        for (now, throttled_ms) in [
            // It counts; a tick is under way.
            (reading(3000, 3000, 3000), 0),
            (reading(3000, 3001, 2999), 0),
            // It was stopped for a moment.
            (reading(3000, 3000, 2995), 5),
            // It was stopped for most of the time.
            (reading(3000, 3000, 700), 2300),
            // Its clocks run faster than time.
            (reading(3000, 3500, 100), 3000),
        ] {
            let mut totals = CpuTotals::default();
            totals.advance(reading(0, 0, 0), now, MS);
            assert_eq!((totals.due_ns / MS, totals.throttled_ns / MS), (3000, throttled_ms), "{now:?}");
        }
    }

    #[test]
    fn every_tick_that_was_due_is_told_once_and_by_its_reason() {
        // totals -> (idle_undelivered, throttled, undelivered)
        for (now, told) in [
            (totals(1000, 0, 0, 500, 1000, 500), (0, 0, 0)),
            (totals(1000, 0, 7, 0, 993, 0), (0, 0, 7)),
            (totals(1000, 900, 750, 0, 250, 0), (0, 750, 0)),
            // Half of the time idle, throttled or not.
            (totals(1000, 750, 750, 500, 250, 125), (375, 375, 0)),
            // The kernel runs nothing in the idle task.
            (totals(1000, 0, 985, 970, 15, 0), (985, 0, 0)),
        ] {
            let mut ticks = Ticks::default();
            ticks.add(&now, &CpuTotals { times: Some(CpuTimes::default()), ..CpuTotals::default() });
            assert_eq!((ticks.idle_undelivered, ticks.throttled, ticks.undelivered), told, "{now:?}");
            assert_eq!(ticks.due, 1000);
            assert_eq!(ticks.ran + ticks.idle_undelivered + ticks.lost(), ticks.due);
        }
    }

    #[test]
    fn the_time_of_a_cpu_that_was_offline_is_not_due() {
        let times = |online_ms: u64| Some(CpuTimes { online_ns: online_ms * MS, ..CpuTimes::default() });
        // Sampled for 400 ms of the interval, then offline for two seconds, then online for 600 ms until it was noticed.
        assert_eq!(unwatched_ns(times(5000), times(6000), 400 * MS, 2600 * MS), 600 * MS);
        // The kernel's times began from zero.
        assert_eq!(unwatched_ns(times(5000), times(600), 400 * MS, 2600 * MS), 0);
        assert_eq!(unwatched_ns(None, times(600), 400 * MS, 2600 * MS), 0);
    }
}
