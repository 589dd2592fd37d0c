//! Loads the sampler with the plan's facts, and arms one perf event on each CPU.

use super::accounting::TickAccounting;
use super::cpus::{Cpus, is_offline};
use super::lifecycle::Lifecycle;
use super::memlock;
use super::perf::Event;
use super::period::{Changes, Course, Periods};
use super::reader::monotonic_ns;
use super::settings::{Notices, Settings};
use super::shared::SharedWords;
use super::sideband::SideBand;
use super::tables::{TableMemory, filter_words, map_array};
use aya::maps::{Map, MapData, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_PERF_EVENT;
use stacksonde_ebpf::Counters;
use stacksonde_ebpf::object::{ObjectError, Unloaded};
use stacksonde_ebpf::raw;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

/// Why sampling could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object was refused before any program of it was loaded.
    #[error("the kernel refused the sampler's maps: {0}")]
    Object(ObjectError),
    /// The same with the smallest rings, too.
    #[error(
        "the kernel refused the sampler's maps: {0}; if it is older than 5.11, likely for the limit of locked memory: \
         raise it (LimitMEMLOCK=infinity, ulimit -l unlimited), or lower memory.max"
    )]
    LockedMemory(ObjectError),
    /// The kernel's verifier refused the program.
    #[error("the kernel refused the sampling program: {0}")]
    Program(ObjectError),
    /// A map of the object could not be used.
    #[error("map `{0}` of the sampler: {1}")]
    Map(&'static str, io::Error),
    /// A table could not be mapped into our memory.
    #[error("table `{0}` of the sampler cannot be mapped into memory: {1}")]
    Shared(&'static str, io::Error),
    /// The object lacks something that it was built with.
    #[error("the sampler object has no `{0}`; this build of stacksonde is broken, please report it")]
    Missing(&'static str),
    /// Waiting for the rings could not be arranged.
    #[error("cannot wait for the kernel's rings: {0}")]
    Wait(io::Error),
    /// No CPU could be sampled.
    #[error(
        "no CPU can be sampled: perf_event_open of the software CPU clock: {0}; \
         it needs CONFIG_PERF_EVENTS and root, or CAP_PERFMON, or kernel.perf_event_paranoid <= 0"
    )]
    NoCpu(io::Error),
}

impl LoadError {
    /// Tells whether the kernel refused permission: before 5.11 also for lack of locked memory.
    fn is_refused(&self) -> bool {
        let answer = match self {
            Self::Object(error) | Self::LockedMemory(error) | Self::Program(error) => error.answer(),
            Self::Map(_, error) | Self::Shared(_, error) | Self::Wait(error) | Self::NoCpu(error) => {
                Some(error)
            }
            Self::Missing(_) => None,
        };
        matches!(answer.and_then(io::Error::raw_os_error), Some(libc::EPERM | libc::ENOMEM))
    }
}

/// The ring of a CPU's records.
type Ring = RingBuf<MapData>;

/// One sampled CPU.
pub(super) struct Cpu {
    pub(super) number: u32,
    pub(super) event: Event,
    pub(super) ring: Ring,
    pub(super) notices: Option<SideBand>,
    periods: Periods,
    /// Its ticks as they are due.
    pub(super) course: Course,
    /// Runs of the program at the last look for events that stand still.
    looked_runs: u64,
}

impl Cpu {
    /// Starts its process events, then its ticks.
    fn enable(&mut self) -> io::Result<()> {
        self.notices.as_ref().map_or(Ok(()), SideBand::enable)?;
        self.event.enable()?;
        self.course = Course::new(monotonic_ns(), self.course.period_ns());
        Ok(())
    }

    /// Gives its event another period.
    fn change_period(&mut self) -> io::Result<()> {
        let period_ns = self.periods.draw();
        let before = monotonic_ns();
        self.event.set_period(period_ns)?;
        self.course.change(before.midpoint(monotonic_ns()), period_ns);
        Ok(())
    }
}

/// Words of the table `counters` for each CPU: lines of its own.
const COUNTER_WORDS: usize = size_of::<Counters>().next_multiple_of(64) / size_of::<u64>();

/// Time in which the kernel gives back the memory of maps that are gone, on a busy machine, too.
const RELEASE: std::time::Duration = std::time::Duration::from_millis(250);

