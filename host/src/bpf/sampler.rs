//! Loads the sampler with the plan's facts, and arms one perf event on each CPU.

use super::ids::Ids;
use super::lifecycle::Lifecycle;
use super::memlock;
use super::perf::{Event, online_cpus};
use super::shared::SharedWords;
use super::sideband::SideBand;
use super::tables::{TableMemory, TableSizes, filter_words, map_array};
use aya::maps::{ArrayOfMaps, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{PerfEvent, ProgramError, ProgramFd};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use stacksonde_ebpf::Counters;
use std::io;

/// What the sampler is told before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two ticks of a CPU, in nanoseconds.
    pub period_ns: u64,
    /// Bytes of each CPU's ring of samples; a power of two of at least a page.
    pub ring_bytes: u32,
    /// Bytes of each CPU's ring of notices; a power of two of at least a page.
    pub sideband_bytes: u32,
    /// The facts `task_struct.stack` and `stack.pt_regs`, where they are known.
    pub entry_registers: Option<(u32, u32)>,
    /// Who walks user stacks.
    pub user_walk: UserWalk,
    /// Whether kernel stacks are walked.
    pub kernel_stacks: bool,
    /// Whether what the sampler remembers of unwinding is checked each time.
    pub verify_recent: bool,
    /// How large the unwind tables are.
    pub tables: TableSizes,
    /// What is copied of stacks.
    pub stack_copies: StackCopies,
    /// Whether the cgroup of each sample is asked for.
    pub cgroup_ids: bool,
    /// How ids become those of our own pid namespace.
    pub ids: Ids,
    /// Where notices of processes come from.
    pub notices: Notices,
}

/// Who walks user stacks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserWalk {
    /// The sampler itself, by the unwind tables.
    ByTables,
    /// The kernel, by frame pointer. The program contains nothing that reads user memory (a hazard's
    /// mitigation).
    ByKernel,
}

impl UserWalk {
    /// The program in the sampler's object.
    const fn program(self) -> &'static str {
        match self {
            Self::ByTables => "sample",
            Self::ByKernel => "sample_by_kernel_walk",
        }
    }
}

/// What is copied of stacks, for a walk that goes on in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackCopies {
    /// Pages at most, up to [`stacksonde_ebpf::STACK_PAGES_MAX`].
    pub pages: u32,
    /// Of every sample, from its innermost frame on, rather than where tables are wanting. For tests that
    /// hold another unwinder against ours.
    pub always: bool,
}

impl Default for StackCopies {
    fn default() -> Self {
        Self { pages: u32::try_from(stacksonde_ebpf::STACK_PAGES_USUAL).unwrap_or(1), always: false }
    }
}

/// Where notices of processes come from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// Perf's side-band: fork, exec, executable mappings, exit.
    SideBand,
    /// The raw tracepoints of exec and exit.
    Tracepoints,
    /// Nobody; `/proc` is looked through.
    Nobody,
}

