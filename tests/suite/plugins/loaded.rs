//! A plugin that behaves: found, inspected, loaded, fed.

use super::{batch, config, load, rules, settings, start};
use serde_json::json;
use stacksonde::plugins::{self, Health};
use stacksonde_tests::plugin::{self, Stage};
use std::fs;
use std::time::Instant;

#[test]
fn a_third_partys_exporter_receives_every_batch() {
    let (stage, plugin) = load("line-count").unwrap();
    let file = stage.path().join("lines");
    let exporter = start(&plugin, settings("lines", json!({ "path": file }))).unwrap();
    for sequence in 0..10 {
        exporter.submit(batch(sequence));
    }
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.dropped.total(), counters.last_error), (10, 0, None));
    assert_eq!(fs::read_to_string(file).unwrap(), "5 samples\n".repeat(10));
}

#[test]
fn a_third_partys_exporter_takes_fifteen_lines() {
    let source = fs::read_to_string(plugin::fixture("line-count").join("src/lib.rs")).unwrap();
    let lines = source.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 15, "{lines} lines");
    let cargo = fs::read_to_string(plugin::fixture("line-count").join("Cargo.toml")).unwrap();
    let (_, dependencies) = cargo.split_once("[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n\n").unwrap();
    assert!(
        dependencies.starts_with("stacksonde-plugin = ") && dependencies.lines().count() == 1,
        "{dependencies}"
    );
}

#[test]
fn an_instance_whose_config_is_refused_says_why() {
    let (_stage, plugin) = load("line-count").unwrap();
    for (config, expected) in [
        (json!({}), "`path` is missing"),
        (json!({ "path": 7 }), "config: invalid type: integer `7`"),
        (json!({ "path": "/no/such/folder/lines" }), "/no/such/folder/lines"),
    ] {
        let error = start(&plugin, settings("lines", config)).unwrap_err().to_string();
        assert!(error.starts_with("`lines`: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn two_instances_of_one_plugin_are_two_exporters() {
    let (stage, plugin) = load("line-count").unwrap();
    let files = ["a", "b"].map(|name| stage.path().join(name));
    let exporters = files.clone().map(|file| start(&plugin, settings("x", json!({ "path": file }))).unwrap());
    for exporter in &exporters {
        exporter.submit(batch(0));
    }
    for (exporter, file) in exporters.into_iter().zip(files) {
        assert_eq!(exporter.shutdown(Instant::now() + super::LONG).delivered, 1);
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 1);
    }
}

#[test]
fn the_manifest_says_what_the_compiler_and_the_author_knew() {
    let stage = Stage::new();
    stage.install("line-count");
    let manifest = plugins::find("line-count", &config(&stage), &rules()).unwrap().manifest;
    assert_eq!((manifest.version(), manifest.plugin.license.as_str()), ("0.1.0", "MIT"));
    assert_eq!(manifest.build.kinds, ["exporter"]);
    assert_eq!(manifest.build.entry, "stacksonde_plugin_1_line_count");
}

#[test]
fn the_manifest_survives_a_lost_section_table() {
    let stage = Stage::new();
    let mut bytes = fs::read(plugin::build("line-count")).unwrap();
    // e_shoff, then e_shentsize, e_shnum and e_shstrndx.
    bytes[40..48].fill(0);
    bytes[58..64].fill(0);
    let path = stage.write("line-count", &bytes);
    assert_eq!(plugins::inspect(&path, &rules()).unwrap().manifest.plugin.name, "line-count");
}

#[test]
fn a_batch_beyond_the_queue_is_counted_and_told_with_its_samples() {
    let (stage, plugin) = load("line-count").unwrap();
    let file = stage.path().join("lines");
    let mut settings = settings("lines", json!({ "path": file }));
    settings.queue_bytes = 10;
    let exporter = start(&plugin, settings).unwrap();
    exporter.submit(batch(0));
    assert_eq!(exporter.counters().dropped.queue_full, 1);
    // With what the batch itself had to tell.
    let told = [
        ("samples_lost_exporter_queue_full".to_owned(), stacksonde_tests::profile::SAMPLES),
        ("samples_lost_not_delivered".to_owned(), 1),
        ("samples_lost_ring_full".to_owned(), 3),
    ];
    assert_eq!(exporter.take_dropped(), told);
    assert_eq!(exporter.take_dropped(), [], "told once");
    assert_eq!(exporter.health(), Health::Good);
}
