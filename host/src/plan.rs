//! From a configuration and the loaded plugins to a [`Plan`]: the only file that looks, asks and confirms.

use crate::bpf::confirm_entry_registers;
use crate::config::Config;
use crate::kernel::{self, KernelVersion, UnknownCapability};
use crate::negotiate::hazards::{Assessment, in_range};
use crate::negotiate::{Answers, Findings, Provider, Wishes, ask, decide, needed_facts};
use crate::plugins::{OffsetProvider, Plugin};
use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};
use stacksonde_plugin::{Answer, Capabilities, Readiness, Verdict};

pub use crate::negotiate::Plan;

/// What the running system is and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Which upstream kernel this is.
    pub kernel: Option<KernelVersion>,
    /// What it offers, without what `capabilities.deny` takes away.
    pub capabilities: Capabilities,
}

impl Survey {
    /// Probes the system; an unknown name in `capabilities.deny` is an error.
    pub fn take(config: &Config) -> Result<Self, UnknownCapability> {
        kernel::check_denied(&config.capabilities.deny)?;
        let kernel = KernelVersion::detect();
        let mut capabilities = kernel::probe(kernel);
        kernel::deny(&mut capabilities, &config.capabilities.deny)?;
        Ok(Self { kernel, capabilities })
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
        self.provider.discover(queries).map_err(|error| error.to_string())
    }
}

/// Asks `plugins` what the configuration needs, and decides.
pub fn make(config: &Config, survey: &Survey, plugins: &[Plugin]) -> Plan {
    let mut providers = Vec::new();
    for plugin in plugins {
        match plugin.offset_provider() {
            Ok(Some(provider)) => providers.push(PluginProvider { name: plugin.name(), provider }),
            Ok(None) => {}
            Err(error) => tracing::warn!(plugin = plugin.name(), "{error}"),
        }
    }
    let mut asked: Vec<&mut dyn Provider> =
        providers.iter_mut().map(|one| one as &mut dyn Provider).collect();
    let assessments = assess(survey, plugins);
    negotiate(config, survey, &mut asked, assessments)
}

/// Asks the safety checks about the hazards that this kernel may have, and about no others.
fn assess(survey: &Survey, plugins: &[Plugin]) -> Vec<Assessment> {
    let version = survey.kernel.map(|kernel| kernel.version);
    let hazards = in_range(version);
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
    let wishes = Wishes::from(config);
    let needed = needed_facts(&wishes.wanted, &survey.capabilities);
    let answers = ask(&needed, &config.offsets.order, providers, &survey.capabilities);
    let confirmation = confirm(&answers, &survey.capabilities);
    let Survey { kernel, capabilities } = survey.clone();
    decide(Findings { kernel, capabilities, answers, confirmation, assessments }, &wishes)
}

fn confirm(answers: &Answers, capabilities: &Capabilities) -> Result<(), String> {
    let value = |name| answers.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value);
    // They only serve together, and can only be confirmed together.
    let (Some(stack), Some(registers)) = (value(TASK_STRUCT_STACK), value(STACK_PT_REGS)) else {
        return Ok(());
    };
    if !capabilities.has("bpf.run.raw_tracepoint") {
        return Err("that takes bpf.run.raw_tracepoint, which is absent".into());
    }
    confirm_entry_registers(stack, registers).map_err(|error| error.to_string())
}
