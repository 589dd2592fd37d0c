//! A plan for people: tables for `stacksonde doctor`, sentences for the log.

use super::features::{self, State};
use super::hazards::HazardState;
use super::plan::{Level, Plan};
use stacksonde_plugin::Outcome;
use std::fmt;

/// The uses of capabilities other than features.
const USES: [(&str, &str); 11] = [
    ("bpf.run.raw_tracepoint", "offsets by selfprobe-offsets, confirming offsets"),
    ("bpf.prog.raw_tracepoint", "offsets by tracepoint-offsets"),
    ("bpf.prog.tracepoint", "offsets by tracepoint-offsets"),
    ("tracefs.syscalls", "offsets by tracepoint-offsets"),
    ("tracefs.mounted", "nothing by itself"),
    ("kernel.btf", "offsets by btf-offsets"),
    ("kallsyms.addresses", "the check of probe-read-safety"),
    ("bpf.helper.get_current_cgroup_id", "cgroups of samples"),
    ("cap.ipc_lock", "large buffers of process events"),
    ("cap.sys_ptrace", "files of other users' processes"),
    ("lockdown.none", "explaining refusals"),
];

/// Describes the uses of a capability.
pub fn used_for(capability: &str) -> String {
    let others = USES.iter().filter(|(name, _)| *name == capability).map(|(_, text)| *text);
    let all: Vec<_> = features::using(capability).into_iter().chain(others).collect();
    if all.is_empty() { "explaining refusals".into() } else { all.join(", ") }
}

/// The severity of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For who looks for it.
    Debug,
    /// Something is less than it could be.
    Warning,
    /// Something that was demanded is not there.
    Error,
}

impl Plan {
    /// All of it as tables. The last line is the level.
    pub fn text(&self) -> String {
        let mut text = match &self.kernel {
            Some(kernel) => format!("kernel      {}, from {}\n", kernel.version, kernel.source),
            None => "kernel      of unknown version\n".into(),
        };
        let capabilities = self.capabilities.0.iter().map(|(name, outcome)| {
            let (state, remedy) = match outcome {
                Outcome::Present => ("present", String::new()),
                Outcome::Absent { reason, remedy } => ("absent", format!("{remedy} ({reason})")),
                Outcome::Unknown { error } => ("unknown", error.clone()),
            };
            [name.clone(), state.into(), used_for(name), remedy]
        });
        section(&mut text, ["CAPABILITY", "STATE", "USED FOR", "REMEDY"], capabilities);
        let features = self.features.iter().map(|feature| {
            let why = [feature.reason.as_str(), feature.remedy.as_str()];
            let why: Vec<_> = why.into_iter().filter(|text| !text.is_empty()).collect();
            [
                feature.name.into(),
                feature.state.to_string(),
                feature.way.into(),
                why.join("; to change that: "),
            ]
        });
        section(&mut text, ["FEATURE", "STATE", "BY", "WHY, AND HOW TO CHANGE IT"], features);
        let facts = self.facts.iter().map(|fact| {
            [
                fact.name.clone(),
                format!("{:#x}", fact.value),
                fact.provider.clone(),
                format!("{}: {}", fact.method, fact.evidence),
            ]
        });
        section(&mut text, ["OFFSET", "VALUE", "FROM", "EVIDENCE"], facts);
        let refusals = self.refusals.iter().map(|refusal| {
            let remedy = refusal.remedy.as_ref().map(|remedy| format!("; to change that: {remedy}"));
            let why = format!("{}{}", refusal.reason, remedy.unwrap_or_default());
            [refusal.facts.join(", "), "refused".into(), refusal.provider.clone(), why]
        });
        section(&mut text, ["OFFSET", "STATE", "BY", "WHY"], refusals);
        let hazards = self.hazards.iter().map(|hazard| {
            let remedy = if hazard.remedy.is_empty() {
                String::new()
            } else {
                format!("; to change that: {}", hazard.remedy)
            };
            let done = hazard.mitigation.unwrap_or("nothing to do");
            [
                hazard.hazard.into(),
                hazard.state.to_string(),
                done.into(),
                format!("{}{remedy}", hazard.reason),
            ]
        });
        section(&mut text, ["KERNEL BUG", "VERDICT", "MITIGATION", "WHY"], hazards);
        let missing = self.missing.iter().map(|missing| {
            [missing.what.clone(), "missing".into(), missing.reason.clone(), missing.remedy.clone()]
        });
        section(&mut text, ["CANNOT RUN FOR", "STATE", "WHY", "REMEDY"], missing);
        text.push_str(&format!("level       {}\n", self.level));
        text
    }

