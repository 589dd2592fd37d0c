//! An instance's keys against the JSON Schema in its plugin's manifest, before any code of the plugin runs.
//!
//! A validator of our own, for what `schemars` derives from a configuration type. The complete ones bring
//! some thirty crates (big numbers, backtracking regular expressions, mail addresses) into a process that
//! runs as root, for schemas that a refused plugin may have written; and their messages speak of instances
//! and keywords, not of keys of a config file.
//!
//! Checked are types, `enum` and `const`, ranges and lengths, lists, tables with their required, known and
//! further keys, `$ref` within the schema, `allOf`, `anyOf`, `oneOf`. Other keywords, `pattern` among them,
//! are left to the plugin, which reads its keys itself in `create`.

use serde_json::{Map, Value};

/// Steps that one check may take: a schema may refer to itself, and alternatives multiply.
const STEPS: u32 = 100_000;
/// The largest depth of schemas in one another, references followed.
const DEPTH: u32 = 64;

/// Returns the faults of `config`, a sentence each, by `schema`; `section` is the path of the instance's table:
/// `exporters.files.config`.
pub(crate) fn check(schema: &Value, section: &str, config: &Map<String, Value>) -> Vec<String> {
    let mut check = Check { root: schema, steps: STEPS };
    let mut wrong = Vec::new();
    check.value(&Value::Object(config.clone()), schema, section, DEPTH, &mut wrong);
    wrong.dedup();
    wrong
}

struct Check<'a> {
    root: &'a Value,
    steps: u32,
}

impl<'a> Check<'a> {
    fn value(&mut self, value: &Value, schema: &'a Value, key: &str, depth: u32, wrong: &mut Vec<String>) {
        // What is too large to check is the plugin's to judge, as before there was a schema.
        let (Some(steps), Some(depth)) = (self.steps.checked_sub(1), depth.checked_sub(1)) else { return };
        self.steps = steps;
        let Some(rules) = schema.as_object() else {
            if schema == &Value::Bool(false) {
                wrong.push(format!("`{key}` is {}; nothing is allowed there: remove it", shown(value)));
            }
            return;
        };
        if let Some(target) = self.target(rules) {
            self.value(value, target, key, depth, wrong);
        }
        if !Self::plain(value, rules) {
            wrong.push(format!("`{key}` is {}; allowed: {}", shown(value), self.allowed(schema, DEPTH)));
            return;
        }
        self.alternatives(value, schema, key, depth, wrong);
        match value {
            Value::Object(table) => self.table(table, rules, key, depth, wrong),
            Value::Array(list) => self.list(list, rules, key, depth, wrong),
            _ => {}
        }
    }

