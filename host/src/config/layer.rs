//! One source of values: a file, the environment, or the flags, each checked by itself so that a problem can
//! say where it is.

use super::keys::{Keys, Place};
use super::problem::{Origin, Problem, dotted, shown};
use serde_json::{Map, Value};
use std::path::Path;

/// The prefix of our environment variables.
pub(super) const PREFIX: &str = "STACKSONDE_";

/// Values of one source.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Their origin.
    pub(super) origin: Origin,
    /// The tree of tables.
    pub(super) values: Map<String, Value>,
}

impl Layer {
    /// A layer from the text of a file.
    pub(super) fn from_toml(file: &Path, text: &str) -> Result<Self, Problem> {
        let table = text.parse::<toml::Table>().map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..start).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let reason = error.message().trim().replace('\n', ", ");
            Problem::Syntax { file: file.into(), line, reason }
        })?;
        Ok(Self { origin: Origin::File(file.into()), values: table_to_json(table) })
    }

    /// A layer from an environment variable, its name including [`PREFIX`].
    pub(super) fn from_variable(keys: &Keys, name: &str, text: &str) -> Self {
        let path: Vec<String> =
            name.strip_prefix(PREFIX).unwrap_or(name).split("__").map(str::to_ascii_lowercase).collect();
        Self::of_one(keys, Origin::Variable(name.into()), &path, text)
    }

    /// A layer from a flag.
    pub(super) fn from_flag(keys: &Keys, key: &str, text: &str) -> Self {
        let path: Vec<String> = key.split('.').map(String::from).collect();
        Self::of_one(keys, Origin::CommandLine, &path, text)
    }

    fn of_one(keys: &Keys, origin: Origin, path: &[String], text: &str) -> Self {
        let value = match keys.place(path) {
            Place::Key(rule) => rule.read(text),
            Place::Inside => guess(text),
            Place::Section | Place::Nowhere => text.into(),
        };
        let tree = path.iter().rev().fold(value, |value, key| Map::from_iter([(key.clone(), value)]).into());
        let values = match tree {
            Value::Object(values) => values,
            _ => Map::new(),
        };
        Self { origin, values }
    }

    /// Every key that is unknown, and every value that its key does not allow.
    pub(super) fn problems(&self, keys: &Keys) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut path = Vec::new();
        self.check(keys, &mut path, &self.values, &mut problems);
        problems
    }

    fn check<'a>(
        &'a self,
        keys: &Keys,
        path: &mut Vec<&'a str>,
        table: &'a Map<String, Value>,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            path.push(key);
            match (keys.place(path), value) {
                _ if path.first() == Some(&"plugins") && !self.may_set_plugins() => {
                    let key = deepest(path, value);
                    problems.push(Problem::FilesOnly { key, origin: self.origin.clone() });
                }
                (Place::Section, Value::Object(inner)) => self.check(keys, path, inner, problems),
                (Place::Section, _) => problems.push(self.refuse(path, value, "a section of keys".into())),
                (Place::Key(rule), _) if !rule.allows(value) => {
                    problems.push(self.refuse(path, value, rule.allowed()));
                }
                (Place::Key(_) | Place::Inside, _) => {}
                (Place::Nowhere, _) => problems.push(Problem::UnknownKey {
                    key: deepest(path, value),
                    origin: self.origin.clone(),
                    hint: hint(keys, path, value),
                }),
            }
            path.pop();
        }
    }

    /// Of files, [`super::file`] asks for more.
    fn may_set_plugins(&self) -> bool {
        match self.origin {
            Origin::File(_) | Origin::Unknown => true,
            Origin::Variable(_) | Origin::CommandLine => false,
        }
    }

    fn refuse(&self, path: &[&str], value: &Value, allowed: String) -> Problem {
        Problem::Value { key: dotted(path), value: shown(value), origin: self.origin.clone(), allowed }
    }
}

/// The path of what was really set: down through tables with a single key.
fn descend<'a>(path: &[&'a str], mut value: &'a Value) -> Vec<&'a str> {
    let mut path = path.to_vec();
    while let Value::Object(table) = value
        && table.len() == 1
        && let Some((key, inner)) = table.iter().next()
    {
        path.push(key);
        value = inner;
    }
    path
}

fn deepest(path: &[&str], value: &Value) -> String {
    dotted(&descend(path, value))
}

/// Suggests what to use in place of an unknown key.
fn hint(keys: &Keys, path: &[&str], value: &Value) -> String {
    let whole = descend(path, value);
    match keys.nearest(&whole).or_else(|| keys.nearest(path)) {
        Some(key) => format!("did you mean `{}`?", key.escape_debug()),
        None => {
            let names = keys.siblings(path).join(", ");
            match path {
                [_] => format!("the sections are {names}"),
                [section @ .., _] => format!("the keys of `{}` are {names}", dotted(section)),
                [] => names,
            }
        }
    }
}

/// A plugin's key from text: its type is the plugin's affair, so what reads as a TOML number, truth value or
/// list is one, and everything else is text.
fn guess(text: &str) -> Value {
    let document = format!("value = {text}\n");
    let parsed = document.parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    match parsed {
        Some(value @ (toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Array(_))) => {
            to_json(value)
        }
        _ => text.into(),
    }
}

fn table_to_json(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(key, value)| (key, to_json(value))).collect()
}

/// JSON has no dates and no infinities; both become text, which a key of ours refuses and a plugin can read.
fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => number.to_string().into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(list) => list.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => table_to_json(table).into(),
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, config::Value>, config::ConfigError> {
        Ok(self.values.iter().map(|(key, value)| (key.clone(), merged(value))).collect())
    }
}

/// A value as the crate `config` merges it.
fn merged(value: &Value) -> config::Value {
    let kind = match value {
        Value::Null => config::ValueKind::Nil,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => list.iter().map(merged).collect::<Vec<_>>().into(),
        Value::Object(table) => {
            let table: config::Map<_, _> =
                table.iter().map(|(key, value)| (key.clone(), merged(value))).collect();
            table.into()
        }
    };
    config::Value::new(None, kind)
}
