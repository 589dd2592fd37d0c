//! Batches as OTLP messages: what they hold, and what OTLP asks of them.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::profiles::v1development::{Profile, ProfilesDictionary, Sample};
use prost::Message;
use stacksonde_batch::Batch;
use stacksonde_otlp_export::Messages;
use stacksonde_tests::profile::{self, LARGE_SAMPLES, SAMPLES};
use std::collections::{BTreeMap, BTreeSet};

const MIB: usize = 1 << 20;

/// The messages of a batch, each of at most `most` bytes.
fn messages(batch: &[u8], with_times: bool, most: usize) -> Vec<ExportProfilesServiceRequest> {
    let batch = Batch::parse(batch).unwrap();
    let messages = Messages::new(&batch, with_times);
    let (mut item, mut all) = (0, Vec::new());
    while let Some(message) = messages.next(item, most) {
        assert!(message.bytes.len() <= most, "{} bytes of {most}", message.bytes.len());
        item = message.end;
        all.push(ExportProfilesServiceRequest::decode(message.bytes.as_slice()).unwrap());
    }
    all
}

fn profiles(
    message: &ExportProfilesServiceRequest,
) -> impl Iterator<Item = (BTreeMap<String, String>, &Profile)> {
    message.resource_profiles.iter().flat_map(|resource| {
        let attributes = resource.resource.as_ref().map(|it| texts(&it.attributes)).unwrap_or_default();
        resource
            .scope_profiles
            .iter()
            .flat_map(|scope| &scope.profiles)
            .map(move |it| (attributes.clone(), it))
    })
}

fn text(value: &AnyValue) -> String {
    match value.value.clone().unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap()))).collect()
}

/// Attributes by index.
fn named(dictionary: &ProfilesDictionary, indices: &[i32]) -> BTreeMap<String, String> {
    let one = |index: &i32| {
        let row = &dictionary.attribute_table[usize::try_from(*index).unwrap()];
        let key = dictionary.string_table[usize::try_from(row.key_strindex).unwrap()].clone();
        (key, text(row.value.as_ref().unwrap()))
    };
    indices.iter().map(one).collect()
}

fn count(sample: &Sample) -> u64 {
    match sample.values.as_slice() {
        [] => sample.timestamps_unix_nano.len() as u64,
        values => values.iter().map(|value| u64::try_from(*value).unwrap()).sum(),
    }
}

fn samples(messages: &[ExportProfilesServiceRequest]) -> u64 {
    messages.iter().flat_map(profiles).flat_map(|(_, profile)| &profile.samples).map(count).sum()
}

/// Function names of a sample, root first; addresses where there are none.
fn stack(dictionary: &ProfilesDictionary, sample: &Sample) -> Vec<String> {
    let at = |index: i32| usize::try_from(index).unwrap();
    let mut frames = Vec::new();
    for index in dictionary.stack_table[at(sample.stack_index)].location_indices.iter().rev() {
        let location = &dictionary.location_table[at(*index)];
        let kind = &named(dictionary, &location.attribute_indices)["profile.frame.type"];
        if location.lines.is_empty() {
            frames.push(format!("{kind} {:#x}", location.address));
        }
        for line in location.lines.iter().rev() {
            let function = &dictionary.function_table[at(line.function_index)];
            frames.push(format!("{kind} {}", dictionary.string_table[at(function.name_strindex)]));
        }
    }
    frames
}

