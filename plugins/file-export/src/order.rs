//! Samples in the order of time.

use stacksonde_plugin::batch::Batch;

/// A row of the samples at a time: one sample where the batch has times, all of the row where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// CLOCK_MONOTONIC, nanoseconds; the start of the profile where there are no times.
    pub(crate) time_ns: u64,
    /// The row.
    pub(crate) sample: u32,
    /// The number of samples.
    pub(crate) count: u64,
    /// The value that they stand for, in the unit of the last value type.
    pub(crate) value: u64,
}

/// All samples, the earliest first.
pub(crate) fn by_time(batch: &Batch<'_>) -> Vec<Time> {
    let mut times = Vec::new();
    for (sample, row) in (0..).zip(batch.samples()).filter(|(_, row)| row.count > 0) {
        let stamps = batch.timestamps().range(row.timestamps_start, row.timestamps_count);
        if stamps.len() as u64 == row.count {
            times.extend(stamps.map(|stamp| Time {
                time_ns: stamp.time_ns,
                sample,
                count: 1,
                value: batch.value_at(&stamp),
            }));
        } else {
            let (time_ns, value) = (batch.header().start_ns, batch.main_value(&row));
            times.push(Time { time_ns, sample, count: row.count, value });
        }
    }
    times.sort_unstable();
    times
}
