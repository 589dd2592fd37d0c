//! From copies of kernel memory to offsets.
//!
//! Every fact is the place of a value that we planted or know, in the copies of several tasks; it is
//! proved by changing the value. Ambiguity is an answer of its own: nothing is taken rather than the
//! wrong thing.

mod ids;
mod lineage;
mod registers;
mod search;
mod thread_pointer;
mod threads;

pub use registers::EntryRegisters;

use super::{Error, Selfprobe, Trigger};
use ids::PidLayout;

/// A fact that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Offset of `task_struct.stack`.
    TaskStructStack,
    /// From the base of a kernel stack to the registers saved on entry.
    StackPtRegs,
    /// Offset of the user's thread pointer: `task_struct.thread.fsbase`, or `thread.uw.tp_value` on arm64.
    ThreadPointer,
    /// Offset of `task_struct.group_leader`.
    GroupLeader,
    /// Offset of `task_struct.start_time`.
    StartTime,
    /// Offset of `task_struct.thread_pid`.
    ThreadPid,
    /// Offset of `pid.level`.
    PidLevel,
    /// Offset of `pid.numbers`.
    PidNumbers,
    /// Offset of `upid.nr`.
    UpidNr,
}

/// The thread pointer's name on this architecture.
#[cfg(target_arch = "x86_64")]
const THREAD_POINTER: &str = "task_struct.thread.fsbase";
/// The thread pointer's name on this architecture.
#[cfg(target_arch = "aarch64")]
const THREAD_POINTER: &str = "task_struct.thread.uw.tp_value";

impl Fact {
    /// Every fact.
    pub const ALL: [Self; 9] = [
        Self::TaskStructStack,
        Self::StackPtRegs,
        Self::ThreadPointer,
        Self::GroupLeader,
        Self::StartTime,
        Self::ThreadPid,
        Self::PidLevel,
        Self::PidNumbers,
        Self::UpidNr,
    ];

    /// Its name, as providers and the host say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskStructStack => "task_struct.stack",
            Self::StackPtRegs => "stack.pt_regs",
            Self::ThreadPointer => THREAD_POINTER,
            Self::GroupLeader => "task_struct.group_leader",
            Self::StartTime => "task_struct.start_time",
            Self::ThreadPid => "task_struct.thread_pid",
            Self::PidLevel => "pid.level",
            Self::PidNumbers => "pid.numbers",
            Self::UpidNr => "upid.nr",
        }
    }

    /// The fact of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.name() == name)
    }
}

/// A fact that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes.
    pub value: u64,
    /// The method, in two words.
    pub method: &'static str,
    /// Evidence for a sceptic to check.
    pub evidence: String,
}

/// Measures the facts of these names by the first of `triggers` that works; `plugin` is who measures, for
/// what it is told to and cannot.
pub fn measure_all(triggers: &[Trigger], names: &[String], plugin: &str) -> Vec<Result<Measured, String>> {
    let mut measurer = match Selfprobe::open(triggers) {
        Ok(probe) => Measurer::new(probe),
        Err(error) => return names.iter().map(|_| Err(error.to_string())).collect(),
    };
    let unknown = |name: &str| format!("`{name}` is not a fact that {plugin} can measure");
    let one = |name: &String| measurer.measure(Fact::named(name).ok_or_else(|| unknown(name))?);
    names.iter().map(one).collect()
}

/// Measures facts, each once.
pub struct Measurer {
    probe: Selfprobe,
    registers: Option<Result<EntryRegisters, String>>,
    pid: Option<Result<PidLayout, String>>,
}

impl Measurer {
    /// Measures with this program.
    pub fn new(probe: Selfprobe) -> Self {
        Self { probe, registers: None, pid: None }
    }

    /// Measures a fact; the error is a sentence.
    pub fn measure(&mut self, fact: Fact) -> Result<Measured, String> {
        let by = self.probe.trigger().name();
        let mut measured = match fact {
            Fact::TaskStructStack => self.entry_registers()?.task_struct_stack(),
            Fact::StackPtRegs => self.entry_registers()?.stack_pt_regs(),
            Fact::ThreadPointer => said(thread_pointer::measure(&mut self.probe))?,
            Fact::GroupLeader => said(lineage::group_leader(&mut self.probe))?,
            Fact::StartTime => said(lineage::start_time(&mut self.probe))?,
            Fact::ThreadPid => self.pid()?.thread_pid(),
            Fact::PidLevel => self.pid()?.level(),
            Fact::PidNumbers => self.pid()?.numbers(),
            Fact::UpidNr => self.pid()?.nr(),
        };
        measured.evidence = format!("{}; seen by {by}", measured.evidence);
        Ok(measured)
    }

    /// Measures the place of entry registers.
    pub fn entry_registers(&mut self) -> Result<EntryRegisters, String> {
        let probe = &mut self.probe;
        self.registers.get_or_insert_with(|| said(registers::measure(probe))).clone()
    }

    fn pid(&mut self) -> Result<PidLayout, String> {
        let probe = &mut self.probe;
        self.pid.get_or_insert_with(|| said(ids::measure(probe))).clone()
    }
}

fn said<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// The only one of `found`.
fn only<T>(mut found: Vec<T>, place: &'static str, what: &'static str) -> Result<T, Error> {
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), more) => Err(Error::Ambiguous { count: more + 1, place, what }),
        (None, _) => Err(Error::NotFound { place, what }),
    }
}
