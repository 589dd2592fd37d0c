//! The flat profile batch: one little-endian buffer with a header, a directory and tables.
//!
//! The same bytes serve a plugin in the process, a plugin in another process or another language, a
//! spool on disk, fixtures and replay. Rows refer to each other by index, so a reader needs neither
//! allocation nor decoding up front: [`Batch::parse`] checks everything once, then rows are read in
//! place. [`Writer`] makes a batch.
//!
//! # Layout
//!
//! ```text
//! front       magic "SONDEBAT", format u32, bytes of the front u32, bytes of the batch u64,
//!             run id [16], host id [16], sequence u64, start u64, end u64, unix minus monotonic i64,
//!             directory: offset u64, count u32, stride u32
//! directory   per table: id u32, stride u32, count u32, 0 u32, offset u64
//! tables      rows of the columns in [`tables`], each table at a multiple of 8 bytes;
//!             strings are rows of {offset u32, length u32} into the table of string bytes (UTF-8)
//! ```
//!
//! # Growing without breaking
//!
//! - A column may be appended to a table: rows carry their `stride`, and a reader takes the columns that
//!   it knows and skips the rest. In a batch written before, the column reads as zero or the empty text.
//!   Only rows shorter than those of the first version are an error.
//! - A table may be added: a reader skips ids that it does not know; a table that is absent is empty.
//! - Fields may be appended to the front and to the directory's entries in the same way.
//! - Anything else is a new format, which this reader refuses.

#![forbid(unsafe_code)]

mod check;
mod header;
mod merge;
mod read;
mod row;
mod table;
pub mod tables;
mod write;

#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod grown;

pub use header::{FORMAT, Header};
pub use merge::{MergeError, merge};
pub use read::{Batch, ReadError};
pub use row::Row;
pub use table::{Rows, Table};
pub use tables::{NONE, StringId};
pub use write::{TooLarge, Writer};
