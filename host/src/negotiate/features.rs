//! Features for the user, and the ways to implement them.

use super::facts::{Fact, Refusal};
use super::hazards::NO_USER_READS;
use serde::Serialize;
use stacksonde_plugin::fact::{
    PID_LEVEL, PID_NUMBERS, STACK_PT_REGS, TASK_STRUCT_GROUP_LEADER, TASK_STRUCT_STACK,
    TASK_STRUCT_THREAD_PID, UPID_NR,
};
use stacksonde_plugin::{Capabilities, Outcome};

/// Samples of running threads, at all.
pub const SAMPLES: &str = "samples";
/// User stacks of samples taken in user mode.
pub const USER_STACKS: &str = "user_stacks";
/// The user part of samples taken in the kernel.
pub const USER_STACKS_IN_KERNEL: &str = "user_stacks_in_kernel";
/// Kernel stacks of samples taken in the kernel.
pub const KERNEL_STACKS: &str = "kernel_stacks";
/// Names of kernel functions.
pub const KERNEL_NAMES: &str = "kernel_names";
/// Events of fork, exec, mappings and exit.
pub const PROCESS_NOTICES: &str = "process_notices";
/// Times of samples that no program is in step with.
pub const SAMPLING_TIMES: &str = "sampling_times";
/// Ids as our own pid namespace has them; only wanted where that is not the initial one.
pub const PROCESS_IDS: &str = "process_ids";

/// The extent to which a feature is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All of it.
    On,
    /// Less than all, see the reason.
    Reduced,
    /// Nothing.
    Off,
}

/// A feature as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureState {
    /// Its name.
    pub name: &'static str,
    /// The extent to which it is available.
    pub state: State,
    /// The way that was taken; empty if it is off.
    pub way: &'static str,
    /// Why it is not all there; empty if it is.
    pub reason: String,
    /// A remedy; empty if none is known.
    pub remedy: String,
    /// The features, capabilities and facts that its best way needs.
    pub needs: Vec<&'static str>,
}

/// One way to a feature.
struct Way {
    name: &'static str,
    gives: State,
    features: &'static [&'static str],
    capabilities: &'static [&'static str],
    facts: &'static [&'static str],
    /// Mitigations that rule it out, with what they take away.
    unless: &'static [(&'static str, &'static str)],
}

struct Feature {
    name: &'static str,
    /// Best first.
    ways: &'static [Way],
}

const WAY: Way =
    Way { name: "default", gives: State::On, features: &[], capabilities: &[], facts: &[], unless: &[] };

/// Reading of what facts lead to, by programs.
const KERNEL_READS: &str = "bpf.helper.probe_read_kernel";

const KERNELS_OWN_WALK: (&str, &str) = (
    NO_USER_READS,
    "user memory is not read for fear of a kernel bug (see the hazards): the kernel walks by frame \
     pointer, at most kernel.perf_event_max_stack frames",
);

