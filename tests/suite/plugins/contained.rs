//! A plugin's faults while it runs stay its own: the host lives, other exporters get every batch.

use super::log::log_of;
use super::{batch, eventually, load, settings, start};
use serde_json::{Value, json};
use stacksonde::plugins::{ExporterInstance, Health, PluginError};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A good exporter beside the bad one.
struct Witness {
    _stage: stacksonde_tests::plugin::Stage,
    exporter: ExporterInstance,
    file: PathBuf,
}

impl Witness {
    fn start() -> Self {
        let (stage, plugin) = load("line-count").unwrap();
        let file = stage.path().join("lines");
        let exporter = start(&plugin, settings("witness", json!({ "path": file }))).unwrap();
        Self { _stage: stage, exporter, file }
    }

    fn received(self) -> usize {
        let counters = self.exporter.shutdown(Instant::now() + super::LONG);
        assert_eq!(counters.dropped.total(), 0);
        fs::read_to_string(self.file).unwrap().lines().count()
    }
}

fn misbehaving(config: Value, deadline: Duration) -> Result<ExporterInstance, PluginError> {
    let (_stage, plugin) = load("misbehaves").unwrap();
    let mut settings = settings("bad", config);
    settings.deadline = deadline;
    start(&plugin, settings)
}

#[test]
fn a_panic_in_create_is_an_error_with_the_message_and_the_place() {
    let error = misbehaving(json!({ "panic": "create" }), super::LONG).unwrap_err();
    assert!(matches!(error, PluginError::Panicked { .. }), "{error}");
    let text = error.to_string();
    for part in ["`bad`", "create panicked at src/lib.rs:", "create was asked to panic"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn after_a_panic_the_instance_is_made_anew_and_the_others_miss_nothing() {
    let witness = Witness::start();
    let stage = stacksonde_tests::plugin::Stage::new();
    let log = stage.path().join("log");
    let bad = misbehaving(json!({ "panic": "export", "file": log }), super::LONG).unwrap();
    for sequence in 0..2 {
        bad.submit(batch(sequence));
        witness.exporter.submit(batch(sequence));
    }
    eventually("the second panic", || bad.counters().panics == 2);
    assert!(matches!(bad.health(), Health::Degraded(_)), "{:?}", bad.health());
    let counters = bad.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.dropped.panicked), (0, 2));
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), ["create", "export", "drop", "create", "export", "drop"]);
    assert_eq!(witness.received(), 2);
}

#[test]
fn an_exporter_that_panics_again_and_again_is_disabled() {
    let bad = misbehaving(json!({ "panic": "export" }), super::LONG).unwrap();
    for sequence in 0..7 {
        bad.submit(batch(sequence));
    }
    eventually("disabling", || matches!(bad.health(), Health::Disabled(_)));
    bad.submit(batch(7));
    let counters = bad.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.panics, counters.dropped.panicked, counters.dropped.disabled), (5, 5, 3));
}

#[test]
fn a_panic_in_a_destructor_is_counted() {
    let bad = misbehaving(json!({ "panic": "drop" }), super::LONG).unwrap();
    bad.submit(batch(0));
    let counters = bad.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.panics), (1, 1));
    assert!(counters.last_error.unwrap().contains("drop was asked to panic"));
}

#[test]
fn a_panic_whose_payload_panics_is_contained_too() {
    let bad = misbehaving(json!({ "panic": "payload" }), super::LONG).unwrap();
    bad.submit(batch(0));
    eventually("the panic", || bad.counters().panics == 1);
    assert_eq!(bad.shutdown(Instant::now() + super::LONG).dropped.panicked, 1);
}

#[test]
fn a_call_that_never_returns_is_left_behind_and_the_others_miss_nothing() {
    let witness = Witness::start();
    let bad = misbehaving(json!({ "hang": "export" }), Duration::from_secs(5)).unwrap();
    for sequence in 0..3 {
        bad.submit(batch(sequence));
        witness.exporter.submit(batch(sequence));
    }
    eventually("noticing", || bad.health() == Health::Stuck);
    assert_eq!(witness.received(), 3);
    let counters = bad.shutdown(Instant::now());
    assert_eq!((counters.delivered, counters.dropped.shutdown), (0, 3));
}

#[test]
fn a_constructor_that_never_returns_is_an_error() {
    let error = misbehaving(json!({ "hang": "create" }), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, PluginError::Deadline { what: "create", .. }), "{error}");
}

#[test]
fn what_may_succeed_later_is_tried_again() {
    let bad = misbehaving(json!({ "retry": "2" }), super::LONG).unwrap();
    bad.submit(batch(0));
    eventually("delivery", || bad.counters().delivered == 1);
    let counters = bad.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.retries, counters.dropped.total()), (2, 0));
}

#[test]
fn what_keeps_failing_ends_with_the_shutdown() {
    let bad = misbehaving(json!({ "retry": "1000" }), super::LONG).unwrap();
    bad.submit(batch(0));
    bad.submit(batch(1));
    eventually("a failure", || matches!(bad.health(), Health::Degraded(_)));
    let counters = bad.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.dropped.shutdown), (0, 2));
}

#[test]
fn events_of_a_plugin_reach_the_hosts_log_with_the_instances_name_and_obey_its_filter() {
    let log = log_of(|| {
        let bad = misbehaving(json!({ "log": "a word from the plugin" }), super::LONG).unwrap();
        bad.submit(batch(0));
        bad.shutdown(Instant::now() + super::LONG);
    });
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a word from the plugin")).collect();
    // The same word comes as INFO too, which the host does not want.
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in ["WARN", "plugin", "answer=42", "instance=\"bad\"", "source=\"misbehaves\""] {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
}
