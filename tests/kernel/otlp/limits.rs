//! Profiles larger than what a receiver takes.

use super::{LONG, collector_tier, eventually};
use stacksonde::config;
use stacksonde::plugins::{self, ExporterInstance, ExporterSettings, FileRules};
use stacksonde_plugin::Offer;
use stacksonde_tests::agent::Installed;
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::profile::{self, LARGE_SAMPLES};
use std::time::Instant;

/// An exporter of the staged plugin; without a scheme the endpoint is one of `http://`.
pub(super) fn exporter(endpoint: &str, keys: &str) -> ExporterInstance {
    let installed = Installed::from_environment().unwrap();
    let sources = config::Sources { files: vec![installed.config], ..config::Sources::default() };
    let plugins = config::load(&sources).unwrap().plugins;
    let plugin = plugins::find("otlp-export", &plugins, &FileRules::new(&plugins, false)).unwrap();
    let plugin = plugins::load(plugin).unwrap();
    let mut section = config::Exporter::of("otlp-export");
    let scheme = if endpoint.contains("://") { "" } else { "http://" };
    section.config =
        serde_json::from_str(&format!("{{\"endpoint\": \"{scheme}{endpoint}\"{keys}}}")).unwrap();
    let offer = Offer {
        formats: vec!["1".into()],
        max_bytes: u64::from(u32::MAX),
        value_types: vec!["samples".into()],
        names_available: true,
        interval_ms: 1000,
    };
    ExporterInstance::start(&plugin, ExporterSettings::new("test", &section), &offer).unwrap()
}

fn deliver(exporter: ExporterInstance) {
    exporter.submit(profile::large_batch().into());
    eventually("delivery", || exporter.counters().delivered == 1);
    let counters = exporter.shutdown(Instant::now() + LONG);
    assert_eq!((counters.dropped.total(), counters.delivered_samples), (0, LARGE_SAMPLES));
}

#[test]
fn a_profile_that_is_too_large_for_one_message_is_sent_in_parts_without_losing_a_sample() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Both have gRPC's default, 4 MiB, or less: more is refused with ResourceExhausted.
    let small = Receiver { most_mib: Some(1), ..Receiver::new("small", "grpc") };
    let receivers = [Receiver::new("usual", "grpc"), small];
    let collector = collector::start(folder, &receivers);
    for receiver in &receivers {
        deliver(exporter(&format!("127.0.0.1:{}", receiver.port), ""));
    }
    collector::end(collector);
    for (receiver, messages) in receivers.iter().zip([1, 4]) {
        let received = collector::received(folder, receiver.name);
        assert!(received.problems().is_empty(), "{:?}", received.problems());
        assert_eq!(
            (received.samples(), received.stated("stacksonde.samples")),
            (LARGE_SAMPLES, LARGE_SAMPLES)
        );
        assert!(received.messages() >= messages, "{}: {} messages", receiver.name, received.messages());
    }
}

#[test]
fn a_batch_that_a_receiver_refuses_for_good_is_dropped_and_one_that_it_takes_in_part_is_not_repeated() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [invalid, partial] = [collector::free_port(), collector::free_port()];
    let _invalid = collector::misbehaving(folder, "invalid", "invalid", invalid);
    let _partial = collector::misbehaving(folder, "partial", "partial", partial);
    let strict = exporter(&format!("127.0.0.1:{invalid}"), "");
    strict.submit(profile::batch(1).into());
    eventually("a refusal", || strict.counters().dropped.refused == 1);
    assert_eq!(
        strict.take_dropped(),
        [
            ("samples_lost_exporter_refused".to_owned(), profile::SAMPLES),
            ("samples_lost_not_delivered".to_owned(), 1),
            ("samples_lost_ring_full".to_owned(), 3),
        ]
    );
    let counters = strict.shutdown(Instant::now() + LONG);
    let error = counters.last_error.unwrap();
    assert!(error.contains("the receiver answered InvalidArgument: no such profiles here"), "{error}");
    let lenient = exporter(&format!("127.0.0.1:{partial}"), ", \"compression\": \"none\"");
    lenient.submit(profile::batch(1).into());
    eventually("delivery", || lenient.counters().delivered == 1);
    assert_eq!(lenient.shutdown(Instant::now() + LONG).retries, 0);
    let log = std::fs::read_to_string(folder.join("partial.log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.starts_with("took")).count(), 1, "{log}");
}
