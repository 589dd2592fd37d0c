//! Stacksonde plugin `selfprobe-offsets`: measures where the kernel keeps a thread's entry registers.
//!
//! It runs a small analysis program within its own system call (see [`stacksonde_ebpf::selfprobe`])
//! and looks at its own task: `task_struct.stack` is the pointer whose area holds the registers
//! with which we entered the kernel, and `stack.pt_regs` is how far above that pointer they lie.
//! Both are measured, not computed: the padding above the registers varies with the kernel's
//! configuration (`TOP_OF_KERNEL_STACK_PADDING`, for example with CONFIG_X86_FRED).

mod measure;
mod search;

pub use measure::{EntryRegisters, Error, entry_registers};

use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};
use stacksonde_plugin::{Answer, Capabilities, Offset, OffsetProvider, Outcome, Readiness};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    offset_provider: SelfprobeOffsets,
}

/// What must be there for the analysis program to run.
const NEEDS: [&str; 2] = ["bpf.syscall", "bpf.run.raw_tracepoint"];
const METHOD: &str = "planted registers";

/// Measures offsets on ourselves.
#[derive(Debug, Default)]
pub struct SelfprobeOffsets;

impl OffsetProvider for SelfprobeOffsets {
    fn provides(&self) -> Vec<String> {
        [TASK_STRUCT_STACK, STACK_PT_REGS].map(String::from).into()
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Readiness {
        for name in NEEDS {
            if let Some(Outcome::Absent { reason, remedy }) = capabilities.get(name) {
                return Readiness::Unavailable {
                    missing: Some(name.into()),
                    reason: reason.clone(),
                    remedy: remedy.clone(),
                };
            }
        }
        // Less than BTF's: the kernel does not say so itself.
        Readiness::Ready { cost_us: 5_000, confidence: 90 }
    }

    fn discover(&mut self, queries: &[String]) -> Vec<Answer> {
        let measured = entry_registers().map_err(|error| error.to_string());
        queries.iter().map(|query| answer(query, &measured)).collect()
    }
}

fn answer(query: &str, measured: &Result<EntryRegisters, String>) -> Answer {
    let (value, what): (fn(&EntryRegisters) -> u64, _) = match query {
        TASK_STRUCT_STACK => (|at| at.task_struct_stack, "the pointer whose area holds our entry registers"),
        STACK_PT_REGS => (|at| at.stack_pt_regs, "where our entry registers lie in the kernel stack"),
        other => return Err(format!("`{other}` is not a fact that selfprobe-offsets can measure")),
    };
    let measured = measured.as_ref().map_err(Clone::clone)?;
    let evidence = format!(
        "{what}; of the candidates ({}) only this one passed, with other values planted and on a second thread",
        measured.candidates
    );
    Ok(Offset { value: value(measured), method: METHOD.into(), evidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_capability_that_is_missing() {
        let absent = Outcome::Absent { reason: "too old".into(), remedy: "Linux 5.10".into() };
        let mut capabilities = Capabilities::default();
        capabilities.0.insert("bpf.syscall".into(), Outcome::Present);
        capabilities.0.insert("bpf.run.raw_tracepoint".into(), absent);
        let readiness = SelfprobeOffsets.probe(&capabilities);
        assert_eq!(
            readiness,
            Readiness::Unavailable {
                missing: Some("bpf.run.raw_tracepoint".into()),
                reason: "too old".into(),
                remedy: "Linux 5.10".into()
            }
        );
    }

    #[test]
    fn answers_each_query_in_order_and_refuses_a_fact_that_it_does_not_know() {
        let measured = Ok(EntryRegisters { task_struct_stack: 32, stack_pt_regs: 16216, candidates: 3 });
        assert_eq!(answer(TASK_STRUCT_STACK, &measured).unwrap().value, 32);
        assert_eq!(answer(STACK_PT_REGS, &measured).unwrap().value, 16216);
        assert!(answer("pid.level", &measured).unwrap_err().contains("`pid.level`"));
        assert_eq!(answer(STACK_PT_REGS, &Err("refused".into())).unwrap_err(), "refused");
    }
}
