//! Differences between two configurations.

use crate::config::{Config, Plugins};

/// The sections that differ.
pub(super) fn changed(old: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(sections)) => sections,
        // A configuration is plain data, which serialises.
        _ => serde_json::Map::new(),
    };
    let old = sections(old);
    sections(new)
        .into_iter()
        .filter(|(name, section)| old.get(name) != Some(section))
        .map(|(name, _)| name)
        .collect()
}

/// Plugins of which the new section says something that this process cannot do any more, or not yet: to load one that
/// is not an exporter's, to be without one that is `loaded`, or to have one loaded from another file.
pub(super) fn plugins_that_wait(old: &Plugins, new: &Plugins, loaded: &[&str]) -> Vec<String> {
    let is_loaded = |name: &str| loaded.contains(&name);
    let added = new.load.iter().filter(|name| !old.load.contains(name) && !is_loaded(name));
    let removed = old.load.iter().filter(|name| !new.load.contains(name) && is_loaded(name));
    // One that was not in the list before was loaded with what is said of it now.
    let pinned = old.load.iter().filter(|name| is_loaded(name) && old.pins.get(*name) != new.pins.get(*name));
    let mut names: Vec<String> = added.chain(removed).chain(pinned).cloned().collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sections_that_differ_are_named() {
        let old = Config::default();
        let mut new = Config::default();
        assert!(changed(&old, &new).is_empty());
        new.filter.deny_comm.push("stress".into());
        new.memory.max *= 2;
        assert_eq!(changed(&old, &new), ["filter", "memory"]);
    }

    #[test]
    fn a_plugin_waits_if_it_is_loaded_and_should_not_be_or_should_be_and_is_not() {
        let of = |load: &[&str]| Plugins {
            load: load.iter().map(|it| (*it).into()).collect(),
            ..Plugins::default()
        };
        let old = of(&["btf-offsets", "file-export", "absent"]);
        let loaded = ["btf-offsets", "file-export"];
        assert!(plugins_that_wait(&old, &old, &loaded).is_empty());
        let new = of(&["file-export", "absent", "otlp-export", "selfprobe-offsets"]);
        let loaded = ["btf-offsets", "file-export", "otlp-export"];
        assert_eq!(plugins_that_wait(&old, &new, &loaded), ["btf-offsets", "selfprobe-offsets"]);
        let mut pinned = old.clone();
        pinned.pins.insert("file-export".into(), "0".repeat(64));
        pinned.pins.insert("absent".into(), "0".repeat(64));
        assert_eq!(plugins_that_wait(&old, &pinned, &loaded), ["file-export"]);
    }
}
