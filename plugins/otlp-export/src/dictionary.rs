//! The dictionary that the samples of one message refer to: seven tables, in which row 0 is the zero value and every
//! other row stands once and is referred to.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, ProfilesDictionary, Stack,
};
use prost::Message;
use std::collections::HashMap;
use std::hash::Hash;

/// Bytes before an entry of a message of no more than 2^28 bytes: its tag and its length.
pub(crate) const PREFIX: usize = 1 + 4;

/// Rows in the order of their first use, and where each is.
#[derive(Debug)]
struct Rows<K> {
    known: HashMap<K, i32>,
    rows: Vec<K>,
}

impl<K: Hash + Eq + Clone + Default> Rows<K> {
    fn new() -> Self {
        Self { known: HashMap::from([(K::default(), 0)]), rows: vec![K::default()] }
    }

    /// The index of `row`, and whether it is new.
    fn index(&mut self, row: K) -> (i32, bool) {
        if let Some(index) = self.known.get(&row) {
            return (*index, false);
        }
        // Bounded far below by the size of a message.
        let index = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
        self.known.insert(row.clone(), index);
        self.rows.push(row);
        (index, true)
    }

    fn truncate(&mut self, length: usize) {
        for row in self.rows.drain(length..) {
            self.known.remove(&row);
        }
    }
}

/// An attribute's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// Of row 0 alone.
    #[default]
    Nothing,
    Text(String),
    Number(i64),
}

impl Value {
    /// As OTLP spells it; `None` for nothing.
    pub(crate) fn any(self) -> Option<AnyValue> {
        let value = match self {
            Self::Nothing => return None,
            Self::Text(text) => any_value::Value::StringValue(text),
            Self::Number(number) => any_value::Value::IntValue(number),
        };
        Some(AnyValue { value: Some(value) })
    }
}

/// A location. OTLP's own cannot be looked up by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) mapping_index: i32,
    pub(crate) address: u64,
    pub(crate) lines: Vec<Line>,
    /// 0 for none.
    pub(crate) attribute: i32,
}

impl From<Place> for Location {
    fn from(place: Place) -> Self {
        let Place { mapping_index, address, lines, attribute } = place;
        let attribute_indices = if attribute == 0 { Vec::new() } else { vec![attribute] };
        Self { mapping_index, address, lines, attribute_indices }
    }
}

/// A count, as a signed number.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A dictionary under construction.
#[derive(Debug)]
pub(crate) struct Dictionary {
    strings: Rows<String>,
    attributes: Rows<(i32, Value)>,
    functions: Rows<Function>,
    mappings: Rows<Mapping>,
    locations: Rows<Place>,
    stacks: Rows<Stack>,
    bytes: usize,
}

/// A mark of the length that a dictionary had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark([usize; 6], usize);

impl Dictionary {
    /// With row 0 of each table.
    pub(crate) fn new() -> Self {
        Self {
            strings: Rows::new(),
            attributes: Rows::new(),
            functions: Rows::new(),
            mappings: Rows::new(),
            locations: Rows::new(),
            stacks: Rows::new(),
            bytes: 7 * PREFIX,
        }
    }

    /// Bytes that it takes in a message, or a few more.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// To come back to with [`Dictionary::back_to`].
    pub(crate) fn mark(&self) -> Mark {
        let lengths = [
            self.strings.rows.len(),
            self.attributes.rows.len(),
            self.functions.rows.len(),
            self.mappings.rows.len(),
            self.locations.rows.len(),
            self.stacks.rows.len(),
        ];
        Mark(lengths, self.bytes)
    }

    /// Forgets what came after `mark`.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        let [strings, attributes, functions, mappings, locations, stacks] = mark.0;
        self.strings.truncate(strings);
        self.attributes.truncate(attributes);
        self.functions.truncate(functions);
        self.mappings.truncate(mappings);
        self.locations.truncate(locations);
        self.stacks.truncate(stacks);
        self.bytes = mark.1;
    }

    fn count(&mut self, bytes: usize, (index, is_new): (i32, bool)) -> i32 {
        if is_new {
            self.bytes += PREFIX + bytes;
        }
        index
    }

    pub(crate) fn string(&mut self, text: &str) -> i32 {
        if let Some(index) = self.strings.known.get(text) {
            return *index;
        }
        let row = self.strings.index(text.to_owned());
        self.count(text.len(), row)
    }

    pub(crate) fn attribute(&mut self, key: &str, value: Value) -> i32 {
        let key = self.string(key);
        let bytes = match &value {
            Value::Text(text) => text.len(),
            _ => 0,
        };
        let row = self.attributes.index((key, value));
        // Key, unit, and what wraps the value.
        self.count(bytes + 32, row)
    }

    pub(crate) fn function(&mut self, function: Function) -> i32 {
        let row = self.functions.index(function);
        self.count(function.encoded_len(), row)
    }

    pub(crate) fn mapping(&mut self, mapping: Mapping) -> i32 {
        let bytes = mapping.encoded_len();
        let row = self.mappings.index(mapping);
        self.count(bytes, row)
    }

    pub(crate) fn location(&mut self, place: Place) -> i32 {
        let bytes = place.lines.iter().map(|line| PREFIX + line.encoded_len()).sum::<usize>() + 32;
        let row = self.locations.index(place);
        self.count(bytes, row)
    }

    pub(crate) fn stack(&mut self, location_indices: Vec<i32>) -> i32 {
        let stack = Stack { location_indices };
        let bytes = stack.encoded_len();
        let row = self.stacks.index(stack);
        self.count(bytes, row)
    }

    pub(crate) fn finish(self) -> ProfilesDictionary {
        let attribute = |(key_strindex, value): (i32, Value)| KeyValueAndUnit {
            key_strindex,
            value: value.any(),
            unit_strindex: 0,
        };
        ProfilesDictionary {
            mapping_table: self.mappings.rows,
            location_table: self.locations.rows.into_iter().map(Location::from).collect(),
            function_table: self.functions.rows,
            link_table: vec![Link::default()],
            string_table: self.strings.rows,
            attribute_table: self.attributes.rows.into_iter().map(attribute).collect(),
            stack_table: self.stacks.rows,
        }
    }
}
