//! Fuzz targets: plain functions of bytes.

use crate::Format;
use stacksonde_plugin::batch::Batch;

/// Writes `data`, if it is a batch, in every format.
pub fn fuzz_formats(data: &[u8]) {
    let Ok(batch) = Batch::parse(data) else { return };
    for format in Format::ALL {
        // Counts beyond 64 bits are refused; nothing may panic.
        let _ = format.encode(&batch);
    }
}
