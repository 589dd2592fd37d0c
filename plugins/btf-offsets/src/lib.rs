//! Stacksonde plugin `btf-offsets`: kernel structure offsets from `/sys/kernel/btf/vmlinux`.
//!
//! The kernel describes its own types there, so an answer is as good as the kernel itself. What
//! BTF does not hold is THREAD_SIZE, so `stack.pt_regs` is not among the answers.

pub mod btf;
mod questions;

#[doc(hidden)]
pub mod fuzz;

pub use questions::{Question, question};

use btf::Btf;
use stacksonde_plugin::{Answer, Capabilities, Offset, OffsetProvider, Outcome, Readiness};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    offset_provider: BtfOffsets,
}

const NEEDS: &str = "kernel.btf";
/// Where the kernel shows its BTF (5.4+, CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Reads offsets from the kernel's BTF.
#[derive(Debug, Default)]
pub struct BtfOffsets;

impl OffsetProvider for BtfOffsets {
    fn provides(&self) -> Vec<String> {
        questions::ALL.iter().map(|question| question.fact.into()).collect()
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Readiness {
        if let Some(Outcome::Absent { reason, remedy }) = capabilities.get(NEEDS) {
            return Readiness::Unavailable {
                missing: Some(NEEDS.into()),
                reason: reason.clone(),
                remedy: remedy.clone(),
            };
        }
        Readiness::Ready { cost_us: 5_000, confidence: 100 }
    }

    fn discover(&mut self, queries: &[String]) -> Vec<Answer> {
        match std::fs::read(VMLINUX) {
            Ok(bytes) => queries.iter().map(|query| answer(&bytes, query)).collect(),
            Err(error) => queries.iter().map(|_| Err(format!("{VMLINUX}: {error}"))).collect(),
        }
    }
}

/// Answers one query from the bytes of a BTF file.
fn answer(bytes: &[u8], query: &str) -> Answer {
    let question =
        question(query).ok_or_else(|| format!("`{query}` is not a fact that btf-offsets can read"))?;
    let mut btf = Btf::parse(bytes).map_err(|error| format!("{VMLINUX}: {error}"))?;
    let found = question.ask(&mut btf).map_err(|error| format!("{VMLINUX}: {error}"))?;
    Ok(Offset {
        value: found.member.offset_bytes,
        method: "BTF".into(),
        evidence: format!(
            "{}.{} at bit {} of type {}",
            question.structure,
            found.path.join("."),
            found.member.offset_bytes * 8,
            found.type_id
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::build::{self, Builder};

    fn task_struct() -> Vec<u8> {
        let mut types = Builder::default();
        let pointer = types.pointer(0);
        types.structure("task_struct", 64, &[("__state", 0, 0), ("stack", pointer, 32 * 8)]);
        types.finish()
    }

    #[test]
    fn answers_from_btf_with_evidence() {
        let offset = answer(&task_struct(), "task_struct.stack").unwrap();
        assert_eq!(offset.value, 32);
        assert_eq!(offset.evidence, "task_struct.stack at bit 256 of type 2");
    }

    #[test]
    fn says_what_it_cannot_answer() {
        let said = |bytes: &[u8], query| answer(bytes, query).unwrap_err();
        assert!(said(&task_struct(), "stack.pt_regs").contains("`stack.pt_regs`"));
        assert!(said(b"not BTF at all, but long enough", "task_struct.stack").contains("not BTF"));
        let empty = build::Builder::default().finish();
        assert!(said(&empty, "task_struct.stack").contains("no struct `task_struct`"));
    }

    #[test]
    fn names_the_capability_that_is_missing() {
        let mut capabilities = Capabilities::default();
        let absent = Outcome::Absent { reason: "denied".into(), remedy: "allow it".into() };
        capabilities.0.insert(NEEDS.into(), absent);
        let Readiness::Unavailable { missing, .. } = BtfOffsets.probe(&capabilities) else { panic!() };
        assert_eq!(missing.as_deref(), Some("kernel.btf"));
        assert!(matches!(BtfOffsets.probe(&Capabilities::default()), Readiness::Ready { .. }));
    }

    #[test]
    fn the_manifest_names_what_the_provider_provides() {
        let manifest: serde_json::Value = serde_json::from_str(include_str!("../plugin.json")).unwrap();
        assert_eq!(manifest["provides"], serde_json::json!(BtfOffsets.provides()));
    }
}
