//! Reads every source and puts the layers together: defaults < files < environment < command line.

use super::Config;
use super::file;
use super::keys::Keys;
use super::layer::{Layer, PREFIX};
use super::problem::{ConfigError, Origin, Problem, dotted};
use super::validate::{Origins, contradictions};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Sources of the configuration. Later ones win: files in their order, then the environment, then flags. Tables merge
/// key by key; a list replaces the list below it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// TOML files.
    pub files: Vec<PathBuf>,
    /// Variables that start with `STACKSONDE_`, two underscores between levels, lists separated by commas:
    /// `STACKSONDE_SAMPLING__FREQUENCY_HZ`.
    pub environment: BTreeMap<String, String>,
    /// Path of a key, such as `sampling.frequency_hz`, and its value as text.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// `/etc/stacksonde/stacksonde.toml`, then `/etc/stacksonde/conf.d/*.toml` by name: those that exist.
    pub fn default_files() -> Vec<PathBuf> {
        files_below(Path::new("/etc/stacksonde"))
    }

    /// The variables of this process that start with `STACKSONDE_`, without `STACKSONDE_TEST_*`, which the
    /// project's tests use.
    pub fn process_environment() -> BTreeMap<String, String> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .filter(|(name, _)| name.starts_with(PREFIX) && !name.starts_with("STACKSONDE_TEST_"))
            .collect()
    }
}

pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(directory.join("conf.d")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.insert(0, directory.join("stacksonde.toml"));
    // A file that exists and cannot be read stays, so that reading it says why.
    files.retain(|file| file.symlink_metadata().is_ok());
    files
}

/// Reads, checks and merges all sources.
///
/// # Errors
///
/// Every problem of every source. Problems between keys (a plugin that is not loaded) are looked for once each
/// source is right by itself.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let keys = Keys::new();
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    for file in &sources.files {
        match file::read(file) {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    for (name, text) in &sources.environment {
        layers.push(Layer::from_variable(&keys, name, text));
    }
    for (key, text) in &sources.flags {
        layers.push(Layer::from_flag(&keys, key, text));
    }
    combine(&keys, layers, problems)
}

/// Checks `layers`, later ones winning, and merges them if there is no problem.
pub(super) fn combine(
    keys: &Keys,
    layers: Vec<Layer>,
    mut problems: Vec<Problem>,
) -> Result<Config, ConfigError> {
    problems.extend(layers.iter().flat_map(|layer| layer.problems(keys)));
    let mut origins = Origins::new();
    for layer in &layers {
        note(&layer.origin, &mut Vec::new(), &layer.values, &mut origins);
    }
    if problems.is_empty() {
        problems.extend(exporters_without_plugin(&layers, &origins));
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let config = merge(layers).map_err(|error| {
        let reason = error.to_string().replace('\n', " ");
        ConfigError { problems: vec![Problem::Merge(reason)] }
    })?;
    match contradictions(&config, &origins) {
        problems if problems.is_empty() => Ok(config),
        problems => Err(ConfigError { problems }),
    }
}

fn merge(layers: Vec<Layer>) -> Result<Config, config::ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    builder.build()?.try_deserialize()
}

fn exporter_names(layer: &Layer) -> impl Iterator<Item = &String> {
    layer.values.get("exporters").and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

/// `plugin` is the one key without a default, and may come from another layer than its section.
fn exporters_without_plugin(layers: &[Layer], origins: &Origins) -> Vec<Problem> {
    let names: BTreeSet<&String> = layers.iter().flat_map(exporter_names).collect();
    let missing = names.into_iter().filter_map(|name| {
        let section = dotted(&["exporters", name]);
        let key = format!("{section}.plugin");
        if origins.contains_key(&key) {
            return None;
        }
        let origin = origins.get(&section).cloned().unwrap_or(Origin::Unknown);
        Some(Problem::Missing { key, section, origin })
    });
    missing.collect()
}

/// Notes who set each key and section last.
fn note<'a>(origin: &Origin, path: &mut Vec<&'a str>, table: &'a Map<String, Value>, origins: &mut Origins) {
    for (key, value) in table {
        path.push(key);
        origins.insert(dotted(path), origin.clone());
        if let Value::Object(inner) = value {
            note(origin, path, inner, origins);
        }
        path.pop();
    }
}
