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
