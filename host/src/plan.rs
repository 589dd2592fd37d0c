//! From a configuration and the loaded plugins to a [`Plan`]: the only file that looks, asks and confirms.

use crate::bpf::confirm_entry_registers;
use crate::config::Config;
use crate::kernel::{self, KernelVersion, UnknownCapability};
use crate::negotiate::hazards::Assessment;
use crate::negotiate::{Answers, Findings, Provider, Wishes, ask, decide, needed_facts};
use stacksonde_plugin::Capabilities;
use stacksonde_plugin::fact::{STACK_PT_REGS, TASK_STRUCT_STACK};

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
