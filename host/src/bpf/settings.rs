//! Settings of the sampler before it is loaded, and the parts that it can do without.

use super::ids::Ids;
use super::tables::TableSizes;
use stacksonde_ebpf::object::{ObjectError, Unloaded};

/// Settings of the sampler before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between two ticks of a CPU, in nanoseconds: in the mean of their rates.
    pub period_ns: u64,
    /// The largest distance of a rate below that mean, in per cent, up to [`super::LARGEST_SPREAD`]; 0: periods are
    /// fixed.
    pub period_spread: u32,
    /// Bytes of each CPU's ring of samples; a power of two of at least a page.
    pub ring_bytes: u32,
    /// Bytes of each CPU's ring of process events; a power of two of at least a page.
    pub sideband_bytes: u32,
    /// The facts `task_struct.stack` and `stack.pt_regs`, where they are known.
    pub entry_registers: Option<(u32, u32)>,
    /// Who walks user stacks.
    pub user_walk: UserWalk,
    /// True if kernel stacks are walked.
    pub kernel_stacks: bool,
    /// True if each unwind rule that the sampler has cached is checked against the tables.
    pub verify_recent: bool,
    /// The sizes of the unwind tables.
    pub tables: TableSizes,
    /// The extent to which stacks are copied.
    pub stack_copies: StackCopies,
    /// True if the cgroup of each sample is asked for.
    pub cgroup_ids: bool,
    /// The translation of ids into those of our own pid namespace.
    pub ids: Ids,
    /// The source of process events.
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
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::ByTables => "sample",
            Self::ByKernel => "sample_by_kernel_walk",
        }
    }
}

/// The extent to which stacks are copied, for a walk that goes on in user space.
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

/// Sources of process events, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// Perf's side band: fork, exec, executable mappings, exit.
    SideBand,
    /// The raw tracepoints of exec and exit.
    Tracepoints,
    /// Nobody; `/proc` is looked through.
    Nobody,
}

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

/// The parts left out where the kernel refuses a program: one of them, then several.
const SIMPLER: [&[Part]; 6] = [
    &[CGROUPS],
    &[ENTRY_REGISTERS],
    &[CGROUPS, ENTRY_REGISTERS],
    &[OWN_WALK],
    &[OWN_WALK, CGROUPS],
    &[OWN_WALK, CGROUPS, ENTRY_REGISTERS, KERNEL_STACKS],
];

impl Settings {
    /// The sampler's object with these settings, on a system whose CPUs have lower numbers than this.
    pub(super) fn object(&self, cpu_limit: u32) -> Result<Unloaded, ObjectError> {
        let (task_struct_stack, stack_pt_regs) = self.entry_registers.unwrap_or((0, 0));
        let tables = &self.tables;
        let mut object = Unloaded::parse(stacksonde_ebpf::sampler())?;
        self.ids.constants().set(&mut object);
        object
            .set_u32("cgroup_ids", self.cgroup_ids.into())
            .set_u32("task_struct_stack", task_struct_stack)
            .set_u32("stack_pt_regs", stack_pt_regs)
            .set_u32("kernel_stacks", self.kernel_stacks.into())
            .set_u64("wake_bytes", (self.ring_bytes / 2).into())
            .set_u32("stack_pages", self.stack_copies.pages)
            .set_u32("copy_always", self.stack_copies.always.into())
            .set_u32("process_lines_mask", tables.process_lines - 1)
            .set_u32("page_lines_mask", tables.page_lines - 1)
            .set_u32("recent_lines_mask", tables.recent_lines.saturating_sub(1))
            .set_u32("use_recent", (tables.recent_lines > 0).into())
            .set_u32("verify_recent", self.verify_recent.into())
            .set_u32("filter_lines_mask", tables.filter_lines - 1)
            .resize("filter", tables.filter_lines + 1)
            .resize("processes", tables.process_lines)
            .resize("mappings", tables.mappings)
            .resize("pages", tables.page_lines)
            .resize("rows", tables.row_lines)
            .resize("recent", tables.recent_lines.max(1))
            .resize("rules", tables.rules)
            .resize("counters", cpu_limit)
            .resize("rings", cpu_limit)
            .resize("scratch", cpu_limit);
        Ok(object)
    }

    /// These for a system whose kernel refuses the program: the settings of each simpler one that is another,
    /// with what it costs, the best first.
    pub(super) fn simpler(&self) -> Vec<(Self, String)> {
        let mut found: Vec<(Self, String)> = Vec::new();
        for parts in SIMPLER {
            let mut simpler = self.clone();
            parts.iter().for_each(|(leave_out, _)| leave_out(&mut simpler));
            if simpler != *self && found.iter().all(|(other, _)| *other != simpler) {
                let costs: Vec<_> = parts.iter().map(|(_, cost)| *cost).collect();
                found.push((simpler, costs.join(", ")));
            }
        }
        found
    }
}
