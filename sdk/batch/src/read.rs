//! Reading: everything is checked once, then every access is a bounds-checked look-up that cannot fail.

use crate::check;
use crate::header::{Entry, FORMAT, Front, Header, MAGIC};
use crate::row::Row;
use crate::table::{Rows, Table};
use crate::tables::{
    Attribute, Frame, Function, Label, Line, Location, Loss, Mapping, Process, Sample, Stack, Thread,
    Timestamp, Value, ValueType,
};
use crate::tables::{LAST_ID, STRING_BYTES, STRINGS, StringId, Text, every_table};
use std::fmt;

/// Why bytes are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It ends within its header.
    #[error("the batch has {0} bytes, fewer than its header")]
    Short(usize),
    /// It is something else.
    #[error("this is not a batch: it does not start with `SONDEBAT`")]
    Magic,
    /// It was written in a format of a later major version.
    #[error("the batch has format {0}, this reader knows format {FORMAT}; update the reader")]
    Format(u32),
    /// It was cut, or something follows it.
    #[error("the batch states {stated} bytes and has {actual}")]
    Length {
        /// As its header says.
        stated: u64,
        /// As handed over.
        actual: usize,
    },
    /// The directory of tables lies outside of the buffer, or its entries are too short.
    #[error("the batch's directory of tables is damaged")]
    Directory,
    /// A table lies outside of the buffer.
    #[error("the batch's table {0} reaches outside of the batch")]
    Outside(u32),
    /// A table stands in the directory twice.
    #[error("the batch has table {0} twice")]
    Twice(u32),
    /// Rows lack columns that every version has.
    #[error(
        "the rows of the batch's table {id} have {stride} bytes, fewer than the {least} of the first version"
    )]
    Stride {
        /// The table.
        id: u32,
        /// Bytes of its rows.
        stride: u32,
        /// Bytes of a row of the first version.
        least: u32,
    },
    /// The text is not UTF-8.
    #[error("the text of the batch is not UTF-8 after {0} bytes")]
    Utf8(usize),
    /// A string begins or ends within a character or outside of the text.
    #[error("string {0} of the batch is damaged")]
    Text(u32),
    /// A row names a row that is not there.
    #[error("row {row} of the batch's {table} names {column} {index}, which is not there")]
    Dangling {
        /// The table.
        table: &'static str,
        /// Its row.
        row: u32,
        /// The column that is wrong.
        column: &'static str,
        /// The index that it states (the last row of a range).
        index: u64,
    },
    /// Two columns of a row contradict each other.
    #[error("row {row} of the batch's {table} is contradictory: {rule}")]
    Contradiction {
        /// The table.
        table: &'static str,
        /// Its row.
        row: u32,
        /// The rule that is broken.
        rule: &'static str,
    },
}

/// A batch, read in place: every table, index and text in it was checked by [`Batch::parse`].
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    header: Header,
    tables: Tables<'a>,
    strings: Table<'a, Text>,
    text: &'a str,
}

macro_rules! tables {
    ($($id:literal $Row:ident $table:ident $add:ident,)+) => {
        #[derive(Clone, Copy)]
        struct Tables<'a> {
            $($table: Table<'a, $Row>,)+
        }

        impl<'a> Tables<'a> {
            fn find(directory: Directory<'a>) -> Result<Self, ReadError> {
                Ok(Self { $($table: directory.table($id)?,)+ })
            }
        }

        impl<'a> Batch<'a> {
            $(
                #[doc = concat!("The table of [`", stringify!($Row), "`] rows.")]
                pub fn $table(&self) -> Table<'a, $Row> {
                    self.tables.$table
                }
            )+
        }
    };
}

every_table! { tables }

