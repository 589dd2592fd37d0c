//! Writing: tables grow as rows are added, and are laid out one after the other at the end.

use crate::header::{ALIGNMENT, Entry, FORMAT, Front, Header, MAGIC};
use crate::row::Row;
use crate::tables::{
    Attribute, Frame, Function, Label, Line, Location, Loss, Mapping, Process, Sample, Stack, Thread,
    Timestamp, Value, ValueType,
};
use crate::tables::{NONE, STRING_BYTES, STRINGS, StringId, Text, every_table};
use std::collections::HashMap;

/// A table outgrew the 32 bits of its row numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch has more {table} than 32-bit row numbers reach; take a shorter interval or fewer samples")]
pub struct TooLarge {
    /// The table.
    pub table: &'static str,
}

/// Makes a batch. Rows may be added in any order; what they name must be there in the end, or no
/// reader takes the batch ([`Batch::parse`](crate::Batch::parse) tells).
pub struct Writer {
    header: Header,
    tables: Tables,
    ids: HashMap<Box<str>, StringId>,
    strings: Buffer,
    text: Vec<u8>,
    /// The first table that outgrew its row numbers.
    too_large: Option<TooLarge>,
}

/// Encoded rows of one table.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    count: u32,
}

impl Buffer {
    /// Appends a row and returns its index; `None` if there is none left below [`NONE`].
    fn push(&mut self, row: &impl Row) -> Option<u32> {
        let index = self.count;
        if index == NONE {
            return None;
        }
        row.encode(&mut self.bytes);
        self.count += 1;
        Some(index)
    }
}

macro_rules! tables {
    ($($id:literal $Row:ident $table:ident $add:ident,)+) => {
        #[derive(Default)]
        struct Tables {
            $($table: Buffer,)+
        }

        impl Tables {
            /// Id, stride and rows of each.
            fn each(self) -> impl Iterator<Item = (u32, u32, Buffer)> {
                [$(($id, <$Row as Row>::WIDTH, self.$table),)+].into_iter()
            }
        }

        impl Writer {
            $(
                #[doc = concat!("Adds a [`", stringify!($Row), "`]; returns the row's index.")]
                pub fn $add(&mut self, row: $Row) -> u32 {
                    self.tables.$table.push(&row).unwrap_or_else(|| {
                        self.too_large.get_or_insert(TooLarge { table: stringify!($table) });
                        NONE
                    })
                }
            )+
        }
    };
}

every_table! { tables }

impl Writer {
    /// An empty batch.
    pub fn new(header: Header) -> Self {
        let mut writer = Self {
            header,
            tables: Tables::default(),
            ids: HashMap::new(),
            strings: Buffer::default(),
            text: Vec::new(),
            too_large: None,
        };
        // Row 0 is the empty text.
        writer.string("");
        writer
    }

    /// Adds the values of a sample that counts `count`: each with what one sample stands for by its type, in the order of
    /// the value types. Returns the first row and their number, for [`Sample`]; none are added where the count says all.
    pub fn values(&mut self, count: u64, values: &[(u64, u64)]) -> (u32, u32) {
        if values.iter().all(|(value, per_sample)| *value == count.saturating_mul(*per_sample)) {
            return (0, 0);
        }
        let rows: Vec<u32> = values.iter().map(|(value, _)| self.value(Value { value: *value })).collect();
        (rows.first().copied().unwrap_or(0), u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// The id of `text`, which is stored once.
    pub fn string(&mut self, text: &str) -> StringId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let place = u32::try_from(self.text.len()).ok().zip(u32::try_from(text.len()).ok());
        // The end must be within reach as well: it is the table's row count.
        let place = place.filter(|(offset, length)| offset.checked_add(*length).is_some());
        let row = place.and_then(|(offset, length)| self.strings.push(&Text { offset, length }));
        let Some(row) = row else {
            self.too_large.get_or_insert(TooLarge { table: "strings" });
            return StringId::default();
        };
        self.text.extend_from_slice(text.as_bytes());
        self.ids.insert(text.into(), StringId(row));
        StringId(row)
    }

    /// Lays the batch out: front, directory, tables.
    pub fn finish(self) -> Result<Vec<u8>, TooLarge> {
        if let Some(too_large) = self.too_large {
            return Err(too_large);
        }
        let rows = |table, bytes: &Vec<u8>| u32::try_from(bytes.len()).map_err(|_| TooLarge { table });
        let text = Buffer { count: rows("strings", &self.text)?, bytes: self.text };
        let strings = [(STRINGS, Text::WIDTH, self.strings), (STRING_BYTES, 1, text)];
        let tables: Vec<(u32, u32, Buffer)> = self.tables.each().chain(strings).collect();

        let mut end = (Front::WIDTH as usize) + tables.len() * (Entry::WIDTH as usize);
        let mut entries = Vec::with_capacity(end);
        for (id, stride, table) in &tables {
            let start = end.next_multiple_of(ALIGNMENT);
            let offset = start as u64;
            Entry { id: *id, stride: *stride, count: table.count, reserved: 0, offset }.encode(&mut entries);
            end = start + table.bytes.len();
        }

        let mut out = Vec::with_capacity(end);
        self.header.front(end as u64, rows("tables", &entries)? / Entry::WIDTH).encode(&mut out);
        out.append(&mut entries);
        for (_, _, table) in &tables {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend_from_slice(&table.bytes);
        }
        Ok(out)
    }
}

impl Header {
    /// The first bytes of a batch of `total_bytes` whose directory follows at once.
    fn front(&self, total_bytes: u64, directory_count: u32) -> Front {
        let Header { run_id, host_id, sequence, start_ns, end_ns, unix_minus_monotonic_ns } = *self;
        Front {
            magic: MAGIC,
            format: FORMAT,
            front_bytes: Front::WIDTH,
            total_bytes,
            run_id,
            host_id,
            sequence,
            start_ns,
            end_ns,
            unix_minus_monotonic_ns,
            directory_offset: Front::WIDTH.into(),
            directory_count,
            directory_stride: Entry::WIDTH,
        }
    }
}
