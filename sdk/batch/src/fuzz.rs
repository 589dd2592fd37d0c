//! Fuzz targets: plain functions of bytes.

use crate::{Batch, Row, Table, merge};

/// Parses `data` and, if it is a batch, reads every row of it.
pub fn fuzz_batch(data: &[u8]) {
    let Ok(batch) = Batch::parse(data) else { return };
    for sample in batch.samples() {
        assert!(batch.threads().get(sample.thread).is_some());
        assert!(batch.stacks().get(sample.stack).is_some());
        whole(batch.timestamps(), sample.timestamps_start, sample.timestamps_count);
    }
    for stack in batch.stacks() {
        whole(batch.frames(), stack.frames_start, stack.frames_count);
        batch.text(stack.outcome);
    }
    for frame in batch.frames() {
        assert!(batch.locations().get(frame.location).is_some());
    }
    for location in batch.locations() {
        batch.mappings().get(location.mapping);
        whole(batch.lines(), location.lines_start, location.lines_count);
    }
    for line in batch.lines() {
        assert!(batch.functions().get(line.function).is_some());
    }
    for process in batch.processes() {
        whole(batch.labels(), process.labels_start, process.labels_count);
    }
    for thread in batch.threads() {
        assert!(batch.processes().get(thread.process).is_some());
    }
    for function in batch.functions() {
        batch.text(function.name);
    }
    batch.value_types().iter().for_each(drop);
    batch.mappings().iter().for_each(drop);
    batch.attributes().iter().for_each(drop);
    batch.losses().iter().for_each(drop);
}

/// Puts `data`, if it is a batch, together with itself, and reads the result.
pub fn fuzz_merge(data: &[u8]) {
    if let Ok(batch) = Batch::parse(data)
        && let Ok(merged) = merge(&[batch, batch])
    {
        assert!(Batch::parse(&merged).is_ok());
    }
}

/// The range that a row names is there as a whole.
fn whole<R: Row>(table: Table<'_, R>, start: u32, count: u32) {
    let mut rows = table.range(start, count);
    assert_eq!(rows.len(), count as usize);
    assert_eq!(rows.next().is_some(), count > 0);
    assert_eq!(rows.next_back().is_some(), count > 1);
}