/// CPUs whose periods change at once: each change is an interrupt of that CPU, for which we wait.
const CHANGES_AT_ONCE: usize = 32;

/// The smallest ring: a page, of any size that kernels have.
const SMALLEST_RING: u32 = 64 << 10;

/// The loaded sampler. Dropping it removes every program and event from the kernel; so does the
/// end of the process, however it comes.
pub struct Sampler {
    pub(super) cpus: Vec<Cpu>,
    pub(super) period_ns: u64,
    random: fastrand::Rng,
    /// Which CPU's period is the next to change, by its place among them.
    turn: usize,
    pub(super) lifecycle: Option<Lifecycle>,
    settings: Settings,
    program: OwnedFd,
    rings: OwnedFd,
    counters: SharedWords,
    known_cpus: Cpus,
    refused: Vec<(u32, io::Error)>,
    tables: Option<TableMemory>,
    filter: Option<SharedWords>,
}

impl Sampler {
    /// Loads the program and opens the events of all online CPUs, all still switched off.
    ///
    /// What the kernel refuses is tried again with less: a program without what may have been refused, and
    /// maps after the memlock limit was raised, or smaller ones.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        match Self::load_once(settings) {
            Err(error) if error.is_refused() => Self::load_in_less_memory(settings, error)
                .or_else(|error| Self::load_simpler(settings, error)),
            Err(error) => Self::load_simpler(settings, error),
            loaded => loaded,
        }
    }

    fn load_simpler(settings: &Settings, error: LoadError) -> Result<Self, LoadError> {
        if !matches!(error, LoadError::Program(_)) {
            return Err(error);
        }
        let loaded = settings.simpler().into_iter().find_map(|(settings, costs)| {
            let loaded = Self::load_once(&settings).ok()?;
            tracing::warn!("{error}; it was loaded without {costs}");
            Some(loaded)
        });
        loaded.ok_or(error)
    }

    fn load_in_less_memory(settings: &Settings, first: LoadError) -> Result<Self, LoadError> {
        if memlock::raise().is_ok()
            && let Ok(loaded) = Self::load_once(settings)
        {
            return Ok(loaded);
        }
        let mut smaller = settings.clone();
        while smaller.ring_bytes > SMALLEST_RING {
            smaller.ring_bytes /= 2;
            // What the attempt before took is given back by a worker of the kernel's (kernel/bpf/syscall.c, bpf_map_put).
            std::thread::sleep(RELEASE);
            if let Ok(loaded) = Self::load_once(&smaller) {
                tracing::warn!(
                    ring_bytes = smaller.ring_bytes,
                    "the rings of samples are smaller than memory.ring_bytes, for the limit of locked memory; to \
                     change that: raise the limit (LimitMEMLOCK=infinity, ulimit -l unlimited)"
                );
                return Ok(loaded);
            }
        }
        Err(match first {
            LoadError::Object(error) => LoadError::LockedMemory(error),
            other => other,
        })
    }

    fn load_once(settings: &Settings) -> Result<Self, LoadError> {
        let known_cpus = Cpus::find();
        let online = known_cpus.online.clone();
        let object = settings.object(known_cpus.limit);
        let mut object = object.and_then(Unloaded::create).map_err(LoadError::Object)?;
        let rings = object.take_map("rings").ok_or(LoadError::Missing("rings"))?;
        // To verify a program takes as long as to put the rings in.
        let (program, ready) = std::thread::scope(|scope| {
            let ready = scope.spawn(|| fill_rings(rings.as_fd(), &online, settings.ring_bytes));
            let program = object.load_program(settings.user_walk.program(), BPF_PROG_TYPE_PERF_EVENT);
            let failed =
                |_| Err(LoadError::Map("rings", io::Error::other("the thread that makes them panicked")));
            (program, ready.join().unwrap_or_else(failed))
        });
        let program = program.map_err(LoadError::Program)?;
        let mut ready = ready?;
        let tables = Some(TableMemory::of(&mut object, &settings.tables)?);
        let filter = Some(map_array(&mut object, "filter", filter_words(&settings.tables))?);
        let counters = map_array(&mut object, "counters", known_cpus.limit as usize * COUNTER_WORDS)?;
        let lifecycle = match settings.notices {
            Notices::Tracepoints => Lifecycle::load(settings.ids)
                .inspect_err(|error| {
                    tracing::warn!("no events of exec and exit: {error:#}; /proc is scanned instead")
                })
                .ok(),
            Notices::SideBand | Notices::Nobody => None,
        };
        let mut sampler = Self {
            cpus: Vec::new(),
            period_ns: settings.period_ns,
            random: fastrand::Rng::new(),
            turn: 0,
            lifecycle,
            settings: settings.clone(),
            program,
            rings,
            counters,
            known_cpus,
            refused: Vec::new(),
            tables,
            filter,
        };
        for number in online {
            sampler.open(number, ready.remove(&number))?;
        }
        if sampler.cpus.is_empty() {
            let error = sampler
                .refused
                .pop()
                .map_or_else(|| io::Error::other("no CPU is online"), |(_, error)| error);
            return Err(LoadError::NoCpu(error));
        }
        Ok(sampler)
    }

    /// Opens the event of a CPU, switched off, with the ring that it has or a new one. A CPU that refuses it is
    /// remembered, and the others go on.
    fn open(&mut self, number: u32, ring: Option<Ring>) -> Result<bool, LoadError> {
        let settings = &self.settings;
        let mut periods = Periods::new(settings.period_ns, settings.period_spread, &mut self.random);
        let period_ns = periods.draw();
        let event = Event::cpu_clock(number, period_ns)
            .and_then(|event| event.attach(std::os::fd::AsFd::as_fd(&self.program)).map(|()| event));
        let event = match event {
            Ok(event) => event,
            Err(error) if is_offline(&error) => return Ok(false),
            Err(error) => {
                if !self.refused.iter().any(|(refused, _)| *refused == number) {
                    self.refused.push((number, error));
                }
                return Ok(false);
            }
        };
        let ring = match ring {
            Some(ring) => ring,
            None => fill_rings(self.rings.as_fd(), &[number], self.settings.ring_bytes)?
                .remove(&number)
                .ok_or(LoadError::Missing("rings"))?,
        };
        let notices = match self.settings.notices {
            Notices::SideBand => open_side_band(number, self.settings.sideband_bytes),
            Notices::Tracepoints | Notices::Nobody => None,
        };
        let looked_runs = self.counters(number).runs;
        self.refused.retain(|(refused, _)| *refused != number);
        let course = Course::new(monotonic_ns(), period_ns);
        self.cpus.push(Cpu { number, event, ring, notices, periods, course, looked_runs });
        Ok(true)
    }

    /// Closes the events of CPUs that went offline, whose rings must have been drained, and samples those that came
    /// online, or that refused before. Returns the numbers of CPUs that are new.
    pub(super) fn follow_cpus(&mut self, accounting: &mut TickAccounting) -> Result<Vec<u32>, LoadError> {
        let listed = self.known_cpus.listed();
        let mut kept = Vec::new();
        for mut cpu in std::mem::take(&mut self.cpus) {
            let is_gone = listed.as_ref().is_some_and(|online| !online.contains(&cpu.number));
            if is_gone || self.stands_still(&mut cpu) {
                accounting.close(&cpu);
            } else {
                kept.push(cpu);
            }
        }
        self.cpus = kept;
        let mut new = Vec::new();
        for number in listed.unwrap_or_else(|| (0..self.known_cpus.limit).collect()) {
            if self.cpus.iter().any(|cpu| cpu.number == number) || !self.open(number, None)? {
                continue;
            }
            if let Some(cpu) = self.cpus.last_mut() {
                cpu.enable().map_err(LoadError::Wait)?;
                accounting.open(cpu);
            }
            new.push(number);
        }
        Ok(new)
    }

    /// Tells whether an event was ended behind our back: that of a CPU that went offline is, and stays so when the CPU is
    /// back, as after the machine was suspended. Only events whose program did not run are asked, since that
    /// interrupts their CPU.
    fn stands_still(&self, cpu: &mut Cpu) -> bool {
        let runs = self.counters(cpu.number).runs;
        if std::mem::replace(&mut cpu.looked_runs, runs) != runs {
            return false;
        }
        // The clock of a living event is another one at each reading.
        let clock = cpu.event.read_clock().ok().flatten();
        clock == cpu.event.read_clock().ok().flatten()
    }

    /// CPUs that cannot be sampled, and why; the others go on.
    pub fn refused_cpus(&self) -> &[(u32, io::Error)] {
        &self.refused
    }

    /// The unwind tables' memory, the first time.
    pub fn take_tables(&mut self) -> Option<TableMemory> {
        self.tables.take()
    }

    /// The memory of the table of what is excluded, the first time.
    pub fn take_filter(&mut self) -> Option<SharedWords> {
        self.filter.take()
    }

    /// Returns the number of CPUs that are sampled.
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// Starts the process events, then the ticks, so that no sample precedes what explains it.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        self.cpus.iter_mut().try_for_each(Cpu::enable)
    }

    /// Returns the times at which [`Sampler::change_periods`] is to be called; `None` where periods are fixed.
    pub(super) fn period_changes(&mut self) -> Option<Changes> {
        (self.settings.period_spread > 0)
            .then(|| Changes::new(self.period_ns, monotonic_ns(), &mut self.random))
    }

    /// Gives CPUs periods at random, [`CHANGES_AT_ONCE`] of them at most, those first whose periods are the oldest. `changes`
    /// then has the time of the next call.
    pub(super) fn change_periods(&mut self, changes: &mut Changes) -> io::Result<()> {
        for _ in 0..self.cpus.len().min(CHANGES_AT_ONCE) {
            self.turn = (self.turn + 1) % self.cpus.len();
            self.cpus[self.turn].change_period()?;
        }
        changes.advance(monotonic_ns(), &mut self.random);
        Ok(())
    }

    /// Stops the ticks; what was sampled stays in the rings, counts stay readable.
    pub(super) fn disable(&self) -> io::Result<()> {
        self.cpus.iter().try_for_each(|cpu| cpu.event.disable())
    }

    /// Returns what the program counted on a CPU since it was loaded.
    pub(super) fn counters(&self, cpu: u32) -> Counters {
        let start = cpu as usize * COUNTER_WORDS;
        let words = self.counters.get(start..start + COUNTER_WORDS).unwrap_or_default();
        let mut bytes = [0; size_of::<Counters>()];
        for (to, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Counters::from_bytes(&bytes)
    }

    /// Counts samples that were put into rings of the CPUs that are sampled now.
    pub(super) fn sent(&self) -> u64 {
        self.cpus.iter().map(|cpu| self.counters(cpu.number).sent).sum()
    }

    /// Counts samples that did not fit into rings since the sampler was loaded.
    pub(super) fn lost_in_rings(&self) -> u64 {
        let lost = |counters: Counters| counters.ring_full + counters.no_ring + counters.no_scratch;
        (0..self.known_cpus.limit).map(|cpu| lost(self.counters(cpu))).sum()
    }
}