/// Every feature; each after those that it needs.
const FEATURES: [Feature; 8] = [
    Feature {
        name: SAMPLES,
        ways: &[Way {
            capabilities: &[
                "bpf.syscall",
                "bpf.prog.perf_event",
                "perf.cpu_clock",
                "bpf.map.ringbuf",
                "bpf.map.array_of_maps",
            ],
            ..WAY
        }],
    },
    // The event's own registers serve.
    Feature {
        name: USER_STACKS,
        ways: &[
            Way {
                features: &[SAMPLES],
                capabilities: &["cap.sys_ptrace"],
                unless: &[KERNELS_OWN_WALK],
                ..WAY
            },
            // Mappings and memory of other users' processes cannot be read: their stacks end early and have no names.
            Way {
                name: "own-processes",
                gives: State::Reduced,
                features: &[SAMPLES],
                unless: &[KERNELS_OWN_WALK],
                ..WAY
            },
            Way { name: "kernel-walk", gives: State::Reduced, features: &[SAMPLES], ..WAY },
        ],
    },
    // Another way will be the helper `bpf_task_pt_regs` (5.15+, needs BTF): one more line here.
    Feature {
        name: USER_STACKS_IN_KERNEL,
        ways: &[
            Way {
                features: &[USER_STACKS],
                capabilities: &[KERNEL_READS],
                facts: &[TASK_STRUCT_STACK, STACK_PT_REGS],
                unless: &[KERNELS_OWN_WALK],
                ..WAY
            },
            Way {
                name: "kernel-walk",
                gives: State::Reduced,
                features: &[USER_STACKS],
                capabilities: &[KERNEL_READS],
                facts: &[TASK_STRUCT_STACK, STACK_PT_REGS],
                ..WAY
            },
        ],
    },
    Feature { name: KERNEL_STACKS, ways: &[Way { features: &[SAMPLES], ..WAY }] },
    Feature {
        name: KERNEL_NAMES,
        ways: &[Way { features: &[KERNEL_STACKS], capabilities: &["kallsyms.addresses"], ..WAY }],
    },
    Feature {
        name: PROCESS_NOTICES,
        ways: &[
            Way { name: SIDE_BAND, features: &[SAMPLES], capabilities: &["perf.sideband"], ..WAY },
            // Exec and exit at once; mappings are read from /proc at the first sample of a process.
            Way {
                name: TRACEPOINTS,
                gives: State::Reduced,
                features: &[SAMPLES],
                capabilities: &["bpf.prog.raw_tracepoint"],
                ..WAY
            },
            // /proc is looked through every second; short-lived processes may be missed.
            Way { name: SWEEP, gives: State::Reduced, features: &[SAMPLES], ..WAY },
        ],
    },
    Feature {
        name: SAMPLING_TIMES,
        ways: &[
            Way { name: RANDOM, features: &[SAMPLES], capabilities: &["perf.period"], ..WAY },
            // What a program does in step with the period is seen too often or not at all.
            Way { name: FIXED, gives: State::Reduced, features: &[SAMPLES], ..WAY },
        ],
    },
    Feature {
        name: PROCESS_IDS,
        ways: &[
            Way {
                name: FACTS,
                features: &[SAMPLES],
                capabilities: &[KERNEL_READS],
                facts: &[TASK_STRUCT_GROUP_LEADER, TASK_STRUCT_THREAD_PID, PID_LEVEL, PID_NUMBERS, UPID_NR],
                ..WAY
            },
            // Only for tasks directly in our namespace: what runs in one within it is not told apart.
            Way {
                name: HELPER,
                gives: State::Reduced,
                features: &[SAMPLES],
                capabilities: &["bpf.helper.get_ns_current_pid_tgid"],
                ..WAY
            },
        ],
    },
];

/// The way of [`PROCESS_NOTICES`] by perf's side band.
pub const SIDE_BAND: &str = "side-band";
/// The way of [`PROCESS_NOTICES`] by the raw tracepoints of exec and exit.
pub const TRACEPOINTS: &str = "tracepoints";
/// The way of [`PROCESS_NOTICES`] by looking through `/proc`.
pub const SWEEP: &str = "sweep";
/// The way of [`SAMPLING_TIMES`] by periods that change at random.
pub const RANDOM: &str = "random";
/// The way of [`SAMPLING_TIMES`] by a fixed period.
pub const FIXED: &str = "fixed";
/// The way of [`PROCESS_IDS`] by offsets.
pub const FACTS: &str = "facts";
/// The way of [`PROCESS_IDS`] by `bpf_get_ns_current_pid_tgid`.
pub const HELPER: &str = "helper";

/// The features for which a capability is used, by any way.
pub fn using(capability: &str) -> Vec<&'static str> {
    let uses = |feature: &&Feature| feature.ways.iter().any(|way| way.capabilities.contains(&capability));
    FEATURES.iter().filter(uses).map(|feature| feature.name).collect()
}

/// The name of every feature, in the order of the plan.
pub fn known_names() -> Vec<&'static str> {
    FEATURES.iter().map(|feature| feature.name).collect()
}

/// The facts that the wanted features need on a system with these capabilities, and no others.
pub fn needed_facts(wanted: &[&str], capabilities: &Capabilities) -> Vec<&'static str> {
    let mut needed = Vec::new();
    let mut possible: Vec<&str> = Vec::new();
    for feature in &FEATURES {
        let way = feature.ways.iter().find(|way| {
            way.features.iter().all(|name| possible.contains(name)) && absent(way, capabilities).is_empty()
        });
        let Some(way) = way else { continue };
        possible.push(feature.name);
        if wanted.contains(&feature.name) {
            needed.extend(way.facts.iter().filter(|fact| !needed.contains(*fact)).collect::<Vec<_>>());
        }
    }
    needed
}

/// The inputs from which the features are decided.
pub(super) struct Ground<'a> {
    pub(super) capabilities: &'a Capabilities,
    pub(super) facts: &'a [Fact],
    pub(super) refusals: &'a [Refusal],
    pub(super) mitigations: &'a [&'static str],
}

/// Decides each wanted feature.
pub(super) fn decide(wanted: &[&str], ground: &Ground<'_>) -> Vec<FeatureState> {
    let mut decided: Vec<FeatureState> = Vec::new();
    for feature in FEATURES.iter().filter(|feature| wanted.contains(&feature.name)) {
        let state = one(feature, ground, &decided);
        decided.push(state);
    }
    decided
}

