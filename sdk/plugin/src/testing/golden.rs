//! Batches with what exporters must get right.

use crate::batch::grown::grown;
use crate::batch::tables::{
    Attribute, Frame, Function, KERNEL, Label, Line, Location, Loss, Mapping, NATIVE, NONE, Process, Sample,
    Stack, Thread, Timestamp, ValueType,
};
use crate::batch::{Header, StringId, Writer};

/// Batches with everything that one may hold, by what is special about each: what an exporter has to take.
///
/// An empty one; two stacks with names; the same without names; kernel frames, inlined functions, incomplete and
/// empty stacks, labels, losses and odd texts; thousands of stacks; a batch with columns and tables of a later
/// version.
pub fn golden_batches() -> Vec<(&'static str, Vec<u8>)> {
    let odd = odd();
    vec![
        ("an empty batch", finish(Writer::new(header(1)))),
        ("two stacks with names", golden_batch()),
        ("two stacks without names", two_stacks(false)),
        ("everything that a batch may hold", odd.clone()),
        ("five thousand stacks", many(5000)),
        ("a batch of a later version", grown(&odd, 12)),
    ]
}

fn header(sequence: u64) -> Header {
    Header {
        run_id: [7; 16],
        host_id: [9; 16],
        sequence,
        start_ns: 0,
        end_ns: 10_000_000_000,
        unix_minus_monotonic_ns: 1_795_000_000_000_000_000,
    }
}

#[expect(clippy::expect_used, reason = "no table of these comes near 2^32 rows")]
fn finish(writer: Writer) -> Vec<u8> {
    writer.finish().expect("a small batch")
}

/// A batch of one process with two named stacks of two frames, three samples in all.
pub fn golden_batch() -> Vec<u8> {
    two_stacks(true)
}

fn two_stacks(names: bool) -> Vec<u8> {
    let mut writer = Writer::new(header(2));
    let (samples, count) = (writer.string("samples"), writer.string("count"));
    writer.value_type(ValueType { kind: samples, unit: count, per_sample: 1 });
    let (comm, path) = (writer.string("golden"), writer.string("/usr/bin/golden"));
    let empty = StringId::default();
    let process = writer.process(Process {
        pid: 100,
        parent_pid: 1,
        comm,
        executable: path,
        cgroup: empty,
        labels_start: 0,
        labels_count: 0,
    });
    let thread = writer.thread(Thread { process, tid: 100, comm });
    let mapping = writer.mapping(Mapping {
        kind: NATIVE,
        path,
        build_id: empty,
        start: 0x1000,
        limit: 0x2000,
        file_offset: 0,
        htlhash: empty,
    });
    let mut location = |name: &str, address| {
        if !names {
            return writer.location(Location {
                kind: NATIVE,
                mapping,
                address,
                lines_start: 0,
                lines_count: 0,
            });
        }
        let name = writer.string(name);
        let function = writer.function(Function { name, system_name: empty, file: empty, start_line: 0 });
        let line = writer.line(Line { function, line: 0, column: 0 });
        writer.location(Location { kind: NATIVE, mapping, address, lines_start: line, lines_count: 1 })
    };
    let main = location("main", 0x1100);
    let leaves = [location("parse", 0x1200), location("write", 0x1300)];
    let outcome = writer.string("complete");
    for (leaf, count) in leaves.into_iter().zip([2, 1]) {
        let frames_start = writer.frame(Frame { location: leaf });
        writer.frame(Frame { location: main });
        let stack =
            writer.stack(Stack { frames_start, frames_count: 2, kernel_frames: 0, outcome, complete: 1 });
        writer.sample(Sample {
            thread,
            stack,
            count,
            timestamps_start: 0,
            timestamps_count: 0,
            ..Sample::default()
        });
    }
    finish(writer)
}

