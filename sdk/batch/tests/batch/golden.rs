//! A batch kept as it was first written: every later version must read it.
//!
//! It was made by `cargo test -p stacksonde-batch -- --ignored makes_the_golden_batch`, which leaves a
//! file that is there alone. It is never made again: a format that cannot read it is another format,
//! with a golden batch of its own.

use stacksonde_batch::tables::{
    Attribute, Frame, Function, Label, Line, Location, Loss, Mapping, NATIVE, Process, Sample, Stack, Thread,
    Timestamp, ValueType,
};
use stacksonde_batch::{Batch, Header, Writer};
use std::path::Path;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/batch-v1.bin");

fn header() -> Header {
    Header {
        run_id: *b"0123456789abcdef",
        host_id: *b"fedcba9876543210",
        sequence: 42,
        start_ns: 1_000_000_000,
        end_ns: 11_000_000_000,
        unix_minus_monotonic_ns: 1_795_000_000_000_000_000,
    }
}

/// A batch with one row in each table, two samples of it with their times.
fn written() -> Vec<u8> {
    let mut w = Writer::new(header());
    let (kind, unit) = (w.string("cpu"), w.string("nanoseconds"));
    w.value_type(ValueType { kind, unit, per_sample: 10_101_010 });
    let (key, value) = (w.string("team"), w.string("größe"));
    w.label(Label { key, value });
    let (comm, executable, cgroup) = (w.string("app"), w.string("/usr/bin/app"), w.string("/system.slice"));
    let process = w.process(Process {
        pid: 100,
        parent_pid: 1,
        comm,
        executable,
        cgroup,
        labels_start: 0,
        labels_count: 1,
    });
    let comm = w.string("worker");
    let thread = w.thread(Thread { process, tid: 101, comm });
    let build_id = w.string("00ff");
    let (start, limit, file_offset) = (0x1000, 0x2000, 0x1000);
    let mapping = w.mapping(Mapping {
        kind: NATIVE,
        path: executable,
        build_id,
        start,
        limit,
        file_offset,
        ..Mapping::default()
    });
    let (name, system_name, file) = (w.string("app::run"), w.string("_ZN3app3runE"), w.string("run.rs"));
    let function = w.function(Function { name, system_name, file, start_line: 7 });
    w.line(Line { function, line: 9, column: 5 });
    let location =
        w.location(Location { kind: NATIVE, mapping, address: 0x1234, lines_start: 0, lines_count: 1 });
    w.frame(Frame { location });
    let outcome = w.string("complete");
    let stack = w.stack(Stack { frames_start: 0, frames_count: 1, kernel_frames: 0, outcome, complete: 1 });
    w.timestamp(Timestamp { time_ns: 1_500_000_000, ..Timestamp::default() });
    w.timestamp(Timestamp { time_ns: 1_600_000_000, ..Timestamp::default() });
    w.sample(Sample {
        thread,
        stack,
        count: 2,
        timestamps_start: 0,
        timestamps_count: 2,
        ..Sample::default()
    });
    let (key, value) = (w.string("kernel.release"), w.string("6.18.0"));
    w.attribute(Attribute { key, value });
    let reason = w.string("samples_lost_ring_full");
    w.loss(Loss { reason, count: 3 });
    w.finish().unwrap()
}

#[test]
#[ignore = "makes tests/golden/batch-v1.bin where it is missing"]
fn makes_the_golden_batch() {
    if !Path::new(GOLDEN).exists() {
        std::fs::write(GOLDEN, written()).unwrap();
    }
}

#[test]
fn the_first_batch_ever_written_is_still_read() {
    let bytes = std::fs::read(GOLDEN).unwrap();
    let batch = Batch::parse(&bytes).unwrap();
    assert_eq!(*batch.header(), header());
    let text = |id| batch.text(id);

    let value_type = batch.value_types().get(0).unwrap();
    assert_eq!((text(value_type.kind), text(value_type.unit)), ("cpu", "nanoseconds"));
    assert_eq!(value_type.per_sample, 10_101_010);

    let sample = batch.samples().get(0).unwrap();
    assert_eq!((batch.samples().len(), sample.count), (1, 2));
    let times = batch.timestamps().range(sample.timestamps_start, sample.timestamps_count);
    assert_eq!(times.map(|time| time.time_ns).collect::<Vec<_>>(), [1_500_000_000, 1_600_000_000]);

    let thread = batch.threads().get(sample.thread).unwrap();
    assert_eq!((thread.tid, text(thread.comm)), (101, "worker"));
    let process = batch.processes().get(thread.process).unwrap();
    assert_eq!((process.pid, process.parent_pid, text(process.comm)), (100, 1, "app"));
    assert_eq!((text(process.executable), text(process.cgroup)), ("/usr/bin/app", "/system.slice"));
    let label = batch.labels().range(process.labels_start, process.labels_count).next().unwrap();
    assert_eq!((text(label.key), text(label.value)), ("team", "größe"));

    let stack = batch.stacks().get(sample.stack).unwrap();
    assert_eq!((text(stack.outcome), stack.complete, stack.kernel_frames), ("complete", 1, 0));
    let frame = batch.frames().range(stack.frames_start, stack.frames_count).next().unwrap();
    let location = batch.locations().get(frame.location).unwrap();
    assert_eq!((location.kind, location.address), (NATIVE, 0x1234));
    let mapping = batch.mappings().get(location.mapping).unwrap();
    assert_eq!((text(mapping.path), text(mapping.build_id)), ("/usr/bin/app", "00ff"));
    assert_eq!((mapping.start, mapping.limit, mapping.file_offset), (0x1000, 0x2000, 0x1000));
    assert_eq!(text(mapping.htlhash), "", "a column that came later");
    let line = batch.lines().range(location.lines_start, location.lines_count).next().unwrap();
    assert_eq!((line.line, line.column), (9, 5));
    let function = batch.functions().get(line.function).unwrap();
    assert_eq!((text(function.name), text(function.system_name)), ("app::run", "_ZN3app3runE"));
    assert_eq!((text(function.file), function.start_line), ("run.rs", 7));

    let attribute = batch.attributes().get(0).unwrap();
    assert_eq!((text(attribute.key), text(attribute.value)), ("kernel.release", "6.18.0"));
    let loss = batch.losses().get(0).unwrap();
    assert_eq!((text(loss.reason), loss.count), ("samples_lost_ring_full", 3));
}
