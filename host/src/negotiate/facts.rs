//! Numbers about the running kernel, as providers found them.

use serde::Serialize;
use stacksonde_plugin::fact;
use std::ops::Range;

/// A fact that was found, is plausible, and is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Its name: `task_struct.stack`.
    pub name: String,
    /// An offset in bytes.
    pub value: u64,
    /// The plugin that found it.
    pub provider: String,
    /// The method: `BTF`, `planted registers`.
    pub method: String,
    /// The evidence for a sceptic to check.
    pub evidence: String,
}

/// Why a provider did not give a fact, or why what it gave is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The plugin.
    pub provider: String,
    /// The facts in question.
    pub facts: Vec<String>,
    /// Why.
    pub reason: String,
    /// A remedy, where one is known.
    pub remedy: Option<String>,
}

/// Values that are plausible for a fact.
struct Plausible {
    fact: &'static str,
    range: Range<u64>,
    multiple_of: u64,
}

/// A member of a structure: the largest task_struct known is a fifth of this.
const fn member(fact: &'static str, multiple_of: u64) -> Plausible {
    Plausible { fact, range: 0..64 << 10, multiple_of }
}

const PLAUSIBLE: [Plausible; 10] = [
    member(fact::TASK_STRUCT_STACK, 8),
    // Within the largest THREAD_SIZE (arm64 with pages of 64 KiB), above where a stack still has
    // room for the kernel's own calls. The sampler takes 0 for unknown.
    Plausible { fact: fact::STACK_PT_REGS, range: 4 << 10..64 << 10, multiple_of: 8 },
    member(fact::THREAD_FSBASE, 8),
    member(fact::THREAD_TP_VALUE, 8),
    member(fact::TASK_STRUCT_GROUP_LEADER, 8),
    member(fact::TASK_STRUCT_START_TIME, 8),
    member(fact::TASK_STRUCT_THREAD_PID, 8),
    // A structure of some hundred bytes.
    Plausible { fact: fact::PID_LEVEL, range: 0..1024, multiple_of: 4 },
    Plausible { fact: fact::PID_NUMBERS, range: 4..1024, multiple_of: 8 },
    Plausible { fact: fact::UPID_NR, range: 0..16, multiple_of: 4 },
];

/// Checks that `value` is plausible for the fact `name`; the error is a sentence.
///
/// A fact without an entry in the table is not one that this host uses.
pub fn check(name: &str, value: u64) -> Result<(), String> {
    let plausible = PLAUSIBLE
        .iter()
        .find(|plausible| plausible.fact == name)
        .ok_or_else(|| format!("`{name}` is not a fact that this host uses"))?;
    let Range { start, end } = &plausible.range;
    if !plausible.range.contains(&value) {
        return Err(format!("{value:#x} is not plausible for {name}: it lies within {start:#x}..{end:#x}"));
    }
    if !value.is_multiple_of(plausible.multiple_of) {
        let multiple = plausible.multiple_of;
        return Err(format!("{value:#x} is not plausible for {name}: it is a multiple of {multiple}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_plugin::fact::{PID_LEVEL, STACK_PT_REGS, TASK_STRUCT_STACK};

    #[test]
    fn takes_only_plausible_offsets() {
        let table = [
            (TASK_STRUCT_STACK, 0x20, true),
            (TASK_STRUCT_STACK, 8, true),
            (TASK_STRUCT_STACK, 0x21, false),
            (TASK_STRUCT_STACK, 0x10000, false),
            (TASK_STRUCT_STACK, u64::MAX - 7, false),
            (STACK_PT_REGS, 16384 - 168, true),
            (STACK_PT_REGS, 16384 - 168 - 16, true),
            (STACK_PT_REGS, 0, false),
            (STACK_PT_REGS, 16384 - 166, false),
            (STACK_PT_REGS, 0x10000, false),
            (PID_LEVEL, 4, true),
            (PID_LEVEL, 4096, false),
            ("vm_area_struct.vm_start", 8, false),
        ];
        for (name, value, good) in table {
            assert_eq!(check(name, value).is_ok(), good, "{name} {value:#x}: {:?}", check(name, value));
        }
    }
}
