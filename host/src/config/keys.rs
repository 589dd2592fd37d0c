//! Every key, and what each allows: one table for all sources and for [`super::Config::validate`].
//!
//! The list of keys is taken from the serialised defaults, so a key cannot be forgotten here; only what its
//! type does not say (a range, a choice) is written down.

use super::{Config, Exporter};
use crate::bpf::LARGEST_SPREAD;
use crate::health::Listen;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Features that `sampling.require` may name.
pub(super) const FEATURES: &[&str] = &[
    "user_stacks",
    "user_stacks_in_kernel",
    "kernel_stacks",
    "kernel_names",
    "process_notices",
    "sampling_times",
];

/// Hazards that `hazards.assume` may name.
pub(super) const HAZARDS: &[&str] = &["copy_from_user_nofault"];

/// No kernel has larger process ids (PID_MAX_LIMIT of include/linux/threads.h).
pub(crate) const LARGEST_PID: u32 = 4_194_304;

/// A list of process ids.
const PIDS: Rule = Rule::Wholes(1, LARGEST_PID as u64);

/// Tells whether a pattern can match an absolute path.
pub(crate) fn is_path_pattern(pattern: &str) -> bool {
    pattern.starts_with(['/', '*', '?'])
}

/// The values that a key may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// `true` or `false`.
    Boolean,
    /// A whole number, both bounds allowed.
    Whole(u64, u64),
    /// A power of two, both bounds allowed: what the kernel takes as the size of a ring. Or 0, for a share.
    PowerOfTwo(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text that `EnvFilter` parses.
    Filter,
    /// Text that is not empty.
    Text,
    /// A list of texts that are not empty.
    Texts,
    /// A list of these words.
    Choices(&'static [&'static str]),
    /// An absolute path, or nothing.
    Directory,
    /// An address that only this machine reaches, or nothing.
    Listen,
    /// A list of whole numbers, both bounds allowed.
    Wholes(u64, u64),
    /// A list of patterns of absolute paths.
    PathPatterns,
    /// A list of absolute paths.
    AbsolutePaths,
    /// A table of SHA-256 digests.
    Digests,
    /// A table of texts.
    Labels,
    /// A table whose keys belong to a plugin.
    Free,
}

/// Rules that the type of a key does not imply. `*` stands for an exporter's name.
const RULES: &[(&str, Rule)] = &[
    ("sampling.frequency_hz", Rule::Whole(1, 10_000)),
    ("sampling.period_spread", Rule::Whole(0, LARGEST_SPREAD as u64)),
    ("sampling.interval_seconds", Rule::Whole(1, 3600)),
    ("sampling.require", Rule::Choices(FEATURES)),
    ("filter.pid", PIDS),
    ("filter.cgroup", Rule::PathPatterns),
    ("filter.deny_pid", PIDS),
    ("filter.deny_cgroup", Rule::PathPatterns),
    ("offsets.config", Rule::Free),
    ("hazards.assume", Rule::Choices(HAZARDS)),
    ("hazards.on_unproven", Rule::Choice(&["mitigate", "refuse", "ignore"])),
    ("memory.max", Rule::Whole(32 << 20, i64::MAX as u64)),
    ("memory.ring_bytes", Rule::PowerOfTwo(4096, 1 << 30)),
    ("memory.sideband_bytes", Rule::PowerOfTwo(4096, 1 << 30)),
    ("memory.max_processes", Rule::Whole(0, u32::MAX as u64)),
    ("memory.max_mappings", Rule::Whole(0, u32::MAX as u64)),
    ("memory.max_executables", Rule::Whole(0, u32::MAX as u64)),
    ("memory.unwind_rows_bytes", Rule::Whole(0, u32::MAX as u64)),
    ("memory.recent_rules_bytes", Rule::Whole(0, 4 << 20)),
    ("memory.max_stacks", Rule::Whole(0, u32::MAX as u64)),
    ("symbolize.max_cached", Rule::Whole(0, u32::MAX as u64)),
    ("plugins.directories", Rule::AbsolutePaths),
    ("plugins.pins", Rule::Digests),
    ("exporters.*.queue_bytes", Rule::Whole(1, i64::MAX as u64)),
    ("exporters.*.spool_directory", Rule::Directory),
    ("exporters.*.spool_bytes", Rule::Whole(1, i64::MAX as u64)),
    ("exporters.*.config", Rule::Free),
    ("health.listen", Rule::Listen),
    ("labels", Rule::Labels),
    ("control.socket", Rule::Directory),
    ("log.filter", Rule::Filter),
    ("log.format", Rule::Choice(&["text", "json"])),
    ("shutdown.budget_ms", Rule::Whole(1, 60_000)),
];