    /// Returns notes for the operator when the agent starts, by severity.
    pub fn notes(&self) -> Vec<(Severity, String)> {
        let mut notes = Vec::new();
        for hazard in self.hazards.iter().filter(|hazard| hazard.mitigation.is_some()) {
            let said = sentence(hazard.hazard, &hazard.state.to_string(), &hazard.reason, &hazard.remedy);
            notes.push((Severity::Warning, said));
        }
        for feature in self.features.iter().filter(|feature| feature.state != State::On) {
            let said = sentence(feature.name, &feature.state.to_string(), &feature.reason, &feature.remedy);
            notes.push((Severity::Warning, said));
        }
        for fact in &self.facts {
            notes.push((
                Severity::Debug,
                format!("{} is {:#x}, from {}", fact.name, fact.value, fact.provider),
            ));
        }
        for refusal in &self.refusals {
            notes.push((Severity::Debug, format!("{}: {}", refusal.provider, refusal.reason)));
        }
        notes.extend(self.about_tracepoints());
        notes
    }

    /// Missing syscall tracepoints matter only if something was to be had through them.
    fn about_tracepoints(&self) -> Option<(Severity, String)> {
        let Some(Outcome::Absent { reason, remedy }) = self.capabilities.get("tracefs.syscalls") else {
            return None;
        };
        let lacks =
            |name: &str| self.feature(name).is_some_and(|feature| feature.reason.contains("is unknown"));
        let lacking: Vec<_> =
            self.features.iter().filter(|feature| lacks(feature.name)).map(|feature| feature.name).collect();
        let detour = self.facts.iter().any(|fact| {
            fact.provider == "tracepoint-offsets" && fact.evidence.contains("the raw tracepoint")
        });
        let (severity, effect) = if self.missing.iter().any(|missing| lacks(&missing.what)) {
            (Severity::Error, format!("{} is required and there is no way left to it", lacking.join(", ")))
        } else if !lacking.is_empty() {
            (Severity::Warning, format!("they would be one more way to {}", lacking.join(", ")))
        } else if detour {
            let said = "offsets were measured by the raw tracepoint sys_enter instead, for a moment in everybody's system calls";
            (Severity::Warning, said.into())
        } else {
            (Severity::Debug, "nothing needs them here".into())
        };
        Some((severity, format!("no syscall tracepoints ({reason}): {effect}; to change that: {remedy}")))
    }
}

/// Appends a table, if it has rows. The last column is as wide as it is.
fn section(text: &mut String, head: [&str; 4], rows: impl Iterator<Item = [String; 4]>) {
    let rows: Vec<[String; 4]> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2).min(60)];
    let mut line = |row: [&str; 4]| {
        let [a, b, c] = widths;
        let full = format!("{:a$}  {:b$}  {:c$}  {}", row[0], row[1], row[2], row[3]);
        text.push_str(full.trim_end());
        text.push('\n');
    };
    line(head);
    for [first, second, third, last] in &rows {
        line([first, second, third, last]);
    }
    text.push('\n');
}

