//! Selects the exporters to replace, and creates the new ones.

use super::super::admit::{Exporting, judge as judge_plugin, misconfigured};
use super::super::causes::with_causes;
use super::super::start::ConfigArguments;
use crate::config::{Config, Exporter, dotted};
use crate::plugins::{self, ExporterInstance, Exporters, Health, Refusal};
use anyhow::{Context, bail};
use std::collections::BTreeMap;

/// The exporters to be exchanged.
pub(super) struct Change {
    /// New instances, not open yet.
    pub(super) new: Vec<ExporterInstance>,
    /// Names of those that go.
    pub(super) removed: Vec<String>,
    /// Notes on what is wrong though the rest can be applied.
    pub(super) notes: Vec<String>,
    /// Names of those that run and are replaced.
    replaced: Vec<String>,
}

impl Change {
    /// In a phrase; nothing if there is nothing to exchange.
    pub(super) fn describe(&self) -> Option<String> {
        let of = |exporter: &ExporterInstance| match self.replaced.iter().any(|name| name == exporter.name())
        {
            true => format!("{} replaced", exporter.name()),
            false => format!("{} added", exporter.name()),
        };
        let gone = self.removed.iter().map(|name| format!("{name} removed"));
        let parts: Vec<String> = self.new.iter().map(of).chain(gone).collect();
        (!parts.is_empty()).then(|| format!("exporters ({})", parts.join(", ")))
    }
}

/// Makes the instances that `new` asks for and that do not run as it says. Those that were to run before and do not
/// are tried again; if one of these fails, that is only told.
///
/// # Errors
///
/// One that differs cannot be made. Nothing is changed then, but a plugin that was loaded stays so.
pub(super) fn prepare(
    exporting: &mut Exporting,
    arguments: &ConfigArguments,
    running: &Exporters,
    old: &Config,
    new: &Config,
) -> anyhow::Result<Change> {
    let running: BTreeMap<String, bool> = running
        .watch()
        .iter()
        .map(|it| (it.name().to_owned(), !matches!(it.health(), Health::Disabled(_))))
        .collect();
    let runs = |name: &str| running.get(name).copied().unwrap_or(false);
    let differs = |name: &str, section: &Exporter| old.exporters.get(name) != Some(section);
    let wanted: Vec<(&String, &Exporter)> =
        new.exporters.iter().filter(|(name, section)| differs(name, section) || !runs(name)).collect();
    let is_strict = |name: &str| differs(name, &new.exporters[name]);
    let mut failures = judge(exporting, arguments, new, &wanted, &is_strict);
    let mut instances = Vec::new();
    let mut notes = Vec::new();
    for strict in [true, false] {
        for (name, section) in wanted.iter().filter(|(name, _)| is_strict(name) == strict) {
            let made = match failures.remove(*name) {
                Some(failure) => Err(failure),
                None => exporting.prepare(name, section),
            };
            match made {
                Ok(instance) => instances.push(instance),
                Err(error) if strict => {
                    // The others that cannot be had are worth knowing, too.
                    let others = failures.iter().filter(|(name, _)| is_strict(name));
                    let others: String =
                        others.map(|(_, error)| format!("\n{}", with_causes(error))).collect();
                    bail!("{}{others}", with_causes(&error));
                }
                Err(error) => notes.push(format!("still not running: {}", with_causes(&error))),
            }
        }
    }
    let removed = running.keys().filter(|name| !new.exporters.contains_key(*name)).cloned().collect();
    let replaced = running.into_keys().collect();
    Ok(Change { new: instances, removed, notes, replaced })
}

/// Judges the keys of the wanted exporters, and loads the plugins that they need and that are not loaded; code of these
/// runs only if everything can be judged to be sound. Returns what is wrong, by exporter.
fn judge(
    exporting: &mut Exporting,
    arguments: &ConfigArguments,
    new: &Config,
    wanted: &[(&String, &Exporter)],
    is_strict: &dyn Fn(&str) -> bool,
) -> BTreeMap<String, anyhow::Error> {
    let mut failures = BTreeMap::new();
    let mut judged = BTreeMap::new();
    let rules = arguments.file_rules(&new.plugins);
    let of =
        |name: &str, refusal: Refusal| anyhow::Error::from(refusal).context(format!("exporter `{name}`"));
    for (name, section) in wanted {
        if let Some(manifest) = exporting.manifest(&section.plugin) {
            let keys = dotted(&["exporters", name, "config"]);
            if let Err(refusal) = plugins::check_config(manifest, &keys, &section.config) {
                failures.insert((*name).clone(), of(name, refusal));
            }
            continue;
        }
        let found =
            judge_plugin(new, &section.plugin, exporting.capabilities(), &rules).and_then(|inspected| {
                match misconfigured(new, &inspected).into_iter().find(|(instance, _)| instance == *name) {
                    Some((_, refusal)) => Err(refusal),
                    None => Ok(inspected),
                }
            });
        match found {
            Ok(inspected) => _ = judged.insert(&section.plugin, inspected),
            Err(refusal) => _ = failures.insert((*name).clone(), of(name, refusal)),
        }
    }
    if failures.keys().any(|name| is_strict(name)) {
        return failures;
    }
    for (plugin, inspected) in judged {
        if let Err(error) = exporting.load(inspected).with_context(|| format!("plugin `{plugin}`")) {
            let text = with_causes(&error);
            for (name, _) in wanted.iter().filter(|(_, section)| section.plugin == **plugin) {
                failures.insert((*name).clone(), anyhow::anyhow!("{text}"));
            }
        }
    }
    failures
}