    /// Resolves `$ref`.
    fn target(&self, rules: &Map<String, Value>) -> Option<&'a Value> {
        let reference = rules.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(reference)
    }

    /// Everything that is asked of a value by itself, without looking into it.
    fn plain(value: &Value, rules: &Map<String, Value>) -> bool {
        let types = match rules.get("type") {
            Some(Value::String(one)) => is_type(value, one),
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(|one| is_type(value, one)),
            _ => true,
        };
        let listed = rules.get("enum").and_then(Value::as_array).is_none_or(|list| list.contains(value));
        let constant = rules.get("const").is_none_or(|only| only == value);
        let number = value.as_f64().is_none_or(|number| {
            let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
            bound("minimum").is_none_or(|least| number >= least)
                && bound("maximum").is_none_or(|most| number <= most)
                && bound("exclusiveMinimum").is_none_or(|least| number > least)
                && bound("exclusiveMaximum").is_none_or(|most| number < most)
                && range_of(rules).is_none_or(|(least, most)| (least..=most).contains(&number))
        });
        let within = |length: usize, least: &str, most: &str| {
            let bound = |name: &str| rules.get(name).and_then(Value::as_u64);
            bound(least).is_none_or(|least| length as u64 >= least)
                && bound(most).is_none_or(|most| length as u64 <= most)
        };
        let length = match value {
            Value::String(text) => within(text.chars().count(), "minLength", "maxLength"),
            Value::Array(list) => within(list.len(), "minItems", "maxItems"),
            Value::Object(table) => within(table.len(), "minProperties", "maxProperties"),
            _ => true,
        };
        types && listed && constant && number && length
    }

    fn alternatives(
        &mut self,
        value: &Value,
        schema: &'a Value,
        key: &str,
        depth: u32,
        wrong: &mut Vec<String>,
    ) {
        let list = |name: &str| schema.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for part in list("allOf") {
            self.value(value, part, key, depth, wrong);
        }
        for name in ["anyOf", "oneOf"] {
            let alternatives = list(name);
            if alternatives.is_empty() {
                continue;
            }
            let complaints: Vec<Vec<String>> = alternatives
                .iter()
                .map(|alternative| {
                    let mut complaints = Vec::new();
                    self.value(value, alternative, key, depth, &mut complaints);
                    complaints
                })
                .collect();
            if complaints.iter().any(Vec::is_empty) {
                continue;
            }
            // Of tables, the complaint about the alternative that was meant says more than a list of all.
            match complaints.into_iter().min_by_key(Vec::len) {
                Some(nearest) if value.is_object() => wrong.extend(nearest),
                _ => {
                    let allowed = self.allowed(schema, DEPTH);
                    wrong.push(format!("`{key}` is {}; allowed: {allowed}", shown(value)));
                }
            }
        }
    }

    fn table(
        &mut self,
        table: &Map<String, Value>,
        rules: &'a Map<String, Value>,
        key: &str,
        depth: u32,
        wrong: &mut Vec<String>,
    ) {
        let known = rules.get("properties").and_then(Value::as_object);
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = name.as_str().filter(|name| !table.contains_key(*name)) else { continue };
            let allowed = known.and_then(|known| known.get(name)).map(|schema| self.allowed(schema, DEPTH));
            let allowed = allowed.unwrap_or_else(|| "any value".into());
            wrong.push(format!("`{key}.{name}` is not set; allowed: {allowed}"));
        }
        for (name, value) in table {
            let inner = format!("{key}.{}", name.escape_debug());
            match (known.and_then(|known| known.get(name)), rules.get("additionalProperties")) {
                (Some(schema), _) => self.value(value, schema, &inner, depth, wrong),
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> =
                        known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    wrong.push(format!("unknown key `{inner}`; {}", hint(name, &names)));
                }
                (None, Some(schema)) => self.value(value, schema, &inner, depth, wrong),
                (None, None) => {}
            }
        }
    }

    fn list(
        &mut self,
        list: &[Value],
        rules: &'a Map<String, Value>,
        key: &str,
        depth: u32,
        wrong: &mut Vec<String>,
    ) {
        let first = rules.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, value) in list.iter().enumerate() {
            if let Some(schema) = first.get(index).or_else(|| rules.get("items")) {
                self.value(value, schema, &format!("{key}[{index}]"), depth, wrong);
            }
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            let twice = list.iter().enumerate().find(|(index, value)| list[..*index].contains(value));
            if let Some((_, value)) = twice {
                wrong.push(format!("`{key}` has {} twice; allowed: each once", shown(value)));
            }
        }
    }

    /// Describes the values that a schema allows, to end a sentence with.
    fn allowed(&mut self, schema: &'a Value, depth: u32) -> String {
        let (Some(steps), Some(depth)) = (self.steps.checked_sub(1), depth.checked_sub(1)) else {
            return "what the plugin's documentation says".into();
        };
        self.steps = steps;
        let Some(rules) = schema.as_object() else { return "any value".into() };
        if let Some(target) = self.target(rules) {
            return self.allowed(target, depth);
        }
        let words = |list: &[Value]| {
            list.iter().filter(|value| !value.is_null()).map(shown).collect::<Vec<_>>().join(", ")
        };
        if let Some(list) = rules.get("enum").and_then(Value::as_array) {
            return format!("one of {}", words(list));
        }
        if let Some(only) = rules.get("const") {
            return shown(only);
        }
        for name in ["oneOf", "anyOf"] {
            let Some(list) = rules.get(name).and_then(Value::as_array) else { continue };
            let mut parts: Vec<String> = list
                .iter()
                .filter(|part| part.get("type") != Some(&"null".into()))
                .map(|part| self.allowed(part, depth))
                .map(|part| part.strip_prefix("one of ").map(String::from).unwrap_or(part))
                .collect();
            parts.dedup();
            return match parts.len() {
                1 => parts.remove(0),
                _ => format!("one of {}", parts.join(", ")),
            };
        }
        let types: Vec<&str> = match rules.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let described: Vec<String> = types
            .into_iter()
            .filter(|kind| *kind != "null")
            .map(|kind| match kind {
                "array" => match rules.get("items") {
                    Some(items) => format!("a list, each item {}", self.allowed(items, depth)),
                    None => "a list".into(),
                },
                "object" => "a table".into(),
                other => describe(other, rules),
            })
            .collect();
        if described.is_empty() { "any value".into() } else { described.join(" or ") }
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

/// The range of the integer that `schemars` states as the format.
fn range_of(rules: &Map<String, Value>) -> Option<(f64, f64)> {
    let range = match rules.get("format")?.as_str()? {
        "uint8" => (0.0, u8::MAX.into()),
        "uint16" => (0.0, u16::MAX.into()),
        "uint32" => (0.0, u32::MAX.into()),
        "uint64" | "uint" => (0.0, f64::INFINITY),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        _ => return None,
    };
    Some(range)
}

fn describe(kind: &str, rules: &Map<String, Value>) -> String {
    let (noun, least, most) = match kind {
        "integer" => ("a whole number", "minimum", "maximum"),
        "number" => ("a number", "minimum", "maximum"),
        "string" => ("text", "minLength", "maxLength"),
        "boolean" => return "true or false".into(),
        _ => return "any value".into(),
    };
    let bound = |name: &str| rules.get(name).filter(|bound| bound.is_number()).map(ToString::to_string);
    let (range_least, range_most) = range_of(rules).filter(|_| kind == "integer").unzip();
    let least = bound(least).or_else(|| range_least.map(|least: f64| least.to_string()));
    let most =
        bound(most).or_else(|| range_most.filter(|most: &f64| most.is_finite()).map(|most| most.to_string()));
    let (from, unit) = if kind == "string" { ("of", " characters") } else { ("from", "") };
    let mut text = match (least, most) {
        (Some(least), Some(most)) => format!("{noun} {from} {least} to {most}{unit}"),
        (Some(least), None) => format!("{noun} of at least {least}{unit}"),
        (None, Some(most)) => format!("{noun} of at most {most}{unit}"),
        (None, None) => noun.into(),
    };
    for (name, words) in [("exclusiveMinimum", "more than"), ("exclusiveMaximum", "less than")] {
        if let Some(bound) = bound(name) {
            text.push_str(&format!(", {words} {bound}"));
        }
    }
    text
}

fn hint(name: &str, names: &[&str]) -> String {
    let near = names.iter().map(|known| (strsim::osa_distance(name, known), *known)).min();
    match near {
        Some((distance, known)) if distance <= (name.chars().count() / 3).max(2) => {
            format!("did you mean `{known}`?")
        }
        Some(_) => format!("the keys are {}", names.join(", ")),
        None => "the plugin has no keys".into(),
    }
}

fn shown(value: &Value) -> String {
    crate::config::shown(value)
}

#[cfg(test)]
mod tests;
