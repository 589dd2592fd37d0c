//! An exporter gets what it asked for in the negotiation; deadlines.

use super::{eventually, load, settings, start};
use serde_json::json;
use stacksonde::plugins::Health;
use stacksonde_batch::{Header, Writer};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An empty batch from one second to another.
fn batch(from: u64, to: u64) -> Arc<[u8]> {
    let second = 1_000_000_000;
    let header = Header { start_ns: from * second, end_ns: to * second, ..Header::default() };
    Writer::new(header).finish().unwrap().into()
}

#[test]
fn batches_come_no_more_often_than_was_asked_and_none_is_lost() {
    let (stage, plugin) = load("misbehaves").unwrap();
    let file = stage.path().join("batches");
    let config = json!({ "describe": file, "interval": "20000" });
    let exporter = start(&plugin, settings("rarely", config)).unwrap();
    assert_eq!(exporter.wants().min_interval_ms, 20_000);
    for second in [0, 10, 20, 30, 40] {
        exporter.submit(batch(second, second + 10));
    }
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.dropped.total()), (3, 0));
    let described = fs::read_to_string(file).unwrap();
    let seconds: Vec<_> = described.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
    assert_eq!(seconds, ["20", "20", "10"]);
}

#[test]
fn the_samples_of_batches_that_were_put_together_are_all_there() {
    let (stage, plugin) = load("misbehaves").unwrap();
    let file = stage.path().join("batches");
    let exporter =
        start(&plugin, settings("rarely", json!({ "describe": file, "interval": "3600000" }))).unwrap();
    for sequence in 0..3 {
        exporter.submit(super::batch(sequence));
    }
    assert_eq!(exporter.shutdown(Instant::now() + super::LONG).delivered, 1);
    let described = fs::read_to_string(file).unwrap();
    let samples = described.split(' ').next().unwrap();
    assert_eq!(samples, (3 * stacksonde_tests::profile::SAMPLES).to_string());
}

#[test]
fn a_batch_that_is_larger_than_was_asked_is_dropped_and_told() {
    let (_stage, plugin) = load("misbehaves").unwrap();
    let exporter = start(&plugin, settings("small", json!({ "most": "700" }))).unwrap();
    exporter.submit(super::batch(0));
    exporter.submit(batch(0, 1));
    eventually("the small one", || exporter.counters().delivered == 1);
    assert_eq!(exporter.counters().dropped.too_large, 1);
    // With what the batch itself had to tell.
    let told = [
        ("samples_lost_batch_too_large".to_owned(), stacksonde_tests::profile::SAMPLES),
        ("samples_lost_not_delivered".to_owned(), 1),
        ("samples_lost_ring_full".to_owned(), 3),
    ];
    assert_eq!(exporter.take_dropped(), told);
}

#[test]
fn a_call_that_returns_past_its_deadline_is_counted_and_the_instance_goes_on() {
    let (stage, plugin) = load("misbehaves").unwrap();
    let file = stage.path().join("log");
    let release = stage.path().join("release");
    let mut settings = settings("late", json!({ "until": release, "file": file }));
    settings.deadline = Duration::from_secs(3);
    let exporter = start(&plugin, settings).unwrap();
    for sequence in 0..3 {
        exporter.submit(super::batch(sequence));
    }
    eventually("being stuck", || exporter.health() == Health::Stuck);
    fs::write(release, "").unwrap();
    eventually("going on", || exporter.counters().delivered == 3);
    assert_eq!(exporter.health(), Health::Good);
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.overruns, counters.dropped.total(), counters.panics), (1, 0, 0));
    // One instance all along: no second one was started beside the one that was stuck.
    assert_eq!(fs::read_to_string(file).unwrap().matches("create").count(), 1);
}