fn sentence(name: &str, state: &str, reason: &str, remedy: &str) -> String {
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
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
    use super::super::facts::Fact;
    use super::super::plan::{Findings, Wishes, decide};
    use super::*;
    use crate::config::Config;
    use crate::kernel::{KernelVersion, Source, Version, known_names};
    use stacksonde_plugin::Capabilities;

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
                assessments: Vec::new(),
            },
            &Wishes::from(&Config::default()),
        );
        let text = plan.text();
        assert!(text.starts_with("kernel      6.1.20, from uname -r\n"), "{text}");
        assert!(text.ends_with("\nlevel       reduced\n"), "{text}");
        let has = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        for expected in [
            &["bpf.syscall", "present", "samples"][..],
            &["kallsyms.addresses", "absent", "kernel_names", "show them (hidden)"],
            &["copy_from_user_nofault", "unproven", "no_user_reads"],
            &["samples", " on ", "default"],
            &["kernel_names", "off", "kallsyms.addresses: hidden; to change that: show them"],
        ] {
            assert!(has(expected), "{expected:?}\n{text}");
        }
        let warnings: Vec<_> = plan
            .notes()
            .into_iter()
            .filter(|(how, _)| *how == Severity::Warning)
            .map(|(_, text)| text)
            .collect();
        assert!(warnings[0].starts_with("copy_from_user_nofault unproven: "), "{warnings:?}");
        let kernel_names = "kernel_names off: kallsyms.addresses: hidden; to change that: show them";
        assert!(warnings.iter().any(|warning| warning == kernel_names), "{warnings:?}");
        assert!(!warnings.iter().any(|warning| warning.contains("tracefs")), "{warnings:?}");
    }

    /// Returns the note about syscall tracepoints that are missing.
    fn about_tracepoints(require: &[&str], facts: &[(&str, &str, &str)]) -> (Severity, String) {
        let mut capabilities =
            Capabilities(known_names().into_iter().map(|name| (name.into(), Outcome::Present)).collect());
        let absent = Outcome::Absent { reason: "none there".into(), remedy: "another kernel".into() };
        capabilities.0.insert("tracefs.syscalls".into(), absent);
        let fact = |(name, provider, evidence): &(&str, &str, &str)| Fact {
            name: (*name).into(),
            value: 32,
            provider: (*provider).into(),
            method: "test".into(),
            evidence: (*evidence).into(),
        };
        let answers = Answers { facts: facts.iter().map(fact).collect(), refusals: Vec::new() };
        let require = require.iter().map(|name| (*name).to_owned()).collect();
        let wishes = Wishes { require, ..Wishes::from(&Config::default()) };
        let kernel = Some(KernelVersion { version: Version([6, 18, 0]), source: Source::Vdso });
        let plan = decide(Findings { kernel, capabilities, answers, assessments: Vec::new() }, &wishes);
        plan.notes().into_iter().find(|(_, text)| text.contains("no syscall tracepoints")).unwrap()
    }

    #[test]
    fn missing_syscall_tracepoints_are_said_as_loudly_as_they_matter() {
        let by = |provider, evidence| {
            [("task_struct.stack", provider, evidence), ("stack.pt_regs", provider, evidence)]
        };
        let detour = "seen by the raw tracepoint sys_enter";
        assert_eq!(about_tracepoints(&[], &by("selfprobe-offsets", "")).0, Severity::Debug);
        assert_eq!(about_tracepoints(&[], &by("tracepoint-offsets", detour)).0, Severity::Warning);
        assert_eq!(about_tracepoints(&[], &[]).0, Severity::Warning);
        assert_eq!(about_tracepoints(&["kernel_stacks"], &[]).0, Severity::Warning);
        let (severity, text) = about_tracepoints(&["user_stacks_in_kernel"], &[]);
        assert_eq!(severity, Severity::Error);
        assert!(
            text.contains("user_stacks_in_kernel is required") && text.contains("another kernel"),
            "{text}"
        );
    }

    #[test]
    fn every_capability_is_used_for_something() {
        for name in known_names() {
            assert!(!used_for(name).is_empty(), "{name}");
        }
        assert!(USES.iter().all(|(name, _)| known_names().contains(name)));
    }
}