/// Makes rings for these CPUs and puts them into the array of rings: all at once, because after each change of such
/// an array the kernel waits until no program uses what was there (`maybe_wait_bpf_programs`, some milliseconds).
fn fill_rings(rings: BorrowedFd<'_>, cpus: &[u32], bytes: u32) -> Result<HashMap<u32, Ring>, LoadError> {
    let ready = cpus.iter().map(|cpu| Ok((*cpu, new_ring(bytes)?))).collect::<Result<Vec<_>, LoadError>>()?;
    let values: Vec<u8> = ready.iter().flat_map(|(_, ring)| ring.as_raw_fd().to_ne_bytes()).collect();
    // SAFETY: the values of an array of maps are descriptors.
    unsafe { raw::update_elements(rings, cpus, &values, size_of::<RawFd>()) }
        .map_err(|error| LoadError::Map("rings", error))?;
    Ok(ready.into_iter().collect())
}

fn new_ring(bytes: u32) -> Result<Ring, LoadError> {
    let shape = raw::MapShape { kind: BPF_MAP_TYPE_RINGBUF as u32, entries: bytes, ..Default::default() };
    let failed = |error: io::Error| LoadError::Map("rings", error);
    let map = raw::create_named_map("ring", &shape, None).map_err(failed)?;
    let ring = MapData::from_fd(map).and_then(|map| RingBuf::try_from(Map::RingBuf(map)));
    ring.map_err(|error| failed(io::Error::other(error)))
}

fn open_side_band(cpu: u32, bytes: u32) -> Option<SideBand> {
    SideBand::open(cpu, bytes).map_or_else(
        |error| {
            tracing::warn!(cpu, %error, "no process events from this CPU; mappings are re-read from /proc instead");
            None
        },
        Some,
    )
}
