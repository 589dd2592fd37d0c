//! The checks that make every later access sound: what a row names is there.

use crate::read::{Batch, ReadError};
use crate::row::Row;
use crate::table::Table;
use crate::tables::{NONE, Text, every_table};

/// Every string is a piece of `text` that begins and ends between characters; the first one is empty.
pub(crate) fn strings(strings: &Table<'_, Text>, text: &str) -> Result<(), ReadError> {
    for (id, string) in (0_u32..).zip(strings) {
        match string.of(text) {
            Some(text) if id > 0 || text.is_empty() => {}
            _ => return Err(ReadError::Text(id)),
        }
    }
    Ok(())
}

/// Every index from a table into another is that of a row, or [`NONE`] where that is allowed.
pub(crate) fn references(batch: &Batch<'_>) -> Result<(), ReadError> {
    texts(batch)?;
    for (row, sample) in (0..).zip(batch.samples()) {
        let at = At { table: "samples", row };
        at.index("thread", sample.thread, batch.threads())?;
        at.index("stack", sample.stack, batch.stacks())?;
        at.range("timestamps", sample.timestamps_start, sample.timestamps_count, batch.timestamps())?;
        at.holds(
            sample.timestamps_count == 0 || u64::from(sample.timestamps_count) == sample.count,
            "there are as many timestamps as samples, or none",
        )?;
        at.range("values", sample.values_start, sample.values_count, batch.value_rows())?;
        at.holds(
            sample.values_count == 0 || sample.values_count == batch.value_types().len(),
            "there are as many values as value types, or none",
        )?;
    }
    for (row, stack) in (0..).zip(batch.stacks()) {
        let at = At { table: "stacks", row };
        at.range("frames", stack.frames_start, stack.frames_count, batch.frames())?;
        at.holds(stack.kernel_frames <= stack.frames_count, "kernel frames are part of the frames")?;
    }
    for (row, frame) in (0..).zip(batch.frames()) {
        At { table: "frames", row }.index("location", frame.location, batch.locations())?;
    }
    for (row, location) in (0..).zip(batch.locations()) {
        let at = At { table: "locations", row };
        if location.mapping != NONE {
            at.index("mapping", location.mapping, batch.mappings())?;
        }
        at.range("lines", location.lines_start, location.lines_count, batch.lines())?;
    }
    for (row, line) in (0..).zip(batch.lines()) {
        At { table: "lines", row }.index("function", line.function, batch.functions())?;
    }
    for (row, process) in (0..).zip(batch.processes()) {
        let at = At { table: "processes", row };
        at.range("labels", process.labels_start, process.labels_count, batch.labels())?;
    }
    for (row, thread) in (0..).zip(batch.threads()) {
        At { table: "threads", row }.index("process", thread.process, batch.processes())?;
    }
    Ok(())
}

/// Every text column of every table names a string.
fn texts(batch: &Batch<'_>) -> Result<(), ReadError> {
    // Without a table of strings the empty text is still there.
    let strings = batch.strings_len().max(1);
    macro_rules! check_texts {
        ($($id:literal $Row:ident $table:ident $add:ident,)+) => {$(
            for (row, values) in (0..).zip(batch.$table()) {
                let at = At { table: stringify!($table), row };
                values.each_text(|column, id| at.below(column, id.0, strings))?;
            }
        )+};
    }
    every_table! { check_texts }
    Ok(())
}

/// The row being checked.
#[derive(Clone, Copy)]
struct At {
    table: &'static str,
    row: u32,
}

impl At {
    fn index<R: Row>(self, column: &'static str, index: u32, of: Table<'_, R>) -> Result<(), ReadError> {
        self.below(column, index, of.len())
    }

    fn below(self, column: &'static str, index: u32, rows: u32) -> Result<(), ReadError> {
        if index < rows {
            return Ok(());
        }
        Err(ReadError::Dangling { table: self.table, row: self.row, column, index: index.into() })
    }

    /// An empty range may start anywhere.
    fn range<R: Row>(
        self,
        column: &'static str,
        start: u32,
        count: u32,
        of: Table<'_, R>,
    ) -> Result<(), ReadError> {
        let end = u64::from(start) + u64::from(count);
        if count == 0 || end <= of.len().into() {
            return Ok(());
        }
        Err(ReadError::Dangling { table: self.table, row: self.row, column, index: end - 1 })
    }

    fn holds(self, true_of_row: bool, rule: &'static str) -> Result<(), ReadError> {
        if true_of_row {
            return Ok(());
        }
        Err(ReadError::Contradiction { table: self.table, row: self.row, rule })
    }
}