fn odd() -> Vec<u8> {
    let mut w = Writer::new(header(3));
    for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", 10_101_010)] {
        let (kind, unit) = (w.string(kind), w.string(unit));
        w.value_type(ValueType { kind, unit, per_sample });
    }
    let (key, value) = (w.string("team"), w.string("größe; \"x\"\n\\"));
    let labels_start = w.label(Label { key, value });
    let (comm, executable, cgroup) =
        (w.string("a b;c\t"), w.string("/opt/ü (deleted)"), w.string("/system.slice"));
    let process = Process { pid: 1, parent_pid: 0, comm, executable, cgroup, labels_start, labels_count: 1 };
    let process = w.process(process);
    let thread = w.thread(Thread { process, tid: 2, comm });
    let (path, build_id) = (w.string("[kernel.kallsyms]"), StringId::default());
    let (start, limit, file_offset) = (0, u64::MAX, 0);
    let kernel =
        w.mapping(Mapping { kind: KERNEL, path, build_id, start, limit, file_offset, ..Mapping::default() });
    let build_id = w.string("00ff");
    let user = w.mapping(Mapping {
        kind: NATIVE,
        path: executable,
        build_id,
        start: 0x1000,
        limit: 0x2000,
        file_offset,
        ..Mapping::default()
    });
    let (name, system_name, file) = (w.string("a::b<c>"), w.string("_ZN1a1bE"), w.string("a.rs"));
    let function = w.function(Function { name, system_name, file, start_line: 3 });
    let lines_start = w.line(Line { function, line: 9, column: 5 });
    w.line(Line { function, line: u32::MAX, column: 0 });
    let locations = [
        Location { kind: KERNEL, mapping: kernel, address: u64::MAX, lines_start: 0, lines_count: 0 },
        Location { kind: NATIVE, mapping: user, address: 0x1234, lines_start, lines_count: 2 },
        Location { kind: NATIVE, mapping: NONE, address: 0, lines_start: 0, lines_count: 0 },
    ]
    .map(|location| w.location(location));
    let outcomes = [w.string("complete"), w.string("bad_frame_pointer")];
    let frames_start = w.frame(Frame { location: locations[0] });
    w.frame(Frame { location: locations[1] });
    w.frame(Frame { location: locations[2] });
    let whole = Stack { frames_start, frames_count: 3, kernel_frames: 1, outcome: outcomes[0], complete: 1 };
    let bare =
        Stack { frames_start: 0, frames_count: 0, kernel_frames: 0, outcome: outcomes[1], complete: 0 };
    let stacks = [whole, bare].map(|stack| w.stack(stack));
    let timestamps_start = w.timestamp(Timestamp { time_ns: 1, ..Timestamp::default() });
    w.timestamp(Timestamp { time_ns: 10_000_000_000, ..Timestamp::default() });
    w.sample(Sample {
        thread,
        stack: stacks[0],
        count: 2,
        timestamps_start,
        timestamps_count: 2,
        ..Sample::default()
    });
    w.sample(Sample {
        thread,
        stack: stacks[1],
        count: u64::MAX >> 32,
        timestamps_start: 0,
        timestamps_count: 0,
        ..Sample::default()
    });
    let (key, value) = (w.string("kernel.release"), w.string("6.18.0"));
    w.attribute(Attribute { key, value });
    let reason = w.string("samples_lost_ring_full");
    w.loss(Loss { reason, count: 3 });
    finish(w)
}

/// As many stacks, each with a sample of its own.
fn many(stacks: u32) -> Vec<u8> {
    let mut w = Writer::new(header(4));
    let (kind, unit) = (w.string("samples"), w.string("count"));
    w.value_type(ValueType { kind, unit, per_sample: 1 });
    let (comm, outcome) = (w.string("many"), w.string("complete"));
    let process = w.process(Process { pid: 100, parent_pid: 1, comm, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 100, comm });
    for number in 0..stacks {
        let name = w.string(&format!("function_{number}"));
        let function = w.function(Function { name, ..Function::default() });
        let lines_start = w.line(Line { function, line: 0, column: 0 });
        let address = u64::from(number) * 16;
        let location = Location { kind: NATIVE, mapping: NONE, address, lines_start, lines_count: 1 };
        let location = w.location(location);
        let frames_start = w.frame(Frame { location });
        w.frame(Frame { location: 0 });
        let stack = w.stack(Stack { frames_start, frames_count: 2, kernel_frames: 0, outcome, complete: 1 });
        w.sample(Sample {
            thread,
            stack,
            count: 1,
            timestamps_start: 0,
            timestamps_count: 0,
            ..Sample::default()
        });
    }
    finish(w)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn every_golden_batch_is_read() {
        let samples = golden_batches().into_iter().map(|(name, bytes)| {
            let batch = Batch::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            batch.samples().len()
        });
        assert_eq!(samples.collect::<Vec<_>>(), [0, 2, 2, 2, 5000, 2]);
    }
}
