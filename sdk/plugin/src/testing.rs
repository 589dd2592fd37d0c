//! For authors' own tests: an exporter run the way the host does, without a host.
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

use crate::batch::tables::{
    Frame, Function, Line, Location, Mapping, NATIVE, Process, Sample, Stack, Thread, ValueType,
};
use crate::batch::{Header, StringId, Writer};
use crate::manifest::Manifest;
use crate::role::exporter::Entry;
use crate::{Exporter, Instance, Offer, Wants};
use schemars::JsonSchema;
use stacksonde_abi::Fault;
use stacksonde_abi::abi_stable::std_types::{RSlice, RStr};

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

/// Checks `manifest` (the `STACKSONDE_MANIFEST` of `export_plugin!`): it parses, it names the plugin and a
/// license, and its `config_schema` is the schema of `Config`.
///
/// # Errors
///
/// A sentence; for another schema with the right one to paste into `plugin.json`.
pub fn check_manifest<Config: JsonSchema>(manifest: &str) -> Result<Manifest, String> {
    let manifest: Manifest =
        serde_json::from_str(manifest).map_err(|error| format!("the manifest cannot be read: {error}"))?;
    let plugin = &manifest.plugin;
    let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if plugin.name.is_empty() || !plugin.name.bytes().all(is_name) {
        return Err(format!("`{}` is no name: use letters, digits, `-` and `_`", plugin.name));
    }
    if plugin.license.is_empty() {
        return Err("`license` is empty: give an SPDX expression".into());
    }
    let expected = schemars::schema_for!(Config).to_value();
    match &plugin.config_schema {
        Some(stated) if *stated == expected => Ok(manifest),
        stated => Err(format!(
            "`config_schema` is {}, but the configuration's own schema is\n{expected:#}",
            if stated.is_some() { "another" } else { "missing" }
        )),
    }
}

/// A batch of one process with two named stacks of two frames, three samples in all.
///
/// # Panics
///
/// Never: the batch is small.
#[expect(clippy::expect_used, reason = "a batch of a few hundred bytes is not too large")]
pub fn golden_batch() -> Vec<u8> {
    let mut writer =
        Writer::new(Header { sequence: 1, start_ns: 0, end_ns: 10_000_000_000, ..Header::default() });
    let (samples, count) = (writer.string("samples"), writer.string("count"));
    writer.value_type(ValueType { kind: samples, unit: count, per_sample: 1 });
    let (comm, path) = (writer.string("golden"), writer.string("/usr/bin/golden"));
    let empty = StringId::default();
    let process = writer.process(Process {
        pid: 100,
        parent_pid: 1,
        comm,
        executable: path,
        cgroup: empty,
        labels_start: 0,
        labels_count: 0,
    });
    let thread = writer.thread(Thread { process, tid: 100, comm });
    let mapping = writer.mapping(Mapping {
        kind: NATIVE,
        path,
        build_id: empty,
        start: 0x1000,
        limit: 0x2000,
        file_offset: 0,
    });
    let mut location = |name: &str, address| {
        let name = writer.string(name);
        let function = writer.function(Function { name, system_name: empty, file: empty, start_line: 0 });
        let line = writer.line(Line { function, line: 0, column: 0 });
        writer.location(Location { kind: NATIVE, mapping, address, lines_start: line, lines_count: 1 })
    };
    let main = location("main", 0x1100);
    let leaves = [location("parse", 0x1200), location("write", 0x1300)];
    let outcome = writer.string("complete");
    for (leaf, count) in leaves.into_iter().zip([2, 1]) {
        let frames_start = writer.frame(Frame { location: leaf });
        writer.frame(Frame { location: main });
        let stack =
            writer.stack(Stack { frames_start, frames_count: 2, kernel_frames: 0, outcome, complete: 1 });
        writer.sample(Sample { thread, stack, count, timestamps_start: 0, timestamps_count: 0 });
    }
    writer.finish().expect("a small batch")
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
