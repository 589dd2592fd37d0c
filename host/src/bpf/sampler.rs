//! Loads the sampler with the plan's facts, and arms one perf event on each CPU.

use super::perf::{Event, online_cpus};
use super::sideband::SideBand;
use super::tables::{TableMemory, TableSizes};
use aya::maps::{ArrayOfMaps, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{PerfEvent, ProgramError};
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
    /// Whether user memory must not be read in the sampler (a hazard's mitigation).
    pub no_user_reads: bool,
    /// Whether kernel stacks are walked.
    pub kernel_stacks: bool,
    /// How large the unwind tables are.
    pub tables: TableSizes,
    /// Whether notices of processes are taken from perf's side-band.
    pub notices: bool,
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
}

/// The loaded sampler. Dropping it removes every program and event from the kernel; so does the
/// end of the process, however it comes.
pub struct Sampler {
    pub(super) cpus: Vec<Cpu>,
    pub(super) period_ns: u64,
    counters: PerCpuArray<MapData, PerCpuCounters>,
    refused: Vec<(u32, io::Error)>,
    tables: Option<TableMemory>,
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
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let online = online_cpus().map_err(LoadError::Cpus)?;
        let possible = aya::util::nr_cpus().map_err(|(_, error)| LoadError::Cpus(error))?;
        let mut object = load_object(settings, u32::try_from(possible).unwrap_or(u32::MAX))?;

        let program: &mut PerfEvent = object
            .program_mut("sample")
            .ok_or(LoadError::Missing("sample"))?
            .try_into()
            .map_err(|error| LoadError::Program(Box::new(error)))?;
        program.load().map_err(|error| LoadError::Program(Box::new(error)))?;
        let program = program.fd().map_err(|error| LoadError::Program(Box::new(error)))?;
        let program = program.try_clone().map_err(|error| LoadError::Program(Box::new(error.into())))?;

        let counters = take(&mut object, "counters")?;
        let tables = Some(TableMemory::of(&mut object, &settings.tables)?);
        let rings = take_map(&mut object, "rings")?;
        let mut rings: ArrayOfMaps<MapData, RingBuf<MapData>> =
            rings.try_into().map_err(|error| LoadError::Map("rings", error))?;

        let mut cpus = Vec::new();
        let mut refused = Vec::new();
        for number in online {
            let event = Event::cpu_clock(number, settings.period_ns)
                .and_then(|event| event.attach(std::os::fd::AsFd::as_fd(&program)).map(|()| event));
            match event {
                Ok(event) => {
                    let ring =
                        new_ring(settings.ring_bytes).map_err(|error| LoadError::Map("rings", error))?;
                    rings.set(number, &ring, 0).map_err(|error| LoadError::Map("rings", error))?;
                    let notices =
                        if settings.notices { open_side_band(number, settings.sideband_bytes) } else { None };
                    cpus.push(Cpu { number, event, ring, notices });
                }
                Err(error) => refused.push((number, error)),
            }
        }
        if cpus.is_empty() {
            let error =
                refused.pop().map_or_else(|| io::Error::other("no CPU is online"), |(_, error)| error);
            return Err(LoadError::NoCpu(error));
        }
        Ok(Self { cpus, period_ns: settings.period_ns, counters, refused, tables, _object: object })
    }

    /// CPUs that cannot be sampled, and why; the others go on.
    pub fn refused_cpus(&self) -> &[(u32, io::Error)] {
        &self.refused
    }

    /// The unwind tables' memory, the first time.
    pub fn take_tables(&mut self) -> Option<TableMemory> {
        self.tables.take()
    }

    /// How many CPUs are sampled.
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// Starts the notices, then the ticks, so that no sample precedes what explains it.
    pub(super) fn enable(&self) -> io::Result<()> {
        for cpu in &self.cpus {
            if let Some(notices) = &cpu.notices {
                notices.enable()?;
            }
        }
        self.cpus.iter().try_for_each(|cpu| cpu.event.enable())
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
    let no_user_reads = u32::from(settings.no_user_reads);
    let kernel_stacks = u32::from(settings.kernel_stacks);
    let wake_bytes = u64::from(settings.ring_bytes / 2);
    let tables = &settings.tables;
    EbpfLoader::new()
        // The kernel's own BTF is not needed: no relocation refers to it.
        .btf(None)
        .override_global("task_struct_stack", &task_struct_stack, true)
        .override_global("stack_pt_regs", &stack_pt_regs, true)
        .override_global("no_user_reads", &no_user_reads, true)
        .override_global("kernel_stacks", &kernel_stacks, true)
        .override_global("wake_bytes", &wake_bytes, true)
        .override_global("process_lines_mask", &(tables.process_lines - 1), true)
        .override_global("page_lines_mask", &(tables.page_lines - 1), true)
        .map_max_entries("processes", tables.process_lines)
        .map_max_entries("mappings", tables.mappings)
        .map_max_entries("pages", tables.page_lines)
        .map_max_entries("rows", tables.row_lines)
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
