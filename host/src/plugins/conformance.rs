//! Does a plugin do what its contract asks? Everything that a host asks of it, with batches that hold everything.
//!
//! It runs the plugin's code, so it belongs into a process of its own: `stacksonde plugin check`.

use super::{ExporterInstance, ExporterSettings, Health, Plugin, PluginError};
use crate::plugins::policy::BATCH_FORMAT;
use serde_json::{Map, Value};
use stacksonde_plugin::{Capabilities, Offer, Verdict, testing};
use std::time::{Duration, Instant};

/// The longest time for one call.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A name that no host asks for.
const UNKNOWN: &str = "no.such.name";

/// Runs everything that applies to `plugin`. `begin` is told the name of each step before, `end` what came of it
/// after. `config` is what its exporter's instance is given.
pub fn run(
    plugin: &Plugin,
    config: &Map<String, Value>,
    mut begin: impl FnMut(&str),
    mut end: impl FnMut(Result<(), String>),
) {
    let mut step = |name: &str, body: &mut dyn FnMut() -> Result<(), String>| {
        begin(name);
        let outcome = body();
        end(outcome);
    };
    if plugin.is_exporter() {
        exporter(plugin, config, &mut step);
    }
    let is = |kind: &str| plugin.manifest().build.kinds.iter().any(|is| is == kind);
    if is("offset-provider") {
        step("provide offsets", &mut || provider(plugin));
    }
    if is("safety-check") {
        step("judge hazards", &mut || check(plugin));
    }
}

type Step<'a> = dyn FnMut(&str, &mut dyn FnMut() -> Result<(), String>) + 'a;

fn exporter(plugin: &Plugin, config: &Map<String, Value>, step: &mut Step<'_>) {
    let mut running = None;
    step("negotiate and create an instance", &mut || {
        running = Some(start(plugin, config).map_err(|error| error.to_string())?);
        Ok(())
    });
    let Some(instance) = running else { return };
    for (name, batch) in testing::golden_batches() {
        step(&format!("export: {name}"), &mut || export(&instance, &batch));
    }
    let mut instance = Some(instance);
    step("flush, shut down and drop the instance", &mut || {
        let Some(instance) = instance.take() else { return Ok(()) };
        let is_healthy = instance.health() == Health::Good;
        let counters = instance.shutdown(Instant::now() + DEADLINE);
        match counters.last_error.filter(|_| is_healthy) {
            Some(error) => Err(error),
            None if counters.panics > 0 => Err("an earlier call panicked".into()),
            None => Ok(()),
        }
    });
    step("create a second instance after the first", &mut || {
        let instance = start(plugin, config).map_err(|error| error.to_string())?;
        export(&instance, &testing::golden_batch())?;
        instance.shutdown(Instant::now() + DEADLINE);
        Ok(())
    });
}

fn start(plugin: &Plugin, config: &Map<String, Value>) -> Result<ExporterInstance, PluginError> {
    let settings = ExporterSettings {
        name: "check".into(),
        required: true,
        queue_batches: 4,
        queue_bytes: 64 << 20,
        spool: None,
        deadline: DEADLINE,
        keep_capabilities: false,
        config: config.clone(),
    };
    let offer = Offer {
        formats: vec![BATCH_FORMAT.into()],
        max_bytes: u64::from(u32::MAX),
        value_types: vec!["samples".into(), "cpu".into()],
        names_available: true,
        interval_ms: 10_000,
    };
    ExporterInstance::start(plugin, settings, &offer)
}

/// Hands over `batch` and waits for what becomes of it.
fn export(instance: &ExporterInstance, batch: &[u8]) -> Result<(), String> {
    let before = instance.counters();
    if instance.wants().max_bytes.is_some_and(|most| batch.len() as u64 > most) {
        return Ok(());
    }
    instance.submit(batch.into());
    let until = Instant::now() + DEADLINE;
    loop {
        let counters = instance.counters();
        if counters.delivered > before.delivered {
            return Ok(());
        }
        let failed = counters.dropped.total() > before.dropped.total() || counters.retries > before.retries;
        match counters.last_error {
            Some(error) if failed => return Err(error),
            _ if instance.health() == Health::Stuck || Instant::now() > until => {
                return Err(format!("it did not return within {} s", DEADLINE.as_secs()));
            }
            // An exporter that wants batches rarely gets this one together with a later one.
            _ if instance.wants().min_interval_ms > 0 => return Ok(()),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn provider(plugin: &Plugin) -> Result<(), String> {
    let said = |error: PluginError| error.to_string();
    let Some(provider) = plugin.offset_provider().map_err(said)? else { return Ok(()) };
    let provides = provider.provides().map_err(said)?;
    if provides.is_empty() {
        return Err("it provides nothing".into());
    }
    let stated = &plugin.manifest().plugin.provides;
    if let Some(other) = stated.iter().find(|fact| !provides.contains(fact)) {
        return Err(format!("its manifest says that it provides `{other}`, and it does not"));
    }
    provider.probe(&Capabilities::default()).map_err(said)?;
    provider.discover(&[]).map_err(said)?;
    let answers = provider.discover(&[UNKNOWN.to_owned()]).map_err(said)?;
    match answers.as_slice() {
        [Err(_)] => Ok(()),
        _ => Err(format!("it knows `{UNKNOWN}`, which does not exist: {answers:?}")),
    }
}

fn check(plugin: &Plugin) -> Result<(), String> {
    let said = |error: PluginError| error.to_string();
    let Some(check) = plugin.safety_check().map_err(said)? else { return Ok(()) };
    let hazards = check.hazards().map_err(said)?;
    if hazards.is_empty() {
        return Err("it judges no hazard".into());
    }
    for hazard in &hazards {
        check.assess(hazard, [5, 10, 0], &Capabilities::default()).map_err(said)?;
    }
    match check.assess(UNKNOWN, [5, 10, 0], &Capabilities::default()).map_err(said)? {
        Verdict::Safe { evidence } => {
            Err(format!("it calls a kernel safe from `{UNKNOWN}`, which does not exist: {evidence}"))
        }
        _ => Ok(()),
    }
}
