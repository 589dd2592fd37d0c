//! Checks a whole configuration: every value by its rule, then what keys demand of each other.

use super::Config;
use super::keys::Keys;
use super::layer::Layer;
use super::problem::{Origin, Problem, dotted, shown};
use crate::kernel::check_denied;
use serde_json::Value;
use std::collections::BTreeMap;

/// Who set a key or section, by its path.
pub(super) type Origins = BTreeMap<String, Origin>;

impl Config {
    /// Everything that is wrong with these values; empty if they can be used.
    ///
    /// [`super::load`] has done this for what it returns; it is for configurations made or changed in code.
    pub fn validate(&self) -> Vec<Problem> {
        let values = match serde_json::to_value(self) {
            Ok(Value::Object(values)) => values,
            Ok(_) => return vec![Problem::Merge("not a table".into())],
            Err(error) => return vec![Problem::Merge(error.to_string())],
        };
        let layer = Layer { origin: Origin::Unknown, values };
        let mut problems = layer.problems(&Keys::new());
        problems.extend(contradictions(self, &Origins::new()));
        problems
    }
}

/// Finds contradictions between keys: names of exporters, and plugins that are needed and not loaded.
pub(super) fn contradictions(config: &Config, origins: &Origins) -> Vec<Problem> {
    let origin = |key: &str| origins.get(key).cloned().unwrap_or(Origin::Unknown);
    let mut problems = Vec::new();
    let mut needs = |key: String, plugin: &String| {
        if !config.plugins.load.contains(plugin) {
            let origin = origin(&key);
            problems.push(Problem::NotLoaded { key, plugin: plugin.clone(), origin });
        }
    };
    for plugin in &config.plugins.required {
        needs("plugins.required".into(), plugin);
    }
    for (name, exporter) in &config.exporters {
        needs(dotted(&["exporters", name, "plugin"]), &exporter.plugin);
    }
    if let Err(error) = check_denied(&config.capabilities.deny) {
        problems.push(Problem::Capability(error));
    }
    for name in config.exporters.keys() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            problems.push(Problem::Value {
                key: "exporters".into(),
                value: format!("given the name {}", shown(&name.as_str().into())),
                origin: origin(&dotted(&["exporters", name])),
                allowed: "names of lower-case letters, digits and hyphens".into(),
            });
        }
    }
    problems
}
