//! From a configuration and the loaded plugins to a [`Plan`]: the only file that looks, asks and confirms.

use crate::bpf::{IdFacts, OwnNamespace, confirm_entry_registers, confirm_ids, monotonic_ns};
use crate::config::Config;
use crate::kernel::{self, KernelVersion, PidNamespace, UnknownCapability};
use crate::negotiate::hazards::{Assessment, in_range};
use crate::negotiate::{Fact, Findings, Provider, Questions, Wishes, decide, needed_facts, settle};
use crate::plugins::{OffsetProvider, Plugin};
use crate::telemetry::reached;
use stacksonde_ebpf::selfprobe::Trigger;
use stacksonde_plugin::fact::{
    PID_LEVEL, PID_NUMBERS, STACK_PT_REGS, TASK_STRUCT_GROUP_LEADER, TASK_STRUCT_STACK,
    TASK_STRUCT_THREAD_PID, UPID_NR,
};
use stacksonde_plugin::{Answer, Capabilities, Readiness, Verdict};

pub use crate::negotiate::Plan;

/// The running system and its capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Which upstream kernel this is.
    pub kernel: Option<KernelVersion>,
    /// Its capabilities, without those that `capabilities.deny` takes away.
    pub capabilities: Capabilities,
    /// The pid namespace that we are in.
    pub namespace: PidNamespace,
}

impl Survey {
    /// Probes the system; an unknown name in `capabilities.deny` is an error.
    pub fn take(config: &Config) -> Result<Self, UnknownCapability> {
        kernel::check_denied(&config.capabilities.deny)?;
        let kernel = KernelVersion::detect();
        let mut capabilities = kernel::probe(kernel);
        kernel::deny(&mut capabilities, &config.capabilities.deny)?;
        Ok(Self { kernel, capabilities, namespace: PidNamespace::detect() })
    }
}

/// An offset provider of a loaded plugin, as [`negotiate`] asks it.
struct PluginProvider<'a> {
    name: &'a str,
    provider: OffsetProvider,
}

impl Provider for PluginProvider<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn provides(&mut self) -> Result<Vec<String>, String> {
        self.provider.provides().map_err(|error| error.to_string())
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Result<Readiness, String> {
        self.provider.probe(capabilities).map_err(|error| error.to_string())
    }

    fn discover(&mut self, queries: &[String]) -> Result<Vec<Answer>, String> {
        let answers = self.provider.discover(queries).map_err(|error| error.to_string());
        reached(&format!("asked {} for {}", self.name, queries.join(", ")), monotonic_ns());
        answers
    }
}

