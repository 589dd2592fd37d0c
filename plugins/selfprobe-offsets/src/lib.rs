//! Stacksonde plugin `selfprobe-offsets`: measures where the kernel keeps things, on ourselves.
//!
//! It runs a small analysis program within its own system call by BPF_PROG_TEST_RUN, which attaches
//! nothing: neither BTF nor tracepoints nor tracefs nor kallsyms is needed. How offsets follow from
//! what the program sees is in [`stacksonde_ebpf::selfprobe::measure`].

use stacksonde_ebpf::selfprobe::Trigger;
use stacksonde_ebpf::selfprobe::measure::{Fact, Measured, measure_all};
use stacksonde_plugin::{Answer, Capabilities, Offset, OffsetProvider, Outcome, Readiness};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    offset_provider: SelfprobeOffsets,
}

/// Capabilities that the analysis program needs to run.
const NEEDS: [&str; 2] = ["bpf.syscall", "bpf.run.raw_tracepoint"];

/// Measures offsets on ourselves.
#[derive(Debug, Default)]
pub struct SelfprobeOffsets;

impl OffsetProvider for SelfprobeOffsets {
    fn provides(&self) -> Vec<String> {
        Fact::ALL.map(|fact| fact.name().to_owned()).into()
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
        let measured = measure_all(&[Trigger::TestRun], queries, "selfprobe-offsets");
        measured.into_iter().map(|measured| measured.map(answer)).collect()
    }
}

fn answer(measured: Measured) -> Offset {
    Offset { value: measured.value, method: measured.method.into(), evidence: measured.evidence }
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
    fn the_manifest_names_the_facts_of_both_architectures() {
        let manifest: serde_json::Value = serde_json::from_str(include_str!("../plugin.json")).unwrap();
        let stated = manifest["provides"].as_array().unwrap();
        for fact in SelfprobeOffsets.provides() {
            assert!(stated.iter().any(|stated| *stated == fact), "{fact}");
        }
    }
}