/// Why sampling could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object was refused before any program of it was loaded.
    #[error("the kernel refused the sampler's maps: {}", chain(.0))]
    Object(#[source] Box<EbpfError>),
    /// The kernel's verifier refused the program.
    #[error("the kernel refused the sampling program: {}", verifier(.0))]
    Program(Box<ProgramError>),
    /// A map of the object could not be used.
    #[error("map `{0}` of the sampler: {1}")]
    Map(&'static str, #[source] aya::maps::MapError),
    /// A table could not be mapped into our memory.
    #[error("table `{0}` of the sampler cannot be mapped into memory: {1}")]
    Shared(&'static str, #[source] io::Error),
    /// The object lacks something that it was built with.
    #[error("the sampler object has no `{0}`; this build of stacksonde is broken, please report it")]
    Missing(&'static str),
    /// The list of CPUs could not be read.
    #[error("cannot tell which CPUs are online: {0}")]
    Cpus(#[source] io::Error),
    /// Waiting for the rings could not be arranged.
    #[error("cannot wait for the kernel's rings: {0}")]
    Wait(#[source] io::Error),
    /// No CPU could be sampled.
    #[error(
        "no CPU can be sampled: perf_event_open of the software CPU clock: {0}; \
         it needs CONFIG_PERF_EVENTS and root, or CAP_PERFMON, or kernel.perf_event_paranoid <= 0"
    )]
    NoCpu(#[source] io::Error),
}

impl LoadError {
    /// Whether the kernel said that we may not have what was asked for: before 5.11 also of memory.
    fn is_refused(&self) -> bool {
        let mut next: Option<&dyn std::error::Error> = Some(self);
        while let Some(error) = next {
            let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if matches!(number, Some(libc::EPERM | libc::ENOMEM)) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// What the verifier said in the end, not all that it said on the way.
fn verifier(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let is_statistics = |line: &&str| {
                ["processed ", "verification time ", "stack depth "].iter().any(|s| line.starts_with(s))
            };
            let last = log.lines().rev().filter(|line| !line.is_empty()).find(|line| !is_statistics(line));
            format!("{io_error}: {}", last.unwrap_or("no log"))
        }
        other => chain(other),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// One sampled CPU.
pub(super) struct Cpu {
    pub(super) number: u32,
    pub(super) event: Event,
    pub(super) ring: RingBuf<MapData>,
    pub(super) notices: Option<SideBand>,
    /// Runs of the program on this CPU before its event was opened.
    pub(super) runs_before: u64,
}

impl Cpu {
    /// Starts its notices, then its ticks.
    fn enable(&self) -> io::Result<()> {
        self.notices.as_ref().map_or(Ok(()), SideBand::enable)?;
        self.event.enable()
    }
}

/// The smallest ring: a page, of any size that kernels have.
const SMALLEST_RING: u32 = 64 << 10;

/// Something that the sampling program can do without, and what that costs.
type Part = (fn(&mut Settings), &'static str);

const CGROUPS: Part = (|settings| settings.cgroup_ids = false, "the cgroups of samples");
const ENTRY_REGISTERS: Part =
    (|settings| settings.entry_registers = None, "the user part of samples in the kernel");
const OWN_WALK: Part = (
    |settings| settings.user_walk = UserWalk::ByKernel,
    "its own walk of user stacks (the kernel's takes its place)",
);
const KERNEL_STACKS: Part = (|settings| settings.kernel_stacks = false, "kernel stacks");

/// What is left out where the kernel refuses a program: one thing, then several.
const SIMPLER: [&[Part]; 6] = [
    &[CGROUPS],
    &[ENTRY_REGISTERS],
    &[CGROUPS, ENTRY_REGISTERS],
    &[OWN_WALK],
    &[OWN_WALK, CGROUPS],
    &[OWN_WALK, CGROUPS, ENTRY_REGISTERS, KERNEL_STACKS],
];

/// The settings of each simpler program that is another, with what it costs.
fn simpler(settings: &Settings) -> Vec<(Settings, String)> {
    let mut found: Vec<(Settings, String)> = Vec::new();
    for parts in SIMPLER {
        let mut simpler = settings.clone();
        parts.iter().for_each(|(leave_out, _)| leave_out(&mut simpler));
        if simpler != *settings && found.iter().all(|(other, _)| *other != simpler) {
            let costs: Vec<_> = parts.iter().map(|(_, cost)| *cost).collect();
            found.push((simpler, costs.join(", ")));
        }
    }
    found
}

/// The loaded sampler. Dropping it removes every program and event from the kernel; so does the
/// end of the process, however it comes.
pub struct Sampler {
    pub(super) cpus: Vec<Cpu>,
    pub(super) period_ns: u64,
    pub(super) lifecycle: Option<Lifecycle>,
    settings: Settings,
    program: ProgramFd,
    rings: ArrayOfMaps<MapData, RingBuf<MapData>>,
    counters: PerCpuArray<MapData, PerCpuCounters>,
    refused: Vec<(u32, io::Error)>,
    tables: Option<TableMemory>,
    filter: Option<SharedWords>,
    /// Owns the program and the maps that are not used from here.
    _object: Ebpf,
}

/// [`Counters`] for aya, which wants a type of ours.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct PerCpuCounters(Counters);

// SAFETY: `Counters` is u64 fields only, repr(C), without padding.
unsafe impl aya::Pod for PerCpuCounters {}

impl Sampler {
    /// Loads the program and opens the events of all online CPUs, all still switched off.
    ///
    /// What the kernel refuses is tried again with less: a program without what may have been refused, and
    /// maps after the memlock limit was raised, or smaller ones.
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        match Self::load_once(settings) {
            Err(error @ LoadError::Program(_)) => simpler(settings)
                .into_iter()
                .find_map(|(settings, costs)| {
                    let loaded = Self::load_once(&settings).ok()?;
                    tracing::warn!("{error}; it was loaded without {costs}");
                    Some(loaded)
                })
                .ok_or(error),
            Err(error) if error.is_refused() => Self::load_in_less_memory(settings, error),
            other => other,
        }
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
            if let Ok(loaded) = Self::load_once(&smaller) {
                tracing::warn!(
                    ring_bytes = smaller.ring_bytes,
                    "the rings of samples are smaller than memory.ring_bytes, for the limit of locked memory; to \
                     change that: raise the limit (LimitMEMLOCK=infinity, ulimit -l unlimited)"
                );
                return Ok(loaded);
            }
        }
        Err(first)
    }

    fn load_once(settings: &Settings) -> Result<Self, LoadError> {
        let online = online_cpus().map_err(LoadError::Cpus)?;
        let possible = aya::util::nr_cpus().map_err(|(_, error)| LoadError::Cpus(error))?;
        let mut object = load_object(settings, u32::try_from(possible).unwrap_or(u32::MAX))?;
        // aya reads the kernel's BTF, whether it needs it or not.
        crate::memory::give_back();

        let program: &mut PerfEvent = object
            .program_mut(settings.user_walk.program())
            .ok_or(LoadError::Missing(settings.user_walk.program()))?
            .try_into()
            .map_err(|error| LoadError::Program(Box::new(error)))?;
        program.load().map_err(|error| LoadError::Program(Box::new(error)))?;
        let program = program.fd().map_err(|error| LoadError::Program(Box::new(error)))?;
        let program = program.try_clone().map_err(|error| LoadError::Program(Box::new(error.into())))?;

        let counters = take(&mut object, "counters")?;
        let tables = Some(TableMemory::of(&mut object, &settings.tables)?);
        let filter = Some(map_array(&mut object, "filter", filter_words(&settings.tables))?);
        let rings = take_map(&mut object, "rings")?;
        let rings = rings.try_into().map_err(|error| LoadError::Map("rings", error))?;
        let lifecycle = match settings.notices {
            Notices::Tracepoints => Lifecycle::load(settings.ids)
                .inspect_err(|error| {
                    tracing::warn!("no notices of exec and exit: {error:#}; /proc is looked through")
                })
                .ok(),
            Notices::SideBand | Notices::Nobody => None,
        };
        let mut sampler = Self {
            cpus: Vec::new(),
            period_ns: settings.period_ns,
            lifecycle,
            settings: settings.clone(),
            program,
            rings,
            counters,
            refused: Vec::new(),
            tables,
            filter,
            _object: object,
        };
        for number in online {
            sampler.open(number)?;
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

    /// Opens the event of a CPU, switched off. A CPU that refuses it is remembered, and the others go on.
    fn open(&mut self, number: u32) -> Result<bool, LoadError> {
        let event = Event::cpu_clock(number, self.settings.period_ns)
            .and_then(|event| event.attach(std::os::fd::AsFd::as_fd(&self.program)).map(|()| event));
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if !self.refused.iter().any(|(refused, _)| *refused == number) {
                    self.refused.push((number, error));
                }
                return Ok(false);
            }
        };
        let ring = new_ring(self.settings.ring_bytes).map_err(|error| LoadError::Map("rings", error))?;
        self.rings.set(number, &ring, 0).map_err(|error| LoadError::Map("rings", error))?;
        let notices = match self.settings.notices {
            Notices::SideBand => open_side_band(number, self.settings.sideband_bytes),
            Notices::Tracepoints | Notices::Nobody => None,
        };
        let counted = self.counters()?;
        let runs_before =
            usize::try_from(number).ok().and_then(|number| counted.get(number)).map_or(0, |c| c.runs);
        self.refused.retain(|(refused, _)| *refused != number);
        self.cpus.push(Cpu { number, event, ring, notices, runs_before });
        Ok(true)
    }

    /// Lets go of CPUs that went offline, whose rings must have been drained, and samples those that came
    /// online, or that refused before. Returns the numbers of CPUs that are new.
    pub(super) fn follow_cpus(&mut self) -> Result<Vec<u32>, LoadError> {
        let online = online_cpus().map_err(LoadError::Cpus)?;
        self.cpus.retain(|cpu| online.contains(&cpu.number));
        let mut new = Vec::new();
        for number in online {
            if self.cpus.iter().any(|cpu| cpu.number == number) || !self.open(number)? {
                continue;
            }
            if let Some(cpu) = self.cpus.last() {
                cpu.enable().map_err(LoadError::Wait)?;
            }
            new.push(number);
        }
        Ok(new)
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

    /// How many CPUs are sampled.
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// Starts the notices, then the ticks, so that no sample precedes what explains it.
    pub(super) fn enable(&self) -> io::Result<()> {
        self.cpus.iter().try_for_each(Cpu::enable)
    }

    /// Stops the ticks; what was sampled stays in the rings, counts stay readable.
    pub(super) fn disable(&self) -> io::Result<()> {
        self.cpus.iter().try_for_each(|cpu| cpu.event.disable())
    }

    /// What the program counted on each CPU since it was loaded, by CPU number.
    pub(super) fn counters(&self) -> Result<Vec<Counters>, LoadError> {
        let values = self.counters.get(&0, 0).map_err(|error| LoadError::Map("counters", error))?;
        Ok(values.iter().map(|value| value.0).collect())
    }
}

fn load_object(settings: &Settings, possible_cpus: u32) -> Result<Ebpf, LoadError> {
    let (task_struct_stack, stack_pt_regs) = settings.entry_registers.unwrap_or((0, 0));
    let kernel_stacks = u32::from(settings.kernel_stacks);
    let wake_bytes = u64::from(settings.ring_bytes / 2);
    let copy_always = u32::from(settings.stack_copies.always);
    let cgroup_ids = u32::from(settings.cgroup_ids);
    let ids = settings.ids.constants();
    let tables = &settings.tables;
    let mut loader = EbpfLoader::new();
    ids.set(&mut loader);
    loader
        // The kernel's own BTF is not needed: no relocation refers to it.
        .btf(None)
        .override_global("cgroup_ids", &cgroup_ids, true)
        .override_global("task_struct_stack", &task_struct_stack, true)
        .override_global("stack_pt_regs", &stack_pt_regs, true)
        .override_global("kernel_stacks", &kernel_stacks, true)
        .override_global("wake_bytes", &wake_bytes, true)
        .override_global("stack_pages", &settings.stack_copies.pages, true)
        .override_global("copy_always", &copy_always, true)
        .override_global("process_lines_mask", &(tables.process_lines - 1), true)
        .override_global("page_lines_mask", &(tables.page_lines - 1), true)
        .override_global("recent_lines_mask", &tables.recent_lines.saturating_sub(1), true)
        .override_global("use_recent", &u32::from(tables.recent_lines > 0), true)
        .override_global("verify_recent", &u32::from(settings.verify_recent), true)
        .override_global("filter_lines_mask", &(tables.filter_lines - 1), true)
        .map_max_entries("filter", tables.filter_lines + 1)
        .map_max_entries("processes", tables.process_lines)
        .map_max_entries("mappings", tables.mappings)
        .map_max_entries("pages", tables.page_lines)
        .map_max_entries("rows", tables.row_lines)
        .map_max_entries("recent", tables.recent_lines.max(1))
        .map_max_entries("rules", tables.rules)
        .map_max_entries("rings", possible_cpus)
        .map_max_entries("scratch", possible_cpus)
        .load(stacksonde_ebpf::sampler())
        .map_err(|error| LoadError::Object(Box::new(error)))
}

fn take_map(object: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    object.take_map(name).ok_or(LoadError::Missing(name))
}

fn take(object: &mut Ebpf, name: &'static str) -> Result<PerCpuArray<MapData, PerCpuCounters>, LoadError> {
    take_map(object, name)?.try_into().map_err(|error| LoadError::Map(name, error))
}

fn new_ring(bytes: u32) -> Result<RingBuf<MapData>, aya::maps::MapError> {
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
    let map = MapData::create(definition, "ring", None)?;
    RingBuf::try_from(Map::RingBuf(map))
}

/// With build ids where the kernel has them (5.12), else with device and inode.
fn open_side_band(cpu: u32, bytes: u32) -> Option<SideBand> {
    SideBand::open(cpu, true, bytes).or_else(|_| SideBand::open(cpu, false, bytes)).map_or_else(
        |error| {
            tracing::warn!(cpu, %error, "no notices of processes from this CPU; mappings are re-read from /proc instead");
            None
        },
        Some,
    )
}
