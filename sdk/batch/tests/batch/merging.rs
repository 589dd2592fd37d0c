//! Several batches as one: nothing is lost, and what is the same is there once.

use crate::content::any_content;
use proptest::prelude::*;
use stacksonde_batch::tables::{Loss, Process, Sample, Stack, Thread, Value, ValueType};
use stacksonde_batch::{Batch, Header, MergeError, Writer, merge};
use std::collections::BTreeMap;

/// Samples by everything that they say: process, thread, frames with names, outcome.
fn told(batch: &Batch<'_>) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for sample in batch.samples() {
        let thread = batch.threads().get(sample.thread).unwrap();
        let process = batch.processes().get(thread.process).unwrap();
        let stack = batch.stacks().get(sample.stack).unwrap();
        let labels: Vec<_> = batch
            .labels()
            .range(process.labels_start, process.labels_count)
            .map(|label| (batch.text(label.key), batch.text(label.value)))
            .collect();
        let mut frames = Vec::new();
        for frame in batch.frames().range(stack.frames_start, stack.frames_count) {
            let location = batch.locations().get(frame.location).unwrap();
            let mapping = batch.mappings().get(location.mapping).map(|mapping| {
                let texts = (batch.text(mapping.path), batch.text(mapping.build_id));
                (texts, mapping.start, mapping.limit, mapping.file_offset, mapping.kind)
            });
            let lines: Vec<_> = batch
                .lines()
                .range(location.lines_start, location.lines_count)
                .map(|line| {
                    let function = batch.functions().get(line.function).unwrap();
                    let names = [function.name, function.system_name, function.file].map(|id| batch.text(id));
                    (names, function.start_line, line.line, line.column)
                })
                .collect();
            frames.push((location.kind, location.address, mapping, lines));
        }
        let process = (
            process.pid,
            process.parent_pid,
            [process.comm, process.executable, process.cgroup].map(|id| batch.text(id)),
        );
        let outcome = (batch.text(stack.outcome), stack.complete, stack.kernel_frames);
        let key = format!("{:?}", (process, labels, thread.tid, batch.text(thread.comm), frames, outcome));
        let count: &mut u64 = told.entry(key).or_default();
        *count = count.saturating_add(sample.count);
    }
    told
}

fn times(batch: &Batch<'_>) -> usize {
    batch.samples().iter().map(|sample| sample.timestamps_count as usize).sum()
}

proptest! {
    #[test]
    fn a_batch_with_itself_has_every_sample_twice_and_everything_else_once(content in any_content()) {
        let bytes = content.write();
        let batch = Batch::parse(&bytes).unwrap();
        let merged = merge(&[batch, batch]).unwrap();
        let merged = Batch::parse(&merged).unwrap();
        let twice: BTreeMap<_, _> =
            told(&batch).into_iter().map(|(key, count)| (key, count.saturating_mul(2))).collect();
        prop_assert_eq!(told(&merged), twice);
        prop_assert_eq!(times(&merged), 2 * times(&batch));
        prop_assert!(merged.stacks().len() <= batch.stacks().len());
        prop_assert!(merged.locations().len() <= batch.locations().len());
        prop_assert!(merged.processes().len() <= batch.processes().len());
        prop_assert!(merged.threads().len() <= batch.threads().len());
        prop_assert_eq!(merged.attributes().len(), batch.attributes().len());
    }
}

fn interval(start_ns: u64, losses: &[(&str, u64)]) -> Vec<u8> {
    let mut writer =
        Writer::new(Header { sequence: start_ns, start_ns, end_ns: start_ns + 10, ..Header::default() });
    for (reason, count) in losses {
        let reason = writer.string(reason);
        writer.loss(Loss { reason, count: *count });
    }
    writer.finish().unwrap()
}

#[test]
fn the_interval_is_that_of_all_and_losses_are_added() {
    let bytes = [interval(10, &[("a", 1), ("b", 2)]), interval(20, &[("b", 5)]), interval(30, &[])];
    let batches = bytes.each_ref().map(|bytes| Batch::parse(bytes).unwrap());
    let merged = merge(&batches).unwrap();
    let merged = Batch::parse(&merged).unwrap();
    assert_eq!((merged.header().start_ns, merged.header().end_ns, merged.header().sequence), (10, 40, 10));
    let losses: Vec<_> =
        merged.losses().iter().map(|loss| (merged.text(loss.reason).to_owned(), loss.count)).collect();
    assert_eq!(losses, [("a".to_owned(), 1), ("b".to_owned(), 7)]);
}

#[test]
fn samples_of_other_values_are_not_added_up() {
    let with = |per_sample| {
        let mut writer = Writer::new(Header::default());
        let kind = writer.string("cpu");
        writer.value_type(ValueType { kind, unit: kind, per_sample });
        writer.finish().unwrap()
    };
    let bytes = [with(1), with(2)];
    let batches = bytes.each_ref().map(|bytes| Batch::parse(bytes).unwrap());
    assert_eq!(merge(&batches).unwrap_err(), MergeError::Values);
    assert_eq!(merge(&[]).unwrap_err(), MergeError::Nothing);
}

#[test]
fn values_that_samples_carry_are_added_to_those_that_counts_stand_for() {
    let with = |count, cpu_time_ns: Option<u64>| {
        let mut writer = Writer::new(Header::default());
        for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", 10)] {
            let (kind, unit) = (writer.string(kind), writer.string(unit));
            writer.value_type(ValueType { kind, unit, per_sample });
        }
        writer.process(Process::default());
        writer.thread(Thread::default());
        writer.stack(Stack::default());
        let mut sample = Sample { count, ..Sample::default() };
        if let Some(cpu_time_ns) = cpu_time_ns {
            sample.values_start = writer.value(Value { value: count });
            writer.value(Value { value: cpu_time_ns });
            sample.values_count = 2;
        }
        writer.sample(sample);
        writer.finish().unwrap()
    };
    for (parts, expected) in [
        ([with(2, Some(23)), with(3, None)], ([5, 53], 2)),
        ([with(2, Some(23)), with(3, Some(27))], ([5, 50], 0)),
        ([with(2, None), with(3, None)], ([5, 50], 0)),
    ] {
        let merged = merge(&parts.each_ref().map(|bytes| Batch::parse(bytes).unwrap())).unwrap();
        let merged = Batch::parse(&merged).unwrap();
        let sample = merged.samples().get(0).unwrap();
        let values: Vec<u64> = merged.values(&sample).collect();
        assert_eq!((&values[..], sample.values_count), (&expected.0[..], expected.1));
        assert_eq!(merged.main_value(&sample), expected.0[1]);
    }
}
