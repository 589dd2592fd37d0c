//! For authors' own tests: a plugin run the way the host does, without a host.
//!
//! ```
//! use stacksonde_plugin::{Exporter, Failure, Instance, batch::Batch, testing};
//!
//! struct Counter;
//!
//! impl Exporter for Counter {
//!     type Config = ();
//!     fn create(_: Instance, _: ()) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn export(&mut self, batch: &Batch<'_>) -> Result<(), Failure> {
//!         assert_eq!(batch.samples().len(), 2);
//!         Ok(())
//!     }
//! }
//!
//! let batches = [testing::golden_batch()];
//! testing::run_exporter::<Counter>(&serde_json::json!({}), &batches).unwrap();
//! ```

mod golden;

pub use golden::{golden_batch, golden_batches};

use crate::manifest::Manifest;
use crate::role::{self, exporter::Entry};
use crate::{
    Answer, Capabilities, Exporter, Instance, Offer, OffsetProvider, Readiness, SafetyCheck, Verdict, Wants,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use stacksonde_abi::Fault;
use stacksonde_abi::abi_stable::std_types::{RResult, RSlice, RStr, RString};

/// Negotiates with `E`, makes an instance with `config`, hands over `batches`, flushes, shuts down and drops
/// it: through the same layer as in a shared library, so panics are errors here too.
///
/// # Errors
///
/// The first call that failed, with its message.
pub fn run_exporter<E: Exporter>(config: &serde_json::Value, batches: &[Vec<u8>]) -> Result<Wants, String> {
    let entry = Entry::<E>::REF;
    let config = config.to_string();
    let config = RStr::from(config.as_str());
    let offer = json(&Offer {
        formats: vec!["1".into()],
        max_bytes: 64 << 20,
        value_types: vec!["samples".into()],
        names_available: true,
        interval_ms: 10_000,
    })?;
    let said = |what: &'static str| move |fault: Fault| format!("{what}: {}", fault.message);
    let wants =
        (entry.negotiate())(config, RStr::from(offer.as_str())).into_result().map_err(said("negotiate"))?;
    let wants: Wants = serde_json::from_str(&wants).map_err(|error| format!("negotiate: {error}"))?;
    let instance = json(&Instance { name: "test".into() })?;
    let mut object =
        (entry.create())(RStr::from(instance.as_str()), config).into_result().map_err(said("create"))?;
    for batch in batches {
        object.export(RSlice::from_slice(batch)).into_result().map_err(said("export"))?;
    }
    object.flush().into_result().map_err(said("flush"))?;
    object.shutdown().into_result().map_err(said("shutdown"))?;
    object.close().into_result().map_err(said("drop"))?;
    Ok(wants)
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// Asks a new `P` for everything that it provides, as the host does: what it provides, whether it is ready on a
/// system with `capabilities`, and for each fact. Returns the answers by fact.
///
/// # Errors
///
/// The first call that failed, with its message; fewer or more answers than questions; an answer to a question
/// that nobody can answer.
pub fn run_offset_provider<P: OffsetProvider + Default>(
    capabilities: &Capabilities,
) -> Result<Vec<(String, Answer)>, String> {
    let mut object =
        role::provider::create::<P>().into_result().map_err(|fault| fault.message.to_string())?;
    let facts: Vec<String> = answer("provides", object.provides())?;
    let capabilities = json(capabilities)?;
    let _ready: Readiness = answer("probe", object.probe(RStr::from(capabilities.as_str())))?;
    let queries = json(&facts)?;
    let answers: Vec<Answer> = answer("discover", object.discover(RStr::from(queries.as_str())))?;
    if answers.len() != facts.len() {
        return Err(format!("discover: {} answers to {} queries", answers.len(), facts.len()));
    }
    let unknown = r#"["no.such.fact"]"#;
    let unknown: Vec<Answer> = answer("discover", object.discover(RStr::from(unknown)))?;
    if !matches!(unknown.as_slice(), [Err(_)]) {
        return Err(format!("discover: it answered for `no.such.fact`: {unknown:?}"));
    }
    object.close().into_result().map_err(|fault| format!("drop: {}", fault.message))?;
    Ok(facts.into_iter().zip(answers).collect())
}

/// Asks a new `C` to judge each hazard that it knows on the kernel of upstream version `kernel`, as the host does.
///
/// # Errors
///
/// The first call that failed, with its message; a kernel called safe from a hazard that nobody knows.
pub fn run_safety_check<C: SafetyCheck + Default>(
    kernel: [u32; 3],
    capabilities: &Capabilities,
) -> Result<Vec<(String, Verdict)>, String> {
    let mut object = role::check::create::<C>().into_result().map_err(|fault| fault.message.to_string())?;
    let hazards: Vec<String> = answer("hazards", object.hazards())?;
    let capabilities = json(capabilities)?;
    let [major, minor, patch] = kernel;
    let mut assess = |hazard: &str| -> Result<Verdict, String> {
        let capabilities = RStr::from(capabilities.as_str());
        answer("assess", object.assess(RStr::from(hazard), major, minor, patch, capabilities))
    };
    let mut verdicts = Vec::new();
    for hazard in hazards {
        let verdict = assess(&hazard)?;
        verdicts.push((hazard, verdict));
    }
    if let Verdict::Safe { evidence } = assess("no_such_hazard")? {
        return Err(format!("assess: a kernel is called safe from `no_such_hazard`: {evidence}"));
    }
    object.close().into_result().map_err(|fault| format!("drop: {}", fault.message))?;
    Ok(verdicts)
}

fn answer<T: DeserializeOwned>(what: &str, answer: RResult<RString, Fault>) -> Result<T, String> {
    let text = answer.into_result().map_err(|fault| format!("{what}: {}", fault.message))?;
    serde_json::from_str(&text).map_err(|error| format!("{what}: {error}"))
}

/// Reads `manifest` (the `STACKSONDE_MANIFEST` of `export_plugin!`): it parses, and it names the plugin and a
/// license.
///
/// # Errors
///
/// A sentence.
pub fn read_manifest(manifest: &str) -> Result<Manifest, String> {
    let manifest: Manifest =
        serde_json::from_str(manifest).map_err(|error| format!("the manifest cannot be read: {error}"))?;
    let plugin = &manifest.plugin;
    let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if plugin.name.is_empty() || !plugin.name.bytes().all(is_name) {
        return Err(format!("`{}` is not a name: use letters, digits, `-` and `_`", plugin.name));
    }
    if plugin.license.is_empty() {
        return Err("`license` is empty: give an SPDX expression".into());
    }
    Ok(manifest)
}

/// As [`read_manifest`]; besides, the manifest's `config_schema` is the schema of `Config`.
///
/// # Errors
///
/// A sentence; for another schema with the right one to paste into `plugin.json`.
pub fn check_manifest<Config: JsonSchema>(manifest: &str) -> Result<Manifest, String> {
    let manifest = read_manifest(manifest)?;
    let expected = schemars::schema_for!(Config).to_value();
    match &manifest.plugin.config_schema {
        Some(stated) if *stated == expected => Ok(manifest),
        stated => Err(format!(
            "`config_schema` is {}, but the configuration's own schema is\n{expected:#}",
            if stated.is_some() { "another" } else { "missing" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, batch::Batch};

    struct Panics;

    impl Exporter for Panics {
        type Config = ();
        fn create(_: Instance, (): ()) -> Result<Self, String> {
            Ok(Self)
        }
        fn export(&mut self, batch: &Batch<'_>) -> Result<(), Failure> {
            panic!("{} samples", batch.samples().len())
        }
    }

    #[test]
    fn a_panic_of_an_exporter_is_an_error_of_its_test() {
        let error = run_exporter::<Panics>(&serde_json::json!({}), &[golden_batch()]).unwrap_err();
        assert!(error.starts_with("export: export panicked") && error.contains("2 samples"), "{error}");
    }

    #[test]
    fn a_damaged_batch_is_an_error_and_no_panic() {
        let error = run_exporter::<Panics>(&serde_json::json!({}), &[vec![1, 2, 3]]).unwrap_err();
        assert!(error.contains("the batch cannot be read"), "{error}");
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is asked for")]
    struct Config {
        path: String,
    }

    #[test]
    fn a_manifest_without_the_configs_schema_is_told_which() {
        let build = r#"{"abi":"1.0","target":"t","panic":"unwind","kinds":[],"version":"1","entry":"e"}"#;
        let manifest = |schema: &str| {
            format!(r#"{{"schema":1,"build":{build},"plugin":{{"name":"n","license":"MIT"{schema}}}}}"#)
        };
        let error = check_manifest::<Config>(&manifest("")).unwrap_err();
        let (_, schema) = error.split_once('\n').unwrap();
        check_manifest::<Config>(&manifest(&format!(",\"config_schema\":{schema}"))).unwrap();
    }
}
