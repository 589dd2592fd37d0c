//! Stacksonde plugin `tracepoint-offsets`: measures where the kernel keeps things, on ourselves, by a
//! tracepoint.
//!
//! The same analysis as that of selfprobe-offsets, for kernels that refuse to run a program on
//! request: the program sits on the tracepoint `syscalls:sys_enter_bpf`, or on the raw tracepoint
//! `sys_enter` where there is no tracefs to look up the former's number, for the few milliseconds
//! that measuring takes. Our own system calls are told from others by a random number in them, so
//! that pid namespaces do not matter.

use stacksonde_ebpf::selfprobe::Trigger;
use stacksonde_ebpf::selfprobe::measure::{Fact, Measured, measure_all};
use stacksonde_plugin::{Answer, Capabilities, Offset, OffsetProvider, Outcome, Readiness};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    offset_provider: TracepointOffsets,
}

/// The capability without which nothing works.
const NEEDS: &str = "bpf.syscall";
/// The ways, best first, with the capabilities that each needs.
const WAYS: [(Trigger, &[&str]); 2] = [
    (Trigger::SyscallTracepoint, &["bpf.prog.tracepoint", "tracefs.syscalls"]),
    (Trigger::RawTracepoint, &["bpf.prog.raw_tracepoint", "tracepoint.sys_enter"]),
];

/// Measures offsets on ourselves.
#[derive(Debug)]
pub struct TracepointOffsets {
    /// The ways that the capabilities allow.
    ways: Vec<Trigger>,
}

impl Default for TracepointOffsets {
    fn default() -> Self {
        Self { ways: WAYS.map(|(trigger, _)| trigger).into() }
    }
}

impl OffsetProvider for TracepointOffsets {
    fn provides(&self) -> Vec<String> {
        Fact::ALL.map(|fact| fact.name().to_owned()).into()
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Readiness {
        let absent = |name: &&'static str| match capabilities.get(name) {
            Some(Outcome::Absent { reason, remedy }) => Some((*name, reason.clone(), remedy.clone())),
            _ => None,
        };
        let unavailable = |(name, reason, remedy): (&'static str, String, String)| Readiness::Unavailable {
            missing: Some(name.into()),
            reason,
            remedy,
        };
        if let Some(missing) = absent(&NEEDS) {
            return unavailable(missing);
        }
        let obstacles = WAYS.map(|(_, needs)| needs.iter().find_map(absent));
        self.ways = WAYS
            .iter()
            .zip(&obstacles)
            .filter(|(_, obstacle)| obstacle.is_none())
            .map(|((trigger, _), _)| *trigger)
            .collect();
        if let (true, [Some(first), Some(second)]) = (self.ways.is_empty(), obstacles) {
            let (_, reason, remedy) = &second;
            let reason = format!("{}; nor is there another way: {}: {reason}", first.1, second.0);
            return unavailable((first.0, reason, format!("{}; or {remedy}", first.2)));
        }
        // It runs in the system calls of others too, so it comes after what does not.
        Readiness::Ready { cost_us: 20_000, confidence: 85 }
    }

    fn discover(&mut self, queries: &[String]) -> Vec<Answer> {
        let measured = measure_all(&self.ways, queries, "tracepoint-offsets");
        measured.into_iter().map(|measured| measured.map(answer)).collect()
    }
}

fn answer(measured: Measured) -> Offset {
    Offset { value: measured.value, method: measured.method.into(), evidence: measured.evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(names: &[&str]) -> Capabilities {
        let mut capabilities = Capabilities::default();
        for (_, needs) in WAYS {
            capabilities.0.extend(needs.iter().map(|name| ((*name).to_owned(), Outcome::Present)));
        }
        for name in names {
            let absent = Outcome::Absent { reason: "taken away".into(), remedy: "give it back".into() };
            capabilities.0.insert((*name).into(), absent);
        }
        capabilities
    }

    #[test]
    fn takes_each_way_that_is_open() {
        for (missing, ways) in [
            (vec![], vec![Trigger::SyscallTracepoint, Trigger::RawTracepoint]),
            (vec!["tracefs.syscalls"], vec![Trigger::RawTracepoint]),
            (vec!["tracepoint.sys_enter"], vec![Trigger::SyscallTracepoint]),
            (vec!["bpf.prog.raw_tracepoint"], vec![Trigger::SyscallTracepoint]),
        ] {
            let mut provider = TracepointOffsets::default();
            assert!(matches!(provider.probe(&without(&missing)), Readiness::Ready { .. }), "{missing:?}");
            assert_eq!(provider.ways, ways, "{missing:?}");
        }
    }

    #[test]
    fn names_what_is_missing_where_no_way_is_open() {
        let mut provider = TracepointOffsets::default();
        let readiness = provider.probe(&without(&["tracefs.syscalls", "bpf.prog.raw_tracepoint"]));
        let Readiness::Unavailable { missing, reason, .. } = readiness else { panic!("{readiness:?}") };
        assert_eq!(missing.as_deref(), Some("tracefs.syscalls"));
        assert!(reason.contains("bpf.prog.raw_tracepoint: taken away"), "{reason}");
        let readiness = provider.probe(&without(&["bpf.syscall"]));
        assert!(
            matches!(readiness, Readiness::Unavailable { missing: Some(name), .. } if name == "bpf.syscall")
        );
    }

    #[test]
    fn the_manifest_names_the_facts_of_both_architectures() {
        let manifest: serde_json::Value = serde_json::from_str(include_str!("../plugin.json")).unwrap();
        let stated = manifest["provides"].as_array().unwrap();
        for fact in TracepointOffsets::default().provides() {
            assert!(stated.iter().any(|stated| *stated == fact), "{fact}");
        }
    }
}
