//! The backlog of an exporter: bounded, reported when it is lost, and on disk over a restart.

use super::{batch, eventually, load, settings, start};
use serde_json::{Value, json};
use stacksonde::plugins::{ExporterInstance, Health, SpoolSettings};
use stacksonde_tests::profile::SAMPLES;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// An instance of the fixture `misbehaves` with a spool.
fn spooled(directory: &Path, max_bytes: u64, config: Value) -> ExporterInstance {
    let (_stage, plugin) = load("misbehaves").unwrap();
    let mut settings = settings("spooled", config);
    settings.spool = Some(SpoolSettings { directory: directory.into(), max_bytes });
    settings.deadline = Duration::from_secs(5);
    start(&plugin, settings).unwrap()
}

fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory.join("spooled")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "batch")).count()
}

#[test]
fn what_an_exporter_does_not_take_is_left_to_the_next_run_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    for config in [json!({ "retry": "1000" }), json!({ "hang": "export" })] {
        let before = files(directory.path());
        let bad = spooled(directory.path(), 1 << 20, config);
        for sequence in 0..3 {
            bad.submit(batch(before as u64 + sequence));
        }
        eventually("the spool", || bad.counters().spooled == before as u64 + 3);
        let counters = bad.shutdown(Instant::now() + Duration::from_millis(300));
        assert_eq!((counters.delivered, counters.dropped.total()), (0, 0));
        assert_eq!(files(directory.path()), before + 3);
    }
    // The thread that hangs keeps its lock; of a killed agent none would be left.
    let moved = tempfile::tempdir().unwrap();
    fs::rename(directory.path().join("spooled"), moved.path().join("spooled")).unwrap();
    fs::remove_file(moved.path().join("spooled/lock")).unwrap();
    let good = spooled(moved.path(), 1 << 20, json!({ "sequence": log }));
    eventually("delivery", || good.counters().delivered == 6);
    assert_eq!(good.shutdown(Instant::now() + super::LONG).delivered_samples, 6 * SAMPLES);
    let order = fs::read_to_string(log).unwrap();
    assert_eq!(order.lines().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(files(moved.path()), 0);
}

#[test]
fn a_full_spool_drops_the_oldest_and_the_loss_is_told_with_what_they_had_to_tell() {
    let directory = tempfile::tempdir().unwrap();
    let bad = spooled(directory.path(), 2000, json!({ "retry": "1000" }));
    for sequence in 0..12 {
        bad.submit(batch(sequence));
        eventually("the spool", || bad.counters().queued == 0);
    }
    let dropped = bad.counters().dropped.spool_full;
    assert!(dropped > 3 && bad.counters().spooled_bytes <= 2000, "{:?}", bad.counters());
    let told: std::collections::BTreeMap<String, u64> = bad.take_dropped().into_iter().collect();
    assert_eq!(told["samples_lost_spool_full"], dropped * SAMPLES);
    assert_eq!(told["samples_lost_ring_full"], dropped * 3);
    assert_eq!(bad.take_dropped(), []);
    bad.shutdown(Instant::now());
}

#[test]
fn newer_batches_push_out_the_oldest_even_while_it_is_tried_again_and_again() {
    let (_stage, plugin) = load("misbehaves").unwrap();
    let mut settings = settings("bad", json!({ "retry": "1000000" }));
    settings.queue_batches = 2;
    let bad = start(&plugin, settings).unwrap();
    for sequence in 0..20 {
        bad.submit(batch(sequence));
    }
    eventually("a second attempt at a newer one", || bad.counters().retries > 0);
    let counters = bad.counters();
    assert_eq!(
        (counters.queued, counters.dropped.queue_full, counters.dropped_samples),
        (2, 18, 18 * SAMPLES)
    );
    bad.shutdown(Instant::now());
}

#[test]
fn an_exporter_goes_on_without_the_spool_that_cannot_be_had() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let good = spooled(&file, 1 << 20, json!({}));
    good.submit(batch(0));
    eventually("delivery", || good.counters().delivered == 1);
    let Health::Degraded(why) = good.health() else { panic!("{:?}", good.health()) };
    assert!(why.starts_with("the spool: ") && why.contains("file"), "{why}");
    good.shutdown(Instant::now() + super::LONG);
}