/// Asks `plugins` what the configuration needs, and decides.
pub fn make(config: &Config, survey: &Survey, plugins: &[Plugin]) -> Plan {
    let mut providers = Vec::new();
    for plugin in plugins {
        match plugin.offset_provider() {
            Ok(Some(provider)) => {
                let section =
                    config.offsets.config.get(plugin.name()).and_then(|section| section.as_object());
                match section.map_or(Ok(()), |section| provider.configure(section)) {
                    Ok(()) => providers.push(PluginProvider { name: plugin.name(), provider }),
                    Err(error) => tracing::error!("offsets.config: {error}; it is not asked"),
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(plugin = plugin.name(), "{error}"),
        }
    }
    let mut asked: Vec<&mut dyn Provider> =
        providers.iter_mut().map(|one| one as &mut dyn Provider).collect();
    let assessments = assess(config, survey, plugins);
    negotiate(config, survey, &mut asked, assessments)
}

/// Asks the safety checks about the hazards that this kernel may have, and about no others.
fn assess(config: &Config, survey: &Survey, plugins: &[Plugin]) -> Vec<Assessment> {
    let version = survey.kernel.map(|kernel| kernel.version);
    let hazards = in_range(version, &config.hazards.assume);
    if hazards.is_empty() {
        return Vec::new();
    }
    let number = version.map_or([0; 3], |version| version.0);
    let mut assessments = Vec::new();
    for plugin in plugins {
        let check = match plugin.safety_check() {
            Ok(Some(check)) => check,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(plugin = plugin.name(), "{error}");
                continue;
            }
        };
        let known = check.hazards().unwrap_or_default();
        for hazard in hazards.iter().filter(|hazard| known.iter().any(|name| name == *hazard)) {
            let verdict = check
                .assess(hazard, number, &survey.capabilities)
                .unwrap_or_else(|error| Verdict::Unproven { reason: error.to_string() });
            assessments.push(Assessment { hazard: (*hazard).into(), check: plugin.name().into(), verdict });
        }
    }
    assessments
}

/// Asks the loaded offset providers for what the wanted features need, confirms it on our own
/// task, and decides. `assessments`: what safety checks said of the hazards that
/// [`crate::negotiate::hazards::in_range`] names.
pub fn negotiate(
    config: &Config,
    survey: &Survey,
    providers: &mut [&mut dyn Provider],
    assessments: Vec<Assessment>,
) -> Plan {
    let wishes = Wishes::new(config, survey.namespace.is_nested());
    let needed = needed_facts(&wishes.wanted, &survey.capabilities);
    let questions =
        Questions { needed: &needed, order: &config.offsets.order, verify: config.offsets.verify };
    let triggers = triggers(&survey.capabilities);
    let mut confirm = |facts: &[Fact]| confirm(facts, &triggers);
    let answers = settle(&questions, providers, &survey.capabilities, &mut confirm);
    let Survey { kernel, capabilities, .. } = survey.clone();
    decide(Findings { kernel, capabilities, answers, assessments }, &wishes)
}

/// The ways in which our own analysis program may run, best first.
fn triggers(capabilities: &Capabilities) -> Vec<Trigger> {
    let needs: [(Trigger, &[&str]); 3] = [
        (Trigger::TestRun, &["bpf.run.raw_tracepoint"]),
        (Trigger::SyscallTracepoint, &["bpf.prog.tracepoint", "tracefs.syscalls"]),
        (Trigger::RawTracepoint, &["bpf.prog.raw_tracepoint"]),
    ];
    let open = needs.into_iter().filter(|(_, needs)| needs.iter().all(|name| capabilities.has(name)));
    open.map(|(trigger, _)| trigger).collect()
}

/// Tries the facts of one group on our own task.
fn confirm(facts: &[Fact], triggers: &[Trigger]) -> Result<(), String> {
    if triggers.is_empty() {
        return Err("that takes one of bpf.run.raw_tracepoint, tracefs.syscalls, bpf.prog.raw_tracepoint, \
                    and all are absent"
            .into());
    }
    let value = |name: &str| facts.iter().find(|fact| fact.name == name).map(|fact| fact.value);
    if let (Some(stack), Some(registers)) = (value(TASK_STRUCT_STACK), value(STACK_PT_REGS)) {
        return confirm_entry_registers(stack, registers, triggers).map_err(|error| error.to_string());
    }
    match id_facts(value) {
        Some(ids) => confirm_ids(&ids, triggers).map(drop).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn id_facts(value: impl Fn(&str) -> Option<u64>) -> Option<IdFacts> {
    let value = |name: &str| value(name).and_then(|value| u32::try_from(value).ok());
    Some(IdFacts {
        group_leader: value(TASK_STRUCT_GROUP_LEADER)?,
        thread_pid: value(TASK_STRUCT_THREAD_PID)?,
        level: value(PID_LEVEL)?,
        numbers: value(PID_NUMBERS)?,
        nr: value(UPID_NR)?,
    })
}

/// The facts of a plan that lead to ids in our namespace, and that namespace; `None` if the plan has none.
pub(crate) fn own_namespace(plan: &Plan) -> Option<(IdFacts, OwnNamespace)> {
    let facts = id_facts(|name| plan.offset(name))?;
    let namespace = confirm_ids(&facts, &triggers(&plan.capabilities)).ok()?;
    Some((facts, namespace))
}
