//! The plugin contract with real shared libraries: refused before they run, contained when they do.

mod agreed;
mod c_door;
mod checked;
mod compatible;
mod contained;
mod documented;
mod kept;
mod loaded;
mod log;
mod made;
mod refused;

use stacksonde::config;
use stacksonde::plugins::{
    self, ExporterInstance, ExporterSettings, FileRules, Plugin, PluginError, Refusal,
};
use stacksonde_plugin::Offer;
use stacksonde_tests::plugin::Stage;
use stacksonde_tests::profile;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far longer than anything takes that ends at all.
const LONG: Duration = Duration::from_secs(300);

fn is_root() -> bool {
    // SAFETY: a plain question.
    unsafe { libc::geteuid() == 0 }
}

/// Strict where the test can own files as root; else the owner is the one thing not asked.
fn rules() -> FileRules {
    FileRules { trust_any_owner: !is_root(), ..FileRules::default() }
}

fn config(stage: &Stage) -> config::Plugins {
    config::Plugins { directories: vec![stage.path().into()], ..config::Plugins::default() }
}

/// Installs the fixture `name` and loads it.
fn load(name: &str) -> Result<(Stage, Plugin), Refusal> {
    let stage = Stage::new();
    stage.install(name);
    let plugin = plugins::find(name, &config(&stage), &rules()).and_then(plugins::load)?;
    Ok((stage, plugin))
}

fn offer() -> Offer {
    Offer {
        formats: vec!["1".into()],
        max_bytes: 1 << 30,
        value_types: vec!["samples".into()],
        names_available: true,
        interval_ms: 1000,
    }
}

fn settings(name: &str, config: serde_json::Value) -> ExporterSettings {
    ExporterSettings {
        name: name.into(),
        required: false,
        queue_batches: 16,
        queue_bytes: 1 << 20,
        spool: None,
        deadline: LONG,
        keep_capabilities: false,
        config: config.as_object().unwrap().clone(),
    }
}

fn start(plugin: &Plugin, settings: ExporterSettings) -> Result<ExporterInstance, PluginError> {
    ExporterInstance::start(plugin, settings, &offer())
}

fn batch(sequence: u64) -> Arc<[u8]> {
    profile::batch(sequence).into()
}

/// Waits until `condition` holds.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