impl Rule {
    /// Tells whether `value` is allowed.
    pub(super) fn allows(self, value: &Value) -> bool {
        let every = |allowed: &dyn Fn(&str) -> bool| {
            value.as_array().is_some_and(|list| list.iter().all(|item| item.as_str().is_some_and(allowed)))
        };
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Whole(least, most) => value.as_u64().is_some_and(|it| (least..=most).contains(&it)),
            Self::PowerOfTwo(least, most) => value
                .as_u64()
                .is_some_and(|it| it == 0 || it.is_power_of_two() && (least..=most).contains(&it)),
            Self::Choice(words) => value.as_str().is_some_and(|it| words.contains(&it)),
            Self::Filter => value.as_str().is_some_and(is_filter),
            Self::Text => value.as_str().is_some_and(|it| !it.is_empty()),
            Self::Texts => every(&|it| !it.is_empty()),
            Self::Choices(words) => every(&|it| words.contains(&it)),
            Self::Directory => value.as_str().is_some_and(|it| it.is_empty() || it.starts_with('/')),
            Self::Listen => value.as_str().is_some_and(|it| it.is_empty() || Listen::parse(it).is_some()),
            Self::Wholes(least, most) => value.as_array().is_some_and(|list| {
                list.iter().all(|item| item.as_u64().is_some_and(|it| (least..=most).contains(&it)))
            }),
            Self::PathPatterns => every(&is_path_pattern),
            Self::AbsolutePaths => every(&|it| it.starts_with('/')),
            Self::Digests => value
                .as_object()
                .is_some_and(|pins| pins.values().all(|pin| pin.as_str().is_some_and(is_digest))),
            Self::Labels => value
                .as_object()
                .is_some_and(|labels| labels.iter().all(|(key, value)| !key.is_empty() && value.is_string())),
            Self::Free => value.is_object(),
        }
    }

    /// Describes the allowed values, to end a sentence with.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Boolean => "true or false".into(),
            Self::Whole(least, most) if most > u32::MAX.into() => {
                format!("a whole number of at least {least}")
            }
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::PowerOfTwo(least, most) => format!("0, or a power of two from {least} to {most}"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Filter => {
                "a level (error, warn, info, debug, trace) or directives such as `info,aya=debug`".into()
            }
            Self::Text => "text that is not empty".into(),
            Self::Texts => "a list of texts that are not empty".into(),
            Self::Choices(words) => format!("a list of any of {}", words.join(", ")),
            Self::Directory => "an absolute path, or nothing".into(),
            Self::Listen => {
                "`unix:` and an absolute path, a port of this machine such as 127.0.0.1:9464, or nothing"
                    .into()
            }
            Self::Wholes(least, most) => format!("a list of whole numbers from {least} to {most}"),
            Self::PathPatterns => "a list of patterns of paths, which begin with `/` or `*`".into(),
            Self::AbsolutePaths => "a list of absolute paths".into(),
            Self::Digests => {
                "a table of plugins' names and the SHA-256 of their files, 64 hexadecimal digits each".into()
            }
            Self::Labels => "a table of names and texts".into(),
            Self::Free => "a table of the plugin's own keys".into(),
        }
    }

    /// The value that `text` means for this key, where a source has nothing but text: the environment, flags.
    /// What does not fit stays text, so that [`Rule::allows`] refuses it and the message shows it as given.
    pub(super) fn read(self, text: &str) -> Value {
        match self {
            Self::Boolean => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            Self::Whole(..) | Self::PowerOfTwo(..) => {
                text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
            }
            Self::Choice(_) | Self::Filter | Self::Text | Self::Directory | Self::Listen => text.into(),
            Self::Texts | Self::Choices(_) | Self::AbsolutePaths | Self::PathPatterns | Self::Wholes(..)
                if text.is_empty() =>
            {
                Value::Array(Vec::new())
            }
            Self::Texts | Self::Choices(_) | Self::AbsolutePaths | Self::PathPatterns => {
                text.split(',').map(str::trim).collect()
            }
            Self::Wholes(..) => {
                let number = |word: &str| word.parse::<i64>().map_or_else(|_| word.into(), Value::from);
                text.split(',').map(|word| number(word.trim())).collect()
            }
            Self::Digests | Self::Labels | Self::Free => text.into(),
        }
    }
}

/// The place to which a path of keys leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// To a section: a table of known keys.
    Section,
    /// To a key.
    Key(Rule),
    /// Into a plugin's own keys.
    Inside,
    /// Nowhere.
    Nowhere,
}

