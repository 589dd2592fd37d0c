//! The role of an offset provider: numbers about the running kernel.

use crate::Capabilities;
use serde::{Deserialize, Serialize};

/// Offset, in bytes, of `task_struct.stack`: the base of a task's kernel stack.
pub const TASK_STRUCT_STACK: &str = "task_struct.stack";
/// Distance, in bytes, from the base of the kernel stack to the registers saved on entry from user mode.
pub const STACK_PT_REGS: &str = "stack.pt_regs";
/// Offset, in bytes, of the user's thread pointer in a task on x86-64.
pub const THREAD_FSBASE: &str = "task_struct.thread.fsbase";
/// Offset, in bytes, of the user's thread pointer in a task on arm64.
pub const THREAD_TP_VALUE: &str = "task_struct.thread.uw.tp_value";
/// Offset, in bytes, of `task_struct.group_leader`: the task of the process' first thread.
pub const TASK_STRUCT_GROUP_LEADER: &str = "task_struct.group_leader";
/// Offset, in bytes, of `task_struct.start_time`: nanoseconds of CLOCK_MONOTONIC.
pub const TASK_STRUCT_START_TIME: &str = "task_struct.start_time";
/// Offset, in bytes, of `task_struct.thread_pid`: the thread's `struct pid`.
pub const TASK_STRUCT_THREAD_PID: &str = "task_struct.thread_pid";
/// Offset, in bytes, of `pid.level`: how deep the pid namespace lies; 0 is the initial one.
pub const PID_LEVEL: &str = "pid.level";
/// Offset, in bytes, of `pid.numbers`: a `struct upid` for each namespace, the initial one first.
pub const PID_NUMBERS: &str = "pid.numbers";
/// Offset, in bytes, of `upid.nr`: the id in one namespace.
pub const UPID_NR: &str = "upid.nr";
/// Offset, in bytes, of `vm_area_struct.vm_start`.
pub const VM_AREA_STRUCT_VM_START: &str = "vm_area_struct.vm_start";
/// Offset, in bytes, of `vm_area_struct.vm_end`.
pub const VM_AREA_STRUCT_VM_END: &str = "vm_area_struct.vm_end";
/// Offset, in bytes, of `vm_area_struct.vm_pgoff`.
pub const VM_AREA_STRUCT_VM_PGOFF: &str = "vm_area_struct.vm_pgoff";
/// Offset, in bytes, of `vm_area_struct.vm_flags` (`__vm_flags` in 6.3 and newer).
pub const VM_AREA_STRUCT_VM_FLAGS: &str = "vm_area_struct.vm_flags";
/// Offset, in bytes, of `vm_area_struct.vm_file`.
pub const VM_AREA_STRUCT_VM_FILE: &str = "vm_area_struct.vm_file";
/// Offset, in bytes, of `file.f_inode`.
pub const FILE_F_INODE: &str = "file.f_inode";
/// Offset, in bytes, of `inode.i_ino`.
pub const INODE_I_INO: &str = "inode.i_ino";
/// Offset, in bytes, of `inode.i_sb`.
pub const INODE_I_SB: &str = "inode.i_sb";
/// Offset, in bytes, of `super_block.s_dev`.
pub const SUPER_BLOCK_S_DEV: &str = "super_block.s_dev";

/// The ability of a provider to answer now, and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Readiness {
    /// It can answer.
    Ready {
        /// Expected time to answer, in microseconds.
        cost_us: u64,
        /// 0 to 100; 100 is a fact that the kernel states itself.
        confidence: u8,
    },
    /// It cannot answer on this system.
    Unavailable {
        /// The capability that is missing, if it is one.
        missing: Option<String>,
        /// Why, in a few words.
        reason: String,
        /// A remedy.
        remedy: String,
    },
}

/// One fact as a provider found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The number: an offset in bytes.
    pub value: u64,
    /// The method by which it was found: `"BTF"`, `"planted value"`.
    pub method: String,
    /// Evidence for a sceptic to check: `"task_struct.stack at bit 256 of type 118"`.
    pub evidence: String,
}

/// The answer to one query: the offset, or why this provider has none.
pub type Answer = Result<Offset, String>;

/// A plugin that finds offsets in structures of the running kernel.
///
/// It answers questions; it never touches the host's BPF maps. The host checks range and
/// alignment of every answer and confirms it on its own task before use.
pub trait OffsetProvider: Send + 'static {
    /// Takes what the configuration has under `offsets.config.<plugin>`; called once, before anything
    /// else, and only if there is something. The error is a sentence for the operator.
    fn configure(&mut self, config: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
        match config.keys().next() {
            Some(key) => Err(format!("`{key}` is not a key of this plugin, which has none")),
            None => Ok(()),
        }
    }

    /// The facts that this provider can be asked for, by name.
    fn provides(&self) -> Vec<String>;

    /// Tells whether it can answer on a system with these capabilities. It is fast and without side effects.
    fn probe(&mut self, capabilities: &Capabilities) -> Readiness;

    /// Answers each query, in order; the result has the length of `queries`.
    fn discover(&mut self, queries: &[String]) -> Vec<Answer>;
}
