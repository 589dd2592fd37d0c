//! A plan as lines of text, for `stacksonde doctor` and the log.

use super::features::State;
use super::hazards::HazardState;
use super::plan::{Level, Plan};
use stacksonde_plugin::Outcome;
use std::fmt;

impl Plan {
    /// All of it, a line a thing: its kind, its name, its state, and where there is one the reason
    /// and the remedy. The last line is the level.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match &self.kernel {
            Some(kernel) => format!("kernel      {}, from {}", kernel.version, kernel.source),
            None => "kernel      of unknown version".into(),
        }];
        lines.extend(self.capabilities.0.iter().map(|(name, outcome)| match outcome {
            Outcome::Present => line("capability", name, "present", "", ""),
            Outcome::Absent { reason, remedy } => line("capability", name, "absent", reason, remedy),
            Outcome::Unknown { error } => line("capability", name, "unknown", error, ""),
        }));
        lines.extend(self.facts.iter().map(|fact| {
            let how = format!("{} by {}: {}", fact.provider, fact.method, fact.evidence);
            line("fact", &fact.name, format_args!("{:#x}", fact.value), &how, "")
        }));
        lines.extend(self.refusals.iter().map(|refusal| {
            let remedy = refusal.remedy.as_deref().unwrap_or_default();
            line("refusal", &refusal.provider, refusal.facts.join(", "), &refusal.reason, remedy)
        }));
        lines.extend(self.hazards.iter().map(|h| line("hazard", h.hazard, h.state, &h.reason, &h.remedy)));
        lines.extend(self.mitigations.iter().map(|name| line("mitigation", name, "applied", "", "")));
        lines.extend(self.features.iter().map(|f| line("feature", f.name, f.state, &f.reason, &f.remedy)));
        lines.extend(self.missing.iter().map(|m| line("missing", &m.what, "", &m.reason, &m.remedy)));
        lines.push(format!("level       {}", self.level));
        lines
    }

    /// What the operator may want to change: features that are not all there, and bugs worked around.
    pub fn warnings(&self) -> Vec<String> {
        let features = self.features.iter().filter(|feature| feature.state != State::On);
        let features = features.map(|f| sentence(f.name, &f.state.to_string(), &f.reason, &f.remedy));
        let hazards = self.hazards.iter().filter(|hazard| hazard.mitigation.is_some());
        let hazards = hazards.map(|h| sentence(h.hazard, &h.state.to_string(), &h.reason, &h.remedy));
        hazards.chain(features).collect()
    }
}

fn line(kind: &str, name: &str, state: impl fmt::Display, reason: &str, remedy: &str) -> String {
    let text = sentence(&format!("{name:<24}"), &state.to_string(), reason, remedy);
    format!("{kind:<11} {}", text.trim_end())
}

fn sentence(name: &str, state: &str, reason: &str, remedy: &str) -> String {
    let reason = match (state, reason) {
        (_, "") => String::new(),
        ("", reason) => reason.into(),
        (_, reason) => format!(": {reason}"),
    };
    let remedy = if remedy.is_empty() { String::new() } else { format!("; to change that: {remedy}") };
    format!("{name} {state}{reason}{remedy}")
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Reduced => "reduced",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for HazardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "out of range",
            Self::Safe => "proved absent",
            Self::Affected => "proved present",
            Self::Unproven => "unproven",
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Reduced => "reduced",
            Self::CannotRun => "cannot run",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Answers;
    use super::super::plan::{Findings, Wishes, decide};
    use crate::config::Config;
    use crate::kernel::{KernelVersion, Source, Version, known_names};
    use stacksonde_plugin::{Capabilities, Outcome};

    #[test]
    fn says_of_everything_what_it_is_why_and_how_to_change_it() {
        let mut capabilities =
            Capabilities(known_names().into_iter().map(|name| (name.into(), Outcome::Present)).collect());
        let absent = Outcome::Absent { reason: "hidden".into(), remedy: "show them".into() };
        capabilities.0.insert("kallsyms.addresses".into(), absent);
        let plan = decide(
            Findings {
                kernel: Some(KernelVersion { version: Version([6, 1, 20]), source: Source::UnameRelease }),
                capabilities,
                answers: Answers::default(),
                confirmation: Ok(()),
                assessments: Vec::new(),
            },
            &Wishes::from(&Config::default()),
        );
        let lines = plan.lines();
        assert_eq!(lines[0], "kernel      6.1.20, from uname -r");
        assert_eq!(lines.last().unwrap(), "level       reduced");
        for expected in [
            "capability  bpf.syscall              present",
            "capability  kallsyms.addresses       absent: hidden; to change that: show them",
            "mitigation  no_user_reads            applied",
            "feature     samples                  on",
            "feature     kernel_names             off: kallsyms.addresses: hidden; to change that: show them",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}\n{}", lines.join("\n"));
        }
        let warnings = plan.warnings();
        assert!(warnings[0].starts_with("copy_from_user_nofault unproven: "), "{warnings:?}");
        let kernel_names = "kernel_names off: kallsyms.addresses: hidden; to change that: show them";
        assert!(warnings.iter().any(|warning| warning == kernel_names), "{warnings:?}");
        assert!(!warnings.iter().any(|warning| warning.contains("tracefs")), "{warnings:?}");
    }
}
