//! The books of ticks: what was due, what ran, what became of it.

use super::idle::{CpuTimes, idle_share, read_cpu_times};
use super::sampler::{LoadError, Sampler};
use stacksonde_ebpf::Counters;
use std::collections::BTreeMap;

/// The books of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub end_ns: u64,
    /// What ticked, and what became of it.
    pub ticks: Ticks,
    /// How the sampler found the rules by which it walked.
    pub frames: Frames,
}

/// How the sampler found the rules of frames, on all CPUs in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// By what it remembered.
    pub recalled: u64,
    /// By mapping, page and row.
    pub looked_up: u64,
    /// By what it remembered, and wrongly; only counted with `sampling.verify_unwinding`.
    pub mistaken: u64,
}

/// Ticks of all CPUs in one interval: `due = ran + idle_undelivered + stolen + undelivered` and
/// `ran = idle + excluded + sent + ring_full + no_ring + no_scratch`, up to one tick a CPU that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Ticks that the perf events' own counts say were due.
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
    /// Ticks that never ran the program because the hypervisor ran something else on that CPU.
    pub stolen: u64,
    /// Other ticks that were due and never ran the program: the kernel skips it while another BPF program
    /// or a map system call runs on that CPU, when events are throttled, and when timers are late.
    pub undelivered: u64,
    /// Records that could not be read.
    pub malformed: u64,
    /// Notices that the kernel dropped or that could not be read.
    pub notices_lost: u64,
}

/// What the reader itself found wrong with what it received in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) malformed: u64,
    pub(super) notices_lost: u64,
}

/// What was booked of each CPU so far.
pub(super) struct Books {
    cpus: BTreeMap<u32, Page>,
}

/// One CPU's page: totals since the ticks began.
#[derive(Clone, Copy, Default)]
struct Page {
    counters: Counters,
    undelivered: u64,
    times: Option<CpuTimes>,
}

impl Books {
    /// Opens them, before the ticks begin.
    pub(super) fn new(sampler: &Sampler) -> Self {
        let times = read_cpu_times();
        let page = |number| Page { times: times.get(&number).copied(), ..Page::default() };
        Self { cpus: sampler.cpus.iter().map(|cpu| (cpu.number, page(cpu.number))).collect() }
    }

    /// A page for a CPU that came online, or came back.
    pub(super) fn open(&mut self, number: u32) {
        let page = self.cpus.entry(number).or_default();
        (page.undelivered, page.times) = (0, None);
    }

    /// What happened since the last time. Counts are read before counters, so that a tick between
    /// the two never looks undelivered.
    pub(super) fn settle(
        &mut self,
        sampler: &Sampler,
        received: Received,
    ) -> Result<(Ticks, Frames), LoadError> {
        let period_ns = sampler.period_ns;
        let mut due = BTreeMap::new();
        for cpu in &sampler.cpus {
            // A tick counts as due half a period late: until then it may just be on its way.
            let ticks = cpu.event.count().map_err(LoadError::Wait)?.saturating_sub(period_ns / 2) / period_ns;
            due.insert(cpu.number, cpu.runs_before + ticks);
        }
        let counters = sampler.counters()?;
        let times = read_cpu_times();
        let mut ticks =
            Ticks { malformed: received.malformed, notices_lost: received.notices_lost, ..Ticks::default() };
        let mut frames = Frames::default();
        for (number, page) in &mut self.cpus {
            let counted = usize::try_from(*number).ok().and_then(|number| counters.get(number));
            let Some(counted) = counted else { continue };
            // A CPU that went offline ticks no more; what it had ticked is still booked.
            let due = due.get(number).copied().unwrap_or(counted.runs);
            let now = Page {
                counters: *counted,
                // The total never falls back: a tick may be booked here and arrive after all.
                undelivered: due.saturating_sub(counted.runs).max(page.undelivered),
                times: times.get(number).copied(),
            };
            let before = ticks;
            ticks.add(&now, page, period_ns);
            frames.add(&now.counters, &page.counters);
            let lost = [ticks.undelivered - before.undelivered, ticks.stolen - before.stolen];
            let lost = lost[0] + lost[1] + ticks.ring_full - before.ring_full;
            let excluded = ticks.excluded - before.excluded;
            tracing::debug!(cpu = number, due = ticks.due - before.due, lost, excluded, "the books of a CPU");
            *page = now;
        }
        Ok((ticks, frames))
    }
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
    /// Adds what happened on one CPU between two readings.
    fn add(&mut self, now: &Page, before: &Page, period_ns: u64) {
        let since =
            |field: fn(&Counters) -> u64| field(&now.counters).saturating_sub(field(&before.counters));
        let (ran, idle) = (since(|c| c.runs), since(|c| c.idle));
        let missing = now.undelivered - before.undelivered;
        let passed = |field: fn(CpuTimes) -> u64| {
            let both = now.times.zip(before.times);
            both.map_or(0, |(now, before)| field(now).saturating_sub(field(before))) / period_ns
        };
        let idle_undelivered = idle_share(missing, idle, ran - idle, passed(|times| times.idle_ns));
        // A timer that comes due while the hypervisor runs something else ticks once, however long that was.
        let stolen = passed(|times| times.stolen_ns).min(missing - idle_undelivered);
        self.due += ran + missing;
        self.ran += ran;
        self.idle += idle;
        self.excluded += since(|c| c.excluded);
        self.sent += since(|c| c.sent);
        self.ring_full += since(|c| c.ring_full);
        self.no_ring += since(|c| c.no_ring);
        self.no_scratch += since(|c| c.no_scratch);
        self.idle_undelivered += idle_undelivered;
        self.stolen += stolen;
        self.undelivered += missing - idle_undelivered - stolen;
    }
}
