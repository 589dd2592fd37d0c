use super::*;
use flate2::read::GzDecoder;
use stacksonde_plugin::batch::tables::{Attribute, Frame, KERNEL, Loss, NATIVE, Process, Stack, Thread};
use stacksonde_plugin::batch::{Header, Writer};
use std::io::Read;

fn decoded(batch: Writer) -> Profile {
    let bytes = batch.finish().unwrap();
    let file = encode(&Batch::parse(&bytes).unwrap()).unwrap();
    let mut message = Vec::new();
    GzDecoder::new(file.as_slice()).read_to_end(&mut message).unwrap();
    Profile::decode(message.as_slice()).unwrap()
}

fn text(profile: &Profile, id: i64) -> &str {
    &profile.string_table[usize::try_from(id).unwrap()]
}

/// A sample of 3 in a kernel function and, below it, a user location without a name.
fn batch() -> Writer {
    let mut w = Writer::new(Header {
        start_ns: 1_000,
        end_ns: 5_001_000,
        unix_minus_monotonic_ns: 1_000_000,
        ..Header::default()
    });
    for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", 10_000_000)] {
        let (kind, unit) = (w.string(kind), w.string(unit));
        w.value_type(tables::ValueType { kind, unit, per_sample });
    }
    let (path, build_id) = (w.string("[kernel.kallsyms]"), StringId::default());
    let (start, limit, file_offset) = (0xffff_ffff_8000_0000, 0xffff_ffff_9000_0000, 0);
    let kernel = w.mapping(tables::Mapping {
        kind: KERNEL,
        path,
        build_id,
        start,
        limit,
        file_offset,
        ..tables::Mapping::default()
    });
    let (path, build_id) = (w.string("/bin/app"), w.string("00ff"));
    let (start, limit, file_offset) = (0x1000, 0x2000, 0x400);
    let app = w.mapping(tables::Mapping {
        kind: NATIVE,
        path,
        build_id,
        start,
        limit,
        file_offset,
        ..tables::Mapping::default()
    });
    let function = tables::Function { name: w.string("vfs_read"), ..tables::Function::default() };
    let function = w.function(function);
    w.line(tables::Line { function, line: 0, column: 0 });
    for (kind, mapping, address, lines_count) in
        [(KERNEL, kernel, 0xffff_ffff_8000_1234, 1), (NATIVE, app, 0x1abc, 0)]
    {
        let location = w.location(tables::Location { kind, mapping, address, lines_start: 0, lines_count });
        w.frame(Frame { location });
    }
    let outcome = w.string("bad_frame_pointer");
    let stack = w.stack(Stack { frames_start: 0, frames_count: 2, kernel_frames: 1, outcome, complete: 0 });
    let comm = w.string("app");
    let process = w.process(Process { pid: 7, comm, ..Process::default() });
    let comm = w.string("worker");
    let thread = w.thread(Thread { process, tid: 8, comm });
    w.sample(tables::Sample { thread, stack, count: 3, ..tables::Sample::default() });
    let (key, value) = (w.string("kernel.release"), w.string("6.18.0"));
    w.attribute(Attribute { key, value });
    let reason = w.string("samples_lost_ring_full");
    w.loss(Loss { reason, count: 2 });
    w
}

#[test]
fn values_are_counts_and_cpu_time() {
    let profile = decoded(batch());
    let types: Vec<_> =
        profile.sample_type.iter().map(|t| (text(&profile, t.kind), text(&profile, t.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(profile.sample[0].value, [3, 30_000_000]);
    assert_eq!((profile.period_type, profile.period), (Some(profile.sample_type[1]), 10_000_000));
    assert_eq!((profile.time_nanos, profile.duration_nanos), (1_001_000, 5_000_000));
}

#[test]
fn frames_are_leaf_first_and_keep_their_addresses() {
    let profile = decoded(batch());
    assert_eq!(profile.sample[0].location_id, [1, 2]);
    let [kernel, user] = &profile.location[..] else { panic!() };
    assert_eq!((kernel.mapping_id, kernel.address), (1, 0xffff_ffff_8000_1234));
    assert_eq!((user.mapping_id, user.address, user.line.len()), (2, 0x1abc, 0));
    let function = profile.function[0];
    assert_eq!((kernel.line[0].function_id, function.id), (1, 1));
    assert_eq!(text(&profile, function.name), "vfs_read");
    assert_eq!(text(&profile, function.system_name), "vfs_read");
}

#[test]
fn mappings_carry_build_ids_and_what_is_known_of_them() {
    let profile = decoded(batch());
    let [kernel, app] = profile.mapping[..] else { panic!() };
    assert_eq!(text(&profile, kernel.filename), "[kernel.kallsyms]");
    assert_eq!((text(&profile, app.filename), text(&profile, app.build_id)), ("/bin/app", "00ff"));
    assert_eq!((app.memory_start, app.memory_limit, app.file_offset), (0x1000, 0x2000, 0x400));
    assert_eq!((kernel.has_functions, app.has_functions), (true, false));
}

#[test]
fn labels_say_who_and_how_whole() {
    let profile = decoded(batch());
    let labels: Vec<_> = profile.sample[0]
        .label
        .iter()
        .map(|label| (text(&profile, label.key), text(&profile, label.text), label.number))
        .collect();
    assert_eq!(
        labels,
        [
            ("pid", "", 7),
            ("tid", "", 8),
            ("comm", "app", 0),
            ("thread", "worker", 0),
            ("incomplete", "bad_frame_pointer", 0)
        ]
    );
}

#[test]
fn comments_say_what_was_lost() {
    let profile = decoded(batch());
    let comments: Vec<_> = profile.comment.iter().map(|id| text(&profile, *id)).collect();
    assert_eq!(comments, ["kernel.release: 6.18.0", "samples_lost_ring_full: 2"]);
}

#[test]
fn a_batch_without_samples_is_a_profile_without_samples() {
    let profile = decoded(Writer::new(Header::default()));
    assert!(profile.sample.is_empty());
    assert_eq!(profile.sample_type.len(), 1);
}

#[test]
fn a_sample_without_frames_says_why() {
    let mut w = batch();
    let outcome = w.string("no_user_registers");
    let stack = w.stack(Stack { outcome, ..Stack::default() });
    for count in [1, 2] {
        w.sample(tables::Sample { stack, count, ..tables::Sample::default() });
    }
    let profile = decoded(w);
    assert_eq!(profile.sample[1].location_id, [3]);
    assert_eq!(profile.sample[2].location_id, [3]);
    let [_, _, location] = &profile.location[..] else { panic!() };
    let [_, function] = profile.function[..] else { panic!() };
    assert_eq!((location.id, location.line[0].function_id, function.id), (3, 2, 2));
    assert_eq!(text(&profile, function.name), "[incomplete: no_user_registers]");
}
