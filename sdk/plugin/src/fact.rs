//! The role of an offset provider: numbers about the running kernel.

use crate::Capabilities;
use serde::{Deserialize, Serialize};

/// Offset, in bytes, of `task_struct.stack`: the base of a task's kernel stack.
pub const TASK_STRUCT_STACK: &str = "task_struct.stack";
/// Distance, in bytes, from the base of the kernel stack to the registers saved on entry from user mode.
pub const STACK_PT_REGS: &str = "stack.pt_regs";

/// Whether a provider can answer now, and how well.
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
        /// What would change that.
        remedy: String,
    },
}

/// One fact as a provider found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The number: an offset in bytes.
    pub value: u64,
    /// How it was found: `"BTF"`, `"planted value"`.
    pub method: String,
    /// What a sceptic may check: `"task_struct.stack at bit 256 of type 118"`.
    pub evidence: String,
}

/// The answer to one query: the offset, or why this provider has none.
pub type Answer = Result<Offset, String>;

/// A plugin that finds offsets in structures of the running kernel.
///
/// It answers questions; it never touches the host's BPF maps. The host checks range and
/// alignment of every answer and confirms it on its own task before use.
pub trait OffsetProvider: Send + 'static {
    /// The facts that this provider can be asked for, by name.
    fn provides(&self) -> Vec<String>;

    /// Whether it can answer on a system with these capabilities. Fast and without side effects.
    fn probe(&mut self, capabilities: &Capabilities) -> Readiness;

    /// Answers each query, in order; the result has the length of `queries`.
    fn discover(&mut self, queries: &[String]) -> Vec<Answer>;
}
