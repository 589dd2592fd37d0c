//! The decision, as data: logged, printed by `stacksonde doctor`, and followed by the agent.

use super::ask::Answers;
use super::facts::{Fact, Refusal};
use super::features::{self, FeatureState, Ground, SAMPLES, State};
use super::hazards::{self, Assessment, Finding};
use crate::config::{Config, OnUnproven};
use crate::kernel::KernelVersion;
use serde::Serialize;
use stacksonde_plugin::Capabilities;

/// The decisions for this system, and the reasons why there is not more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Which upstream kernel this is, and how that is known.
    pub kernel: Option<KernelVersion>,
    /// The capabilities that the system offers.
    pub capabilities: Capabilities,
    /// The facts that are used.
    pub facts: Vec<Fact>,
    /// Why providers did not give facts, or what they gave is not used.
    pub refusals: Vec<Refusal>,
    /// Known kernel bugs.
    pub hazards: Vec<Finding>,
    /// The mitigations of hazards: `no_user_reads`.
    pub mitigations: Vec<&'static str>,
    /// The features for the user.
    pub features: Vec<FeatureState>,
    /// All in all.
    pub level: Level,
    /// Why the agent cannot run; empty if it can.
    pub missing: Vec<Missing>,
}

/// All in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Every wanted feature is on.
    Full,
    /// Some feature is reduced or off.
    Reduced,
    /// Nothing useful can be sampled, or something required is missing.
    CannotRun,
}

/// Something without which the agent cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The feature or hazard.
    pub what: String,
    /// Why.
    pub reason: String,
    /// A remedy for that.
    pub remedy: String,
}

/// The requirements of the operator for a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Features to go for.
    pub wanted: Vec<&'static str>,
    /// Features without which the agent shall not start.
    pub require: Vec<String>,
    /// The treatment of hazards that are neither proved nor excluded.
    pub on_unproven: OnUnproven,
    /// Hazards that this kernel is assumed to possibly have, whatever its version.
    pub assume: Vec<String>,
}

impl Wishes {
    /// Returns the requirements of a configuration, in the initial pid namespace or in another one.
    pub fn new(config: &Config, nested: bool) -> Self {
        let mut wishes = Self::from(config);
        if nested {
            wishes.wanted.push(features::PROCESS_IDS);
        }
        wishes
    }
}

impl From<&Config> for Wishes {
    fn from(config: &Config) -> Self {
        Self {
            wanted: features::known_names()
                .into_iter()
                .filter(|name| *name != features::PROCESS_IDS)
                .collect(),
            require: config.sampling.require.clone(),
            on_unproven: config.hazards.on_unproven,
            assume: config.hazards.assume.clone(),
        }
    }
}

/// The inputs from which a plan is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Which upstream kernel this is.
    pub kernel: Option<KernelVersion>,
    /// The capabilities that the system offers, after denials.
    pub capabilities: Capabilities,
    /// The answers of the providers.
    pub answers: Answers,
    /// The verdicts of the safety checks.
    pub assessments: Vec<Assessment>,
}

/// Decides.
pub fn decide(findings: Findings, wishes: &Wishes) -> Plan {
    let Findings { kernel, capabilities, answers, assessments } = findings;
    let Answers { facts, refusals } = answers;
    let hazards =
        hazards::judge(kernel.map(|kernel| kernel.version), &wishes.assume, &assessments, wishes.on_unproven);
    let mitigations: Vec<_> = hazards.iter().filter_map(|hazard| hazard.mitigation).collect();
    let ground =
        Ground { capabilities: &capabilities, facts: &facts, refusals: &refusals, mitigations: &mitigations };
    let features = features::decide(&wishes.wanted, &ground);
    let missing = missing(&features, &hazards, &wishes.require);
    let level = if !missing.is_empty() {
        Level::CannotRun
    } else if features.iter().all(|feature| feature.state == State::On) {
        Level::Full
    } else {
        Level::Reduced
    };
    Plan { kernel, capabilities, facts, refusals, hazards, mitigations, features, level, missing }
}

