//! May this host run this plugin, by what its manifest says?

use super::{Door, Manifest, Refusal, c, schema};
use serde_json::{Map, Value};
use stacksonde_abi::ABI_VERSION;
use stacksonde_plugin::{Capabilities, Outcome};
use std::path::Path;

/// Kinds that this host knows; a plugin with none of them has nothing to offer.
const KINDS: [&str; 3] = ["offset-provider", "safety-check", "exporter"];

/// The format that this host writes, as manifests and offers spell it.
pub const BATCH_FORMAT: &str = "1";

/// Checks everything that depends on this host alone.
pub(super) fn check(path: &Path, manifest: &Manifest, door: Door) -> Result<(), Refusal> {
    let refuse = |reason: String, remedy| Err(Refusal::Policy { path: path.into(), reason, remedy });
    let build = &manifest.build;
    if manifest.schema != 1 {
        return refuse(format!("its manifest has schema {}, not 1", manifest.schema), "update Stacksonde");
    }
    if major(&build.abi) != major(ABI_VERSION) {
        let reason = format!("it is built for plugin ABI {}, this host has {ABI_VERSION}", build.abi);
        return refuse(reason, "install the build for this release");
    }
    if build.target != stacksonde_plugin::manifest::TARGET {
        let reason = format!("it is built for {}, not {}", build.target, stacksonde_plugin::manifest::TARGET);
        return refuse(reason, "install the build for this machine");
    }
    if door == Door::C {
        if build.kinds != ["exporter"] || build.entry != c::SYMBOL {
            return refuse(
                "a plugin through the C door is an exporter, and exports `stacksonde_plugin_c_1`".into(),
                "say STACKSONDE_EXPORTER of stacksonde_plugin.h",
            );
        }
    } else if build.panic != "unwind" {
        let reason = format!("it is built with panic = \"{}\"", build.panic);
        return refuse(reason, "build it with panic = \"unwind\", or a panic in it would end the agent");
    }
    if !build.kinds.iter().any(|kind| KINDS.contains(&kind.as_str())) {
        let reason = format!("it is none of {} but {:?}", KINDS.join(", "), build.kinds);
        return refuse(reason, "update Stacksonde");
    }
    let formats = &manifest.plugin.batch_formats;
    let is_exporter = build.kinds.iter().any(|kind| kind == "exporter");
    if is_exporter && !formats.is_empty() && !formats.iter().any(|format| format == BATCH_FORMAT) {
        let reason = format!("it reads batches of format {}, not {BATCH_FORMAT}", formats.join(", "));
        return refuse(reason, "install the build for this release");
    }
    Ok(())
}

/// Checks what the plugin needs against what the system offers.
///
/// # Errors
///
/// [`Refusal::Needs`] with the first capability that is absent or could not be probed.
pub fn check_needs(manifest: &Manifest, capabilities: &Capabilities) -> Result<(), Refusal> {
    for name in &manifest.plugin.needs {
        let reason = match capabilities.get(name) {
            Some(Outcome::Present) => continue,
            Some(Outcome::Absent { reason, remedy }) => format!("{reason}; {remedy}"),
            Some(Outcome::Unknown { error }) => format!("could not be probed: {error}"),
            None => "this host does not know it; update Stacksonde".into(),
        };
        return Err(Refusal::Needs {
            plugin: manifest.plugin.name.clone(),
            capability: name.clone(),
            reason,
        });
    }
    Ok(())
}

/// Checks the keys of an instance, which stand in the table `section` (`exporters.files.config`), against what
/// the plugin says that it takes. A plugin without a schema takes anything, and judges it itself.
///
/// # Errors
///
/// [`Refusal::Config`] with everything that is wrong.
pub fn check_config(manifest: &Manifest, section: &str, config: &Map<String, Value>) -> Result<(), Refusal> {
    let schema = manifest.plugin.config_schema.as_ref();
    let problems = schema.map_or_else(Vec::new, |schema| schema::check(schema, section, config));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Refusal::Config { plugin: manifest.plugin.name.clone(), problems })
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a manifest that this host accepts, with `change` applied.
    fn manifest(change: impl FnOnce(&mut Value)) -> Manifest {
        let mut manifest = serde_json::json!({
            "schema": 1,
            "build": {
                "abi": ABI_VERSION, "target": stacksonde_plugin::manifest::TARGET, "panic": "unwind",
                "kinds": ["exporter"], "version": "1", "entry": "stacksonde_plugin_1_x"
            },
            "plugin": { "name": "x", "license": "MIT" }
        });
        change(&mut manifest);
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn an_exporter_that_reads_other_batches_only_is_refused() {
        let check = |formats: Value| {
            check(Path::new("/x.so"), &manifest(|it| it["plugin"]["batch_formats"] = formats), Door::Rust)
        };
        check(serde_json::json!(["2", "1"])).unwrap();
        let sentence = check(serde_json::json!(["2", "3"])).unwrap_err().to_string();
        assert!(sentence.contains("reads batches of format 2, 3, not 1"), "{sentence}");
    }

    #[test]
    fn through_the_c_door_come_exporters_with_its_symbol() {
        let check = |kind: &str, entry: &str| {
            let manifest = manifest(|it| {
                it["build"]["kinds"] = serde_json::json!([kind]);
                it["build"]["entry"] = entry.into();
                it["build"]["panic"] = "none".into();
            });
            check(Path::new("/x.so"), &manifest, Door::C)
        };
        check("exporter", c::SYMBOL).unwrap();
        for (kind, entry) in [("safety-check", c::SYMBOL), ("exporter", "other")] {
            assert!(check(kind, entry).unwrap_err().to_string().contains("through the C door"));
        }
    }

    #[test]
    fn what_a_plugin_needs_and_is_not_there_is_named_with_the_remedy() {
        let manifest = manifest(|it| it["plugin"]["needs"] = serde_json::json!(["kernel.btf"]));
        let needs = |outcome| {
            let found = std::iter::once(("kernel.btf".to_owned(), outcome)).collect();
            check_needs(&manifest, &Capabilities(found)).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(needs(Outcome::Present), Ok(()));
        let absent = Outcome::Absent { reason: "no BTF".into(), remedy: "rebuild the kernel".into() };
        let expected = "plugin `x` needs the capability `kernel.btf`: no BTF; rebuild the kernel";
        assert_eq!(needs(absent), Err(expected.into()));
        let sentence = needs(Outcome::Unknown { error: "EIO".into() }).unwrap_err();
        assert!(sentence.contains("could not be probed: EIO"), "{sentence}");
        let sentence = check_needs(&manifest, &Capabilities::default()).unwrap_err().to_string();
        assert!(sentence.contains("this host does not know it"), "{sentence}");
    }

    #[test]
    fn an_instances_keys_are_judged_by_the_schema_all_at_once() {
        let schema = serde_json::json!({
            "type": "object", "required": ["path"], "properties": { "keep": { "type": "integer" } }
        });
        let manifest = manifest(|it| it["plugin"]["config_schema"] = schema);
        let config = Map::from_iter([("keep".to_owned(), Value::from("x"))]);
        let sentence = check_config(&manifest, "exporters.a.config", &config).unwrap_err().to_string();
        let expected = "plugin `x`: `exporters.a.config.path` is not set; allowed: any value; \
                        `exporters.a.config.keep` is \"x\"; allowed: a whole number; ";
        assert!(sentence.starts_with(expected), "{sentence}");
    }
}