fn one(feature: &Feature, ground: &Ground<'_>, decided: &[FeatureState]) -> FeatureState {
    let obstacles: Vec<_> = feature.ways.iter().map(|way| obstacles(way, ground, decided)).collect();
    let chosen = feature.ways.iter().zip(&obstacles).find(|(_, obstacles)| obstacles.is_empty());
    let state = chosen.map_or(State::Off, |(way, _)| way.gives);
    // Why it is not the best way; of the best way that was taken, what nobody could tell.
    let (reason, remedy) = match (chosen, obstacles.first()) {
        (Some((way, _)), _) if way.gives == State::On => (unknown(way, ground.capabilities), String::new()),
        (_, Some(best)) => {
            (join(best.iter().map(|o| o.reason.clone())), join(best.iter().flat_map(|o| o.remedies.clone())))
        }
        (_, None) => (String::new(), String::new()),
    };
    let needs =
        feature.ways.first().map(|w| [w.features, w.capabilities, w.facts].concat()).unwrap_or_default();
    let way = chosen.map_or("", |(way, _)| way.name);
    FeatureState { name: feature.name, state, way, reason, remedy, needs }
}

/// Something in the way.
struct Obstacle {
    reason: String,
    remedies: Vec<String>,
}

fn obstacles(way: &Way, ground: &Ground<'_>, decided: &[FeatureState]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for name in way.features {
        if decided.iter().any(|feature| feature.name == *name && feature.state == State::Off) {
            // Why that one is off is said there, once.
            found.push(Obstacle { reason: format!("needs {name}"), remedies: Vec::new() });
        }
    }
    if !found.is_empty() {
        // What else it needs was not asked for, so nothing can be said about it.
        return found;
    }
    for (names, reason, remedy) in absent(way, ground.capabilities) {
        found.push(Obstacle { reason: format!("{}: {reason}", names.join(", ")), remedies: vec![remedy] });
    }
    for fact in way.facts {
        if !ground.facts.iter().any(|found| found.name == *fact) {
            found.push(unknown_fact(fact, ground.refusals));
        }
    }
    for (mitigation, reason) in way.unless {
        if ground.mitigations.contains(mitigation) {
            found.push(Obstacle { reason: (*reason).into(), remedies: Vec::new() });
        }
    }
    found
}

/// Capabilities of the way that are absent; those with one cause together.
fn absent(way: &Way, capabilities: &Capabilities) -> Vec<(Vec<&'static str>, String, String)> {
    let mut groups: Vec<(Vec<&'static str>, String, String)> = Vec::new();
    for name in way.capabilities {
        let (reason, remedy) = match capabilities.get(name) {
            Some(Outcome::Absent { reason, remedy }) => (reason.clone(), remedy.clone()),
            // What could not be told is tried: its use will tell.
            Some(Outcome::Present | Outcome::Unknown { .. }) => continue,
            None => ("not probed".into(), String::new()),
        };
        match groups.iter_mut().find(|group| group.1 == reason && group.2 == remedy) {
            Some(group) => group.0.push(name),
            None => groups.push((vec![*name], reason, remedy)),
        }
    }
    groups
}

fn unknown(way: &Way, capabilities: &Capabilities) -> String {
    join(way.capabilities.iter().filter_map(|name| match capabilities.get(name) {
        Some(Outcome::Unknown { error }) => Some(format!("{name} could not be told, and is tried: {error}")),
        _ => None,
    }))
}

fn unknown_fact(fact: &str, refusals: &[Refusal]) -> Obstacle {
    let about: Vec<_> = refusals.iter().filter(|r| r.facts.iter().any(|name| name == fact)).collect();
    if about.is_empty() {
        return Obstacle {
            reason: format!("{fact} is unknown: no loaded plugin provides it"),
            remedies: vec![
                "install selfprobe-offsets or tracepoint-offsets and name it in plugins.load".into(),
            ],
        };
    }
    let reasons = join(about.iter().map(|refusal| format!("{}: {}", refusal.provider, refusal.reason)));
    let remedies = about.iter().filter_map(|refusal| refusal.remedy.clone()).collect();
    Obstacle { reason: format!("{fact} is unknown: {reasons}"), remedies }
}

/// Sentences in one line, each once.
fn join(sentences: impl Iterator<Item = String>) -> String {
    let mut kept: Vec<String> = Vec::new();
    for sentence in sentences.filter(|sentence| !sentence.is_empty()) {
        if !kept.contains(&sentence) {
            kept.push(sentence);
        }
    }
    kept.join("; ")
}
