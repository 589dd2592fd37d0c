//! The plugins that a configuration names: all of them judged, then loaded; then the exporters' instances.

use super::causes::with_causes;
use crate::config::{Config, Exporter, dotted};
use crate::plugins::{
    self, ExporterInstance, ExporterSettings, FileRules, Inspected, Manifest, Plugin, Refusal,
};
use crate::priority::Turn;
use anyhow::{Context, bail};
use stacksonde_plugin::{Capabilities, Offer};

/// The plugins that loaded, and those that were refused.
#[derive(Default)]
pub(super) struct Loaded {
    /// Loaded plugins.
    pub(super) plugins: Vec<Plugin>,
    /// Plugins that are not installed or were refused, with the reason.
    pub(super) refused: Vec<(String, Refusal)>,
    /// Exporter instances whose keys are not what their plugin takes.
    misconfigured: Vec<(String, Refusal)>,
}

/// Loads the plugins of `plugins.load`. No code of any of them runs before all of them have been judged.
///
/// # Errors
///
/// One of `plugins.required` is missing, is refused or fails to load, or an exporter that is required has wrong
/// keys.
pub(super) fn load_plugins(
    config: &Config,
    capabilities: &Capabilities,
    rules: &FileRules,
) -> anyhow::Result<Loaded> {
    warn_of_preloading();
    let mut loaded = Loaded::default();
    let mut judged = Vec::new();
    for name in &config.plugins.load {
        match judge(config, name, capabilities, rules) {
            Ok(inspected) => judged.push((name, inspected)),
            Err(refusal) => loaded.refuse(config, name, refusal)?,
        }
    }
    for (_, inspected) in &judged {
        for (instance, refusal) in misconfigured(config, inspected) {
            if config.exporters.get(&instance).is_some_and(|exporter| exporter.required) {
                return Err(refusal).with_context(|| format!("exporter `{instance}` is required"));
            }
            loaded.misconfigured.push((instance, refusal));
        }
    }
    // From here on others' code runs.
    let _usual = Turn::as_usual();
    for (name, inspected) in judged {
        match plugins::load(inspected) {
            Ok(plugin) => loaded.plugins.push(plugin),
            Err(refusal) => loaded.refuse(config, name, refusal)?,
        }
    }
    Ok(loaded)
}

/// Judges a plugin by everything that can be known without running its code: its file, what it states, what it needs of
/// the system, and its own keys. Those of its exporters are [`misconfigured`]'s.
pub(super) fn judge(
    config: &Config,
    name: &str,
    capabilities: &Capabilities,
    rules: &FileRules,
) -> Result<Inspected, Refusal> {
    let inspected = plugins::find(name, &config.plugins, rules)?;
    plugins::check_needs(&inspected.manifest, capabilities)?;
    check_own_keys(config, &inspected)?;
    Ok(inspected)
}

/// The exporter instances of a plugin whose keys are not what it takes.
pub(super) fn misconfigured(config: &Config, plugin: &Inspected) -> Vec<(String, Refusal)> {
    let name = &plugin.manifest.plugin.name;
    let instances = config.exporters.iter().filter(|(_, exporter)| exporter.plugin == *name);
    instances
        .filter_map(|(instance, exporter)| {
            let section = dotted(&["exporters", instance, "config"]);
            let refusal = plugins::check_config(&plugin.manifest, &section, &exporter.config).err()?;
            Some((instance.clone(), refusal))
        })
        .collect()
}

/// Checks the keys under `offsets.config` that are this plugin's.
fn check_own_keys(config: &Config, plugin: &Inspected) -> Result<(), Refusal> {
    let name = &plugin.manifest.plugin.name;
    match config.offsets.config.get(name).and_then(|section| section.as_object()) {
        Some(keys) => plugins::check_config(&plugin.manifest, &dotted(&["offsets", "config", name]), keys),
        None => Ok(()),
    }
}

impl Loaded {
    fn refuse(&mut self, config: &Config, name: &String, refusal: Refusal) -> anyhow::Result<()> {
        if config.plugins.required.contains(name) {
            return Err(refusal).with_context(|| format!("plugin `{name}` is required"));
        }
        // What this system does not have, or nobody installed, is told by doctor, and by what goes without.
        if refusal.is_not_found() || matches!(refusal, Refusal::Needs { .. }) {
            tracing::debug!(plugin = name, "{refusal}");
        } else {
            tracing::warn!(plugin = name, "{refusal}");
        }
        self.refused.push((name.clone(), refusal));
        Ok(())
    }