impl<'a> Batch<'a> {
    /// Checks all of `bytes`: bounds, every index from table to table, UTF-8. Allocates nothing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let front = front(bytes)?;
        let directory = Directory::new(bytes, &front)?;
        let text = directory.table_bytes(STRING_BYTES, 1)?.0;
        let text = std::str::from_utf8(text).map_err(|error| ReadError::Utf8(error.valid_up_to()))?;
        let header = Header {
            run_id: front.run_id,
            host_id: front.host_id,
            sequence: front.sequence,
            start_ns: front.start_ns,
            end_ns: front.end_ns,
            unix_minus_monotonic_ns: front.unix_minus_monotonic_ns,
        };
        let strings = directory.table(STRINGS)?;
        let batch = Self { bytes, header, tables: Tables::find(directory)?, strings, text };
        check::strings(&batch.strings, batch.text)?;
        check::references(&batch)?;
        Ok(batch)
    }

    /// The buffer as it was handed over.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Which batch this is, and when.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The text of a string of this batch; empty for an id that is not of this batch.
    pub fn text(&self, id: StringId) -> &'a str {
        self.strings.get(id.0).and_then(|string| string.of(self.text)).unwrap_or("")
    }

    /// Returns the values of a sample, one for each value type, in their order.
    pub fn values(&self, sample: &Sample) -> impl Iterator<Item = u64> + use<'a> {
        let own = self.values_of(sample);
        let count = sample.count;
        let types = self.value_types().into_iter().enumerate();
        types.map(move |(index, kind)| {
            own.clone().nth(index).map_or(count.saturating_mul(kind.per_sample), |own| own.value)
        })
    }

    /// Returns the value of a sample for the last value type, the one that profiles are read by; its count if there is
    /// none.
    pub fn main_value(&self, sample: &Sample) -> u64 {
        self.values(sample).last().unwrap_or(sample.count)
    }

    /// Tells whether samples stand for different amounts, so that their counts do not say all.
    pub fn is_weighted(&self) -> bool {
        self.samples().iter().any(|sample| sample.values_count > 0)
    }

    /// Returns what a sample of its own stands for, in the unit of the last value type.
    pub fn value_at(&self, timestamp: &Timestamp) -> u64 {
        match timestamp.value {
            0 => self.value_types().iter().next_back().map_or(1, |kind| kind.per_sample),
            value => value,
        }
    }

    /// Returns the values that a sample carries itself; none where its count says all.
    pub fn values_of(&self, sample: &Sample) -> Rows<'a, Value> {
        self.tables.value_rows.range(sample.values_start, sample.values_count)
    }

    /// Number of strings; 0 and 1 both mean that there is only the empty text.
    pub(crate) fn strings_len(&self) -> u32 {
        self.strings.len()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("bytes", &self.bytes.len())
            .field("header", &self.header)
            .field("samples", &self.samples().len())
            .finish_non_exhaustive()
    }
}

impl Text {
    /// Its part of `text`; `None` if that lies outside or cuts a character.
    pub(crate) fn of(self, text: &str) -> Option<&str> {
        let start = self.offset as usize;
        text.get(start..start.checked_add(self.length as usize)?)
    }
}

/// The first bytes, if they are those of a batch of this format and of this length.
fn front(bytes: &[u8]) -> Result<Front, ReadError> {
    if bytes.len() < Front::ESSENTIAL as usize {
        return Err(ReadError::Short(bytes.len()));
    }
    let front = Front::decode(bytes);
    if front.magic != MAGIC {
        return Err(ReadError::Magic);
    }
    if front.format != FORMAT {
        return Err(ReadError::Format(front.format));
    }
    if usize::try_from(front.total_bytes) != Ok(bytes.len()) {
        return Err(ReadError::Length { stated: front.total_bytes, actual: bytes.len() });
    }
    // Fields that this version has and the writer had not lie beyond `front_bytes`.
    match bytes.get(..front.front_bytes as usize) {
        Some(written) if front.front_bytes >= Front::ESSENTIAL => Ok(Front::decode(written)),
        _ => Err(ReadError::Short(bytes.len())),
    }
}

/// The places of the tables of a buffer.
#[derive(Clone, Copy)]
struct Directory<'a> {
    bytes: &'a [u8],
    entries: Table<'a, Entry>,
}

impl<'a> Directory<'a> {
    /// The directory, every entry of it within the buffer and there once.
    fn new(bytes: &'a [u8], front: &Front) -> Result<Self, ReadError> {
        let entries = slice(bytes, front.directory_offset, front.directory_count, front.directory_stride)
            .and_then(|entries| Table::<Entry>::new(entries, front.directory_stride))
            .ok_or(ReadError::Directory)?;
        let mut seen = 0_u32;
        for entry in entries {
            slice(bytes, entry.offset, entry.count, entry.stride).ok_or(ReadError::Outside(entry.id))?;
            // Only the ids that are read matter; all of them are below 32.
            if entry.id <= LAST_ID {
                if seen & 1 << entry.id != 0 {
                    return Err(ReadError::Twice(entry.id));
                }
                seen |= 1 << entry.id;
            }
        }
        Ok(Self { bytes, entries })
    }

    /// The rows of table `id`; none if it is not there.
    fn table<R: Row>(&self, id: u32) -> Result<Table<'a, R>, ReadError> {
        let (bytes, stride) = self.table_bytes(id, R::ESSENTIAL)?;
        match stride {
            0 => Ok(Table::EMPTY),
            _ => Table::new(bytes, stride).ok_or(ReadError::Outside(id)),
        }
    }

    /// The bytes of table `id` and its stride, at least `least`; nothing and 0 if it is not there.
    fn table_bytes(&self, id: u32, least: u32) -> Result<(&'a [u8], u32), ReadError> {
        let Some(entry) = self.entries.iter().find(|entry| entry.id == id) else {
            return Ok((&[], 0));
        };
        if entry.stride < least {
            return Err(ReadError::Stride { id, stride: entry.stride, least });
        }
        let bytes = slice(self.bytes, entry.offset, entry.count, entry.stride);
        Ok((bytes.ok_or(ReadError::Outside(id))?, entry.stride))
    }
}

/// `count` times `stride` bytes from `offset` on.
fn slice(bytes: &[u8], offset: u64, count: u32, stride: u32) -> Option<&[u8]> {
    let length = u64::from(count) * u64::from(stride);
    let end = offset.checked_add(length)?;
    bytes.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}