/// All keys and sections.
#[derive(Debug)]
pub(super) struct Keys {
    /// By path; `*` stands for an exporter's name.
    places: BTreeMap<String, Place>,
}

impl Keys {
    /// The keys of [`Config`] and [`Exporter`].
    pub(super) fn new() -> Self {
        let mut places = BTreeMap::new();
        let mut insert = |path: String, value: &Value| {
            let place = match RULES.iter().find(|(key, _)| *key == path) {
                Some((_, rule)) => Place::Key(*rule),
                None => match value {
                    Value::Bool(_) => Place::Key(Rule::Boolean),
                    Value::Number(_) => Place::Key(Rule::Whole(1, u32::MAX.into())),
                    Value::Array(_) => Place::Key(Rule::Texts),
                    Value::Object(_) => Place::Section,
                    Value::String(_) | Value::Null => Place::Key(Rule::Text),
                },
            };
            places.insert(path, place);
        };
        for (section, keys) in &members(&Config::default()) {
            insert(section.clone(), keys);
            for (key, value) in keys.as_object().into_iter().flatten() {
                insert(format!("{section}.{key}"), value);
            }
        }
        insert("exporters.*".into(), &Value::Object(Map::new()));
        for (key, value) in &members(&Exporter::of("")) {
            insert(format!("exporters.*.{key}"), value);
        }
        Self { places }
    }

    /// Returns the place to which `path` leads.
    pub(super) fn place<S: AsRef<str>>(&self, path: &[S]) -> Place {
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let pattern: &[&str] = match path.as_slice() {
            ["exporters", _, "config", _, ..] | ["offsets", "config", _, ..] => return Place::Inside,
            ["labels", _] => return Place::Key(Rule::Text),
            ["exporters", _, rest @ ..] => &[&["exporters", "*"], rest].concat(),
            other => other,
        };
        // TOML's `"plugins.load" = []` is a single part, and not the key that it looks like when joined.
        if pattern.iter().any(|part| part.contains('.')) {
            return Place::Nowhere;
        }
        let pattern = pattern.join(".");
        self.places.get(&pattern).copied().unwrap_or(Place::Nowhere)
    }

    /// The known key or section that `path` most likely meant, if one is near: by its whole path, or by its
    /// last part where the section was forgotten or mistaken.
    pub(super) fn nearest<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let exporter = match path.as_slice() {
            ["exporters", name, _, ..] => Some(*name),
            _ => None,
        };
        let (whole, last) = (path.join("."), *path.last()?);
        let near = |key: &str| {
            let last_distance = strsim::osa_distance(last, key.rsplit('.').next().unwrap_or(key));
            (strsim::osa_distance(&whole, key).min(last_distance), strsim::osa_distance(&whole, key))
        };
        let candidates = self.places.keys().filter_map(|key| match (key.contains('*'), exporter) {
            (false, _) => Some(key.clone()),
            (true, Some(name)) => Some(key.replacen('*', name, 1)),
            (true, None) => None,
        });
        let (distance, key) = candidates.map(|key| (near(&key), key)).min()?;
        (distance.0 <= (last.chars().count() / 3).max(2)).then_some(key)
    }

    /// The keys of the section nearest to `path`, for when none is similar.
    pub(super) fn siblings<S: AsRef<str>>(&self, path: &[S]) -> Vec<&str> {
        let section = match path.iter().map(AsRef::as_ref).collect::<Vec<_>>().as_slice() {
            ["exporters", _, _, ..] => "exporters.*.",
            [section, _, ..] => &format!("{section}."),
            _ => "",
        };
        let keys = self.places.keys().filter_map(|key| key.strip_prefix(section));
        keys.filter(|key| !key.contains('.')).collect()
    }

    /// Every key's path, without sections.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.places.iter().filter(|(_, place)| matches!(place, Place::Key(_))).map(|(key, _)| key.as_str())
    }
}

/// Tells whether `text` is a filter that lets something through. A word alone must be a level: `EnvFilter` takes any
/// other for the name of a module, so that a misspelt level would silence everything.
fn is_filter(text: &str) -> bool {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match word {
        true => !text.is_empty() && text.parse::<LevelFilter>().is_ok(),
        false => EnvFilter::builder().parse(text).is_ok(),
    }
}

/// Tells whether `text` is a digest as `sha256sum` prints it, in upper or lower case.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The members of a structure, as JSON.
fn members(structure: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(structure) {
        Ok(Value::Object(members)) => members,
        // The defaults are plain data, which serialises; the tests count the keys.
        _ => Map::new(),
    }
}