fn missing(features: &[FeatureState], hazards: &[Finding], require: &[String]) -> Vec<Missing> {
    let refused = hazards.iter().filter(|hazard| hazard.refuses).map(|hazard| Missing {
        what: hazard.hazard.into(),
        reason: hazard.reason.clone(),
        remedy: format!("{}, or set hazards.on_unproven to \"mitigate\"", hazard.remedy),
    });
    let off =
        std::iter::once(SAMPLES).chain(require.iter().map(String::as_str)).filter_map(|name| match features
            .iter()
            .find(|feature| feature.name == name)
        {
            Some(feature) if feature.state == State::Off => Some(Missing {
                what: name.into(),
                reason: feature.reason.clone(),
                remedy: feature.remedy.clone(),
            }),
            Some(_) => None,
            None => Some(Missing {
                what: name.into(),
                reason: "required, but not a feature".into(),
                remedy: format!("sampling.require knows {}", features::known_names().join(", ")),
            }),
        });
    refused.chain(off).collect()
}

impl Plan {
    /// The value of a fact, if it is known and confirmed.
    pub fn offset(&self, fact: &str) -> Option<u64> {
        self.facts.iter().find(|found| found.name == fact).map(|found| found.value)
    }

    /// A feature as it was decided; `None` if it is not wanted.
    pub fn feature(&self, name: &str) -> Option<&FeatureState> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// Returns the extent to which a feature is available.
    pub fn state(&self, name: &str) -> State {
        self.feature(name).map_or(State::Off, |feature| feature.state)
    }