    /// Negotiates with the plugin of exporter `name` and makes the instance, not open yet.
    pub(super) fn prepare(
        &self,
        name: &str,
        section: &Exporter,
        offer: &Offer,
    ) -> anyhow::Result<ExporterInstance> {
        if let Some((_, refusal)) = self.misconfigured.iter().find(|(instance, _)| instance == name) {
            bail!("exporter `{name}` is not started: {refusal}");
        }
        let Some(plugin) = self.plugins.iter().find(|plugin| plugin.name() == section.plugin) else {
            let refusal = self.refused.iter().find(|(refused, _)| *refused == section.plugin);
            let reason =
                refusal.map_or_else(|| "not in plugins.load".into(), |(_, refusal)| refusal.to_string());
            bail!("exporter `{name}` needs plugin `{}`: {reason}", section.plugin);
        };
        Ok(ExporterInstance::prepare(plugin, ExporterSettings::new(name, section), offer)?)
    }
}

/// Everything that is needed to make exporters.
pub(super) struct Exporting {
    loaded: Loaded,
    capabilities: Capabilities,
    offer: Offer,
}

impl Exporting {
    /// From `loaded` plugins, which are offered `offer`, on a system of `capabilities`.
    pub(super) fn new(loaded: Loaded, capabilities: Capabilities, offer: Offer) -> Self {
        Self { loaded, capabilities, offer }
    }

    /// Returns the capabilities that the system offers to plugins.
    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Names of the plugins that are loaded.
    pub(super) fn names(&self) -> Vec<&str> {
        self.loaded.plugins.iter().map(Plugin::name).collect()
    }

    /// Returns the manifest of a plugin that is loaded.
    pub(super) fn manifest(&self, plugin: &str) -> Option<&Manifest> {
        self.loaded.plugins.iter().find(|it| it.name() == plugin).map(Plugin::manifest)
    }

    /// Loads a plugin that was judged.
    pub(super) fn load(&mut self, inspected: Inspected) -> Result<(), Refusal> {
        self.loaded.plugins.push(plugins::load(inspected)?);
        Ok(())
    }

    /// Makes the instance `name`, not open yet; its keys were judged.
    pub(super) fn prepare(&self, name: &str, section: &Exporter) -> anyhow::Result<ExporterInstance> {
        let Some(plugin) = self.loaded.plugins.iter().find(|plugin| plugin.name() == section.plugin) else {
            bail!("exporter `{name}` needs plugin `{}`, which is not loaded", section.plugin);
        };
        Ok(ExporterInstance::prepare(plugin, ExporterSettings::new(name, section), &self.offer)?)
    }

    /// Negotiates with, makes and opens every configured exporter instance.
    ///
    /// # Errors
    ///
    /// One that is required cannot be had.
    pub(super) fn start(&self, config: &Config) -> anyhow::Result<Vec<ExporterInstance>> {
        start_exporters(config, &self.loaded, &self.offer)
    }
}

/// Negotiates with, and makes, every configured exporter instance.
///
/// # Errors
///
/// One that is required cannot be had.
fn start_exporters(config: &Config, loaded: &Loaded, offer: &Offer) -> anyhow::Result<Vec<ExporterInstance>> {
    let mut exporters = Vec::new();
    for (name, section) in &config.exporters {
        match loaded.prepare(name, section, offer) {
            Ok(exporter) => {
                exporter.open();
                exporters.push(exporter);
            }
            Err(error) if section.required => return Err(error),
            Err(error) => tracing::error!("{}; the other exporters go on", with_causes(&error)),
        }
    }
    if exporters.is_empty() {
        tracing::warn!(
            "no exporter is running: profiles go nowhere; add a section `exporters.<name>` to the config"
        );
    }
    Ok(exporters)
}

/// Warns of libraries that are loaded before ours and act before any check of ours.
fn warn_of_preloading() {
    for variable in ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
            tracing::warn!(
                "{variable} is set to {value:?}: code from there may run in this process without any check; \
                 start the agent without it"
            );
        }
    }
}
