//! The front of the buffer: what the batch is, and where its tables lie.

use crate::row::rows;

/// The first bytes of every batch.
pub(crate) const MAGIC: [u8; 8] = *b"SONDEBAT";

/// The format that this crate writes and reads. Appended columns, tables and header fields do not change it.
pub const FORMAT: u32 = 1;

/// Tables start at multiples of this, so that a C reader finds each first row aligned.
pub(crate) const ALIGNMENT: usize = 8;

/// The identity of a batch and its place in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// Random bytes, drawn once when the agent started.
    pub run_id: [u8; 16],
    /// The machine id (`/etc/machine-id`) as bytes; zeros if it is unknown.
    pub host_id: [u8; 16],
    /// Number of this batch in the run.
    pub sequence: u64,
    /// Start of the interval: CLOCK_MONOTONIC, nanoseconds.
    pub start_ns: u64,
    /// End of the interval: CLOCK_MONOTONIC, nanoseconds.
    pub end_ns: u64,
    /// The number to add to CLOCK_MONOTONIC for the time since 1970 (UTC), in nanoseconds.
    pub unix_minus_monotonic_ns: i64,
}

impl Header {
    /// A CLOCK_MONOTONIC time of this batch as nanoseconds since 1970 (UTC); saturates.
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.unix_minus_monotonic_ns)
    }
}

rows! {
    /// The buffer's first bytes.
    pub(crate) struct Front {
        /// [`MAGIC`].
        pub(crate) magic: [u8; 8],
        /// [`FORMAT`].
        pub(crate) format: u32,
        /// Bytes of the front; a later version may append fields.
        pub(crate) front_bytes: u32,
        /// Bytes of the whole buffer.
        pub(crate) total_bytes: u64,
        /// See [`Header::run_id`].
        pub(crate) run_id: [u8; 16],
        /// See [`Header::host_id`].
        pub(crate) host_id: [u8; 16],
        /// See [`Header::sequence`].
        pub(crate) sequence: u64,
        /// See [`Header::start_ns`].
        pub(crate) start_ns: u64,
        /// See [`Header::end_ns`].
        pub(crate) end_ns: u64,
        /// See [`Header::unix_minus_monotonic_ns`].
        pub(crate) unix_minus_monotonic_ns: i64,
        /// The start of the directory, in bytes from the start of the buffer.
        pub(crate) directory_offset: u64,
        /// Number of its entries.
        pub(crate) directory_count: u32,
        /// Bytes of one entry; a later version may append fields.
        pub(crate) directory_stride: u32,
    }

    /// The place of one table.
    pub(crate) struct Entry {
        /// Which table.
        pub(crate) id: u32,
        /// Bytes of one row.
        pub(crate) stride: u32,
        /// Number of rows.
        pub(crate) count: u32,
        /// 0.
        pub(crate) reserved: u32,
        /// The start of its first row, in bytes from the start of the buffer.
        pub(crate) offset: u64,
    }
}