#[test]
fn each_process_is_a_resource_with_its_stacks_and_threads() {
    let all = messages(&profile::batch(3), true, 4 * MIB);
    let [message] = all.as_slice() else { panic!("{} messages", all.len()) };
    let dictionary = message.dictionary.as_ref().unwrap();
    assert_eq!(samples(&all), SAMPLES);
    let found: Vec<_> = profiles(message).collect();
    let services: Vec<&str> = found.iter().map(|(resource, _)| resource["service.name"].as_str()).collect();
    assert_eq!(services, ["stacksonde", "nginx", "app", "kernel"]);

    let (resource, nginx) = &found[1];
    for (key, value) in [
        ("process.pid", "100"),
        ("process.parent_pid", "1"),
        ("process.executable.name", "nginx"),
        ("process.executable.path", "/usr/sbin/nginx"),
        ("process.title", "nginx"),
        ("process.linux.cgroup", "/system.slice"),
        ("tier", "front"),
        ("host.id", "02020202020202020202020202020202"),
        ("os.version", "6.18.0"),
    ] {
        assert_eq!(resource.get(key).map(String::as_str), Some(value), "{key} of {resource:?}");
    }
    let chain = ["_start", "main", "handle", "parse", "read"].map(|name| format!("native {name}"));
    let kernel = ["do_syscall_64", "vfs_read"].map(|name| format!("kernel {name}"));
    assert_eq!(stack(dictionary, &nginx.samples[0]), [&chain[..], &kernel].concat());
    let threads: Vec<_> = nginx.samples.iter().map(|it| named(dictionary, &it.attribute_indices)).collect();
    let thread = |id: &str, name: &str| {
        [("thread.id", id), ("thread.name", name)].map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    assert_eq!(threads, [thread("100", "nginx").into(), thread("101", "worker").into()]);

    let (_, app) = &found[2];
    assert_eq!(stack(dictionary, &app.samples[0]), ["native operator new(unsigned long)\n", "native 0x2abc"]);
    assert_eq!(app.samples[1].stack_index, 0, "a stack without frames");
    let why: Vec<_> = app
        .samples
        .iter()
        .map(|it| named(dictionary, &it.attribute_indices).remove("stacksonde.stack.incomplete"))
        .collect();
    assert_eq!(why, [Some("bad_frame_pointer".to_owned()), Some("no_user_registers".to_owned())]);

    let (_, host) = &found[0];
    let told = named(dictionary, &host.attribute_indices);
    let expected = [
        ("samples", "18"),
        ("samples_complete", "14"),
        ("samples_lost_not_delivered", "1"),
        ("samples_lost_ring_full", "3"),
    ];
    assert_eq!(told, expected.map(|(key, value)| (format!("stacksonde.{key}"), value.to_owned())).into());
}

#[test]
fn a_profile_says_what_its_samples_are_and_when() {
    let all = messages(&profile::batch(3), true, 4 * MIB);
    let dictionary = all[0].dictionary.as_ref().unwrap();
    let text = |index: i32| dictionary.string_table[usize::try_from(index).unwrap()].as_str();
    for (_, profile) in profiles(&all[0]) {
        let (sample, period) = (profile.sample_type.unwrap(), profile.period_type.unwrap());
        assert_eq!((text(sample.type_strindex), text(sample.unit_strindex)), ("samples", "count"));
        assert_eq!((text(period.type_strindex), text(period.unit_strindex)), ("cpu", "nanoseconds"));
        assert_eq!(profile.period, 10_000_000);
        assert_eq!(profile.time_unix_nano, 1_795_487_100_000_000_000);
        assert_eq!(profile.duration_nano, 10_000_000_000);
        assert_eq!(profile.profile_id.len(), 16);
    }
    let counted = messages(&profile::batch(3), false, 4 * MIB);
    assert_eq!(samples(&counted), SAMPLES);
    let times = |it: &Sample| it.timestamps_unix_nano.len();
    assert_eq!(profiles(&counted[0]).flat_map(|(_, it)| &it.samples).map(times).sum::<usize>(), 0);
}

#[test]
fn samples_that_stand_for_different_times_say_for_which() {
    for with_times in [true, false] {
        let all = messages(&profile::weighted_batch(), with_times, 4 * MIB);
        let strings = &all[0].dictionary.as_ref().unwrap().string_table;
        let (_, profile) = profiles(&all[0]).find(|(_, profile)| !profile.samples.is_empty()).unwrap();
        let sample_type = profile.sample_type.unwrap();
        let text = |index: i32| strings[usize::try_from(index).unwrap()].as_str();
        assert_eq!(
            (text(sample_type.type_strindex), text(sample_type.unit_strindex)),
            ("cpu", "nanoseconds")
        );
        let weights = profile::WEIGHTS_NS.map(u64::cast_signed);
        let expected = if with_times { weights.to_vec() } else { vec![weights.iter().sum()] };
        assert_eq!(profile.samples[0].values, expected);
        assert_eq!(profile.samples[0].timestamps_unix_nano.len(), if with_times { 3 } else { 0 });
        assert_eq!(profile.period, 10_000_000);
    }
}

#[test]
fn the_first_row_of_each_table_is_the_zero_value_to_the_byte() {
    for batch in [profile::batch(1), profile::empty_batch(), profile::large_batch()] {
        for message in messages(&batch, true, MIB) {
            let dictionary = message.dictionary.unwrap();
            assert_eq!(dictionary.string_table[0], "");
            assert_eq!(dictionary.mapping_table[0].encoded_len(), 0);
            assert_eq!(dictionary.location_table[0].encoded_len(), 0);
            assert_eq!(dictionary.function_table[0].encoded_len(), 0);
            assert_eq!(dictionary.attribute_table[0].encoded_len(), 0);
            assert_eq!(dictionary.stack_table[0].encoded_len(), 0);
            assert_eq!(dictionary.link_table.len(), 1);
        }
    }
}

#[test]
fn parts_hold_every_sample_once_and_no_two_have_a_profile_of_the_same_id() {
    let whole = messages(&profile::large_batch(), true, 64 * MIB);
    let stacks = |all: &[ExportProfilesServiceRequest]| {
        let mut counts = BTreeMap::<Vec<String>, u64>::new();
        for message in all {
            for sample in profiles(message).flat_map(|(_, profile)| &profile.samples) {
                *counts.entry(stack(message.dictionary.as_ref().unwrap(), sample)).or_default() +=
                    count(sample);
            }
        }
        counts
    };
    assert_eq!((whole.len(), samples(&whole)), (1, LARGE_SAMPLES));
    for most in [MIB, MIB / 4] {
        let parts = messages(&profile::large_batch(), true, most);
        assert!(parts.len() > MIB / most, "{}", parts.len());
        assert_eq!(stacks(&parts), stacks(&whole));
        let ids = parts.iter().flat_map(profiles).map(|(_, profile)| profile.profile_id.clone());
        let (count, ids) = (parts.iter().flat_map(profiles).count(), ids.collect::<BTreeSet<_>>());
        assert_eq!(ids.len(), count);
    }
}

#[test]
fn ids_follow_from_the_run_the_batch_and_the_samples() {
    let ids = |batch: &[u8]| -> Vec<_> {
        messages(batch, true, MIB).iter().flat_map(profiles).map(|(_, it)| it.profile_id.clone()).collect()
    };
    assert_eq!(messages(&profile::batch(1), true, MIB), messages(&profile::batch(1), true, MIB));
    let (one, two) = (ids(&profile::batch(1)), ids(&profile::batch(2)));
    assert!(one.iter().all(|id| !two.contains(id)));
}

#[test]
fn where_nothing_was_sampled_what_was_lost_is_told_all_the_same() {
    let all = messages(&profile::empty_batch(), true, MIB);
    let [(_, host)] = profiles(&all[0]).collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    // A Collector leaves out a message without samples.
    assert_eq!((host.samples.len(), samples(&all)), (1, 0));
}