    /// The way to a feature that was taken; empty if it is off or not wanted.
    pub fn way(&self, name: &str) -> &'static str {
        self.feature(name).map_or("", |feature| feature.way)
    }

    /// Tells whether a feature is available in full.
    pub fn is_on(&self, name: &str) -> bool {
        self.state(name) == State::On
    }

    /// Takes something off a feature that is on, for this reason and with this remedy.
    pub fn reduce(&mut self, name: &str, reason: &str, remedy: &str) {
        let feature =
            self.features.iter_mut().find(|feature| feature.name == name && feature.state == State::On);
        if let Some(feature) = feature {
            feature.state = State::Reduced;
            (feature.reason, feature.remedy) = (reason.into(), remedy.into());
            if self.level == Level::Full {
                self.level = Level::Reduced;
            }
        }
    }

    /// Tells whether a mitigation applies.
    pub fn mitigates(&self, mitigation: &str) -> bool {
        self.mitigations.contains(&mitigation)
    }

    /// One message that lists what is missing and how to get it; `None` if the agent can run.
    pub fn refusal(&self) -> Option<String> {
        let line = |missing: &Missing| {
            let Missing { what, reason, remedy } = missing;
            let remedy =
                if remedy.is_empty() { String::new() } else { format!(" (to change that: {remedy})") };
            format!("{what}: {reason}{remedy}")
        };
        let lines: Vec<_> = self.missing.iter().map(line).collect();
        (!lines.is_empty()).then(|| format!("cannot run on this system: {}", lines.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::{
        KERNEL_NAMES, KERNEL_STACKS, PROCESS_NOTICES, USER_STACKS, USER_STACKS_IN_KERNEL, needed_facts,
    };
    use super::*;
    use crate::kernel::{Source, Version, known_names};
    use stacksonde_plugin::Outcome;
    use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};

    fn everything() -> Capabilities {
        Capabilities(known_names().into_iter().map(|name| (name.into(), Outcome::Present)).collect())
    }

    fn without(names: &[&str]) -> Capabilities {
        let mut capabilities = everything();
        for name in names {
            let absent = Outcome::Absent { reason: "taken away".into(), remedy: "give it back".into() };
            capabilities.0.insert((*name).into(), absent).unwrap();
        }
        capabilities
    }

    fn fact(name: &str, value: u64) -> Fact {
        let [provider, method, evidence] = ["selfprobe-offsets", "test", "prepared"].map(String::from);
        Fact { name: name.into(), value, provider, method, evidence }
    }

    fn findings(capabilities: Capabilities) -> Findings {
        let facts = vec![fact(TASK_STRUCT_STACK, 32), fact(STACK_PT_REGS, 16216)];
        Findings {
            kernel: Some(KernelVersion { version: Version([6, 18, 44]), source: Source::Vdso }),
            capabilities,
            answers: Answers { facts, refusals: Vec::new() },
            assessments: Vec::new(),
        }
    }

    fn wishes() -> Wishes {
        Wishes::from(&Config::default())
    }

    fn states(plan: &Plan) -> Vec<(&str, State)> {
        let not_on = plan.features.iter().filter(|feature| feature.state != State::On);
        not_on.map(|feature| (feature.name, feature.state)).collect()
    }

    #[test]
    fn everything_is_on_where_everything_is_there() {
        let plan = decide(findings(everything()), &wishes());
        assert_eq!(states(&plan), []);
        assert_eq!((plan.level, plan.refusal()), (Level::Full, None));
        assert_eq!(plan.offset(STACK_PT_REGS), Some(16216));
        assert!(plan.features.iter().all(|feature| feature.reason.is_empty()));
    }

    #[test]
    fn a_missing_capability_takes_away_what_needs_it_and_nothing_else() {
        use State::{Off, Reduced};
        let table: [(&str, &[(&str, State)]); 8] = [
            ("kernel.btf", &[]),
            ("tracefs.mounted", &[]),
            ("tracefs.syscalls", &[]),
            ("lockdown.none", &[]),
            ("bpf.prog.raw_tracepoint", &[]),
            ("cap.sys_ptrace", &[(USER_STACKS, Reduced)]),
            ("kallsyms.addresses", &[(KERNEL_NAMES, Off)]),
            ("perf.sideband", &[(PROCESS_NOTICES, Reduced)]),
        ];
        for (name, expected) in table {
            let plan = decide(findings(without(&[name])), &wishes());
            assert_eq!(states(&plan), expected, "without {name}");
            let level = if expected.is_empty() { Level::Full } else { Level::Reduced };
            assert_eq!(plan.level, level, "without {name}");
            for feature in plan.features.iter().filter(|feature| feature.state != State::On) {
                assert_eq!(feature.reason, format!("{name}: taken away"));
                assert_eq!(feature.remedy, "give it back");
            }
        }
    }

    #[test]
    fn without_what_samples_need_it_cannot_run_and_lists_all_of_it() {
        for name in [
            "bpf.syscall",
            "bpf.prog.perf_event",
            "perf.cpu_clock",
            "bpf.map.ringbuf",
            "bpf.map.array_of_maps",
        ] {
            let plan = decide(findings(without(&[name])), &wishes());
            assert_eq!(plan.level, Level::CannotRun, "without {name}");
            assert!(plan.features.iter().all(|feature| feature.state == State::Off), "without {name}");
        }
        let plan = decide(findings(without(&["bpf.syscall", "perf.cpu_clock"])), &wishes());
        assert_eq!(
            plan.refusal().unwrap(),
            "cannot run on this system: samples: bpf.syscall, perf.cpu_clock: taken away (to change that: give it back)"
        );
    }

    #[test]
    fn what_could_not_be_told_is_tried() {
        let mut capabilities = everything();
        let unknown = Outcome::Unknown { error: "bpf(2): out of memory".into() };
        capabilities.0.insert("bpf.map.ringbuf".into(), unknown);
        let plan = decide(findings(capabilities), &wishes());
        assert_eq!(plan.level, Level::Full);
        assert!(plan.feature(SAMPLES).unwrap().reason.contains("out of memory"));
    }

    #[test]
    fn without_either_stack_fact_kernel_samples_have_no_user_part_and_the_refusals_say_why() {
        for (kept, lost) in [(STACK_PT_REGS, TASK_STRUCT_STACK), (TASK_STRUCT_STACK, STACK_PT_REGS)] {
            let mut findings = findings(everything());
            findings.answers.facts.retain(|fact| fact.name == kept);
            findings.answers.refusals.push(Refusal {
                provider: "selfprobe-offsets".into(),
                facts: vec![lost.into()],
                reason: "bpf.run.raw_tracepoint: too old".into(),
                remedy: Some("Linux 5.10".into()),
            });
            let plan = decide(findings, &wishes());
            assert_eq!(states(&plan), [(USER_STACKS_IN_KERNEL, State::Off)]);
            let feature = plan.feature(USER_STACKS_IN_KERNEL).unwrap();
            assert_eq!(
                feature.reason,
                format!("{lost} is unknown: selfprobe-offsets: bpf.run.raw_tracepoint: too old")
            );
            assert_eq!(feature.remedy, "Linux 5.10");
        }
    }

    #[test]
    fn without_any_provider_the_remedy_names_a_plugin() {
        let plan = decide(Findings { answers: Answers::default(), ..findings(everything()) }, &wishes());
        assert_eq!(plan.level, Level::Reduced);
        assert!(plan.feature(USER_STACKS_IN_KERNEL).unwrap().remedy.contains("selfprobe-offsets"));
    }

    #[test]
    fn ids_are_only_translated_in_a_nested_pid_namespace() {
        use super::super::features::PROCESS_IDS;
        let nested = Wishes::new(&Config::default(), true);
        assert_eq!(Wishes::new(&Config::default(), false), wishes());
        assert_eq!(needed_facts(&nested.wanted, &everything()).len(), 7);
        let plan = decide(findings(everything()), &nested);
        assert_eq!(states(&plan), [(PROCESS_IDS, State::Reduced)]);
        assert_eq!(plan.way(PROCESS_IDS), "helper");
        let plan = decide(findings(without(&["bpf.helper.get_ns_current_pid_tgid"])), &nested);
        assert_eq!(states(&plan), [(PROCESS_IDS, State::Off)]);
        let mut all = findings(everything());
        for name in
            ["task_struct.group_leader", "task_struct.thread_pid", "pid.level", "pid.numbers", "upid.nr"]
        {
            all.answers.facts.push(fact(name, 8));
        }
        let plan = decide(all, &nested);
        assert_eq!((states(&plan), plan.way(PROCESS_IDS)), (vec![], "facts"));
    }

    #[test]
    fn notices_come_by_the_best_way_that_is_left() {
        for (missing, way) in [
            (&[][..], "side-band"),
            (&["perf.sideband"], "tracepoints"),
            (&["perf.sideband", "bpf.prog.raw_tracepoint"], "sweep"),
        ] {
            assert_eq!(decide(findings(without(missing)), &wishes()).way(PROCESS_NOTICES), way);
        }
    }

    #[test]
    fn a_hazard_reduces_user_stacks_or_stops_the_agent_as_configured() {
        let buggy = || {
            let kernel = Some(KernelVersion { version: Version([6, 1, 20]), source: Source::Vdso });
            Findings { kernel, ..findings(everything()) }
        };
        let plan = decide(buggy(), &wishes());
        assert_eq!(states(&plan), [(USER_STACKS, State::Reduced), (USER_STACKS_IN_KERNEL, State::Reduced)]);
        assert!(plan.mitigates("no_user_reads"));
        assert_eq!(plan.level, Level::Reduced);

        let plan = decide(buggy(), &Wishes { on_unproven: OnUnproven::Ignore, ..wishes() });
        assert_eq!((plan.level, plan.mitigates("no_user_reads")), (Level::Full, false));

        let plan = decide(buggy(), &Wishes { on_unproven: OnUnproven::Refuse, ..wishes() });
        assert_eq!(plan.level, Level::CannotRun);
        let refusal = plan.refusal().unwrap();
        assert!(
            refusal.contains("copy_from_user_nofault") && refusal.contains("hazards.on_unproven"),
            "{refusal}"
        );
    }

    #[test]
    fn a_required_feature_that_is_off_stops_the_agent() {
        let require = |name: &str| Wishes { require: vec![name.into()], ..wishes() };
        let none = || Findings { answers: Answers::default(), ..findings(everything()) };
        assert_eq!(decide(none(), &require(KERNEL_STACKS)).level, Level::Reduced);
        let plan = decide(none(), &require(USER_STACKS_IN_KERNEL));
        assert_eq!(plan.level, Level::CannotRun);
        assert!(plan.refusal().unwrap().contains("no loaded plugin provides it"));
        let plan = decide(none(), &require("kernel_stack"));
        assert!(plan.refusal().unwrap().contains("sampling.require knows samples, "));
    }

    #[test]
    fn only_facts_that_a_possible_and_wanted_feature_needs_are_asked_for() {
        let all = wishes().wanted;
        assert_eq!(needed_facts(&all, &everything()), [TASK_STRUCT_STACK, STACK_PT_REGS]);
        assert!(needed_facts(&[SAMPLES, USER_STACKS, KERNEL_STACKS], &everything()).is_empty());
        assert!(needed_facts(&all, &without(&["perf.cpu_clock"])).is_empty());
    }

    #[test]
    fn the_plan_is_json() {
        let json = serde_json::to_value(decide(findings(without(&["perf.sideband"])), &wishes())).unwrap();
        assert_eq!(json["level"], "reduced");
        assert_eq!(json["kernel"]["version"], "6.18.44");
        assert_eq!(json["facts"][1]["name"], "stack.pt_regs");
        assert_eq!(json["capabilities"]["perf.sideband"]["state"], "absent");
    }
}
