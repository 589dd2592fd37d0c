//! The flat profile batch: one little-endian buffer with a header, a directory and tables.
//!
//! Rows refer to each other by index. A table's `stride` may grow in later versions: a reader
//! takes the columns that it knows and skips the rest.

pub mod tables;

/// A batch, read in place.
pub struct Batch<'a> {
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The buffer as it was handed over.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}
