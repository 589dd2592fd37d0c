//! Exporters in C: the same supervision, the same bytes.

use super::log::log_of;
use super::{batch, eventually, rules, settings, start};
use serde_json::json;
use stacksonde::plugins::{self, Door, ExporterCounters, Plugin, Refusal};
use stacksonde_tests::plugin::{self, Stage};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

fn source() -> PathBuf {
    plugin::fixture("c-door").join("c_door.c")
}

fn load(flags: &[&str]) -> Result<(Stage, Plugin), Refusal> {
    let stage = Stage::new();
    let path = stage.write("c-door", &fs::read(plugin::build_c(&source(), flags)).unwrap());
    let plugin = plugins::inspect(&path, &rules()).and_then(plugins::load)?;
    Ok((stage, plugin))
}

/// Exports one batch with an instance that does `word`; returns what it noted, and the counters.
fn exported(flags: &[&str], word: &str) -> (String, ExporterCounters) {
    let (stage, plugin) = load(flags).unwrap();
    let file = stage.path().join("notes");
    let exporter = start(&plugin, settings("c", json!({ "path": file, "do": word }))).unwrap();
    assert!(!exporter.wants().names, "it asked for addresses");
    exporter.submit(batch(0));
    eventually("an outcome", || {
        let counters = exporter.counters();
        counters.delivered + counters.dropped.total() > 0
    });
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    (fs::read_to_string(file).unwrap(), counters)
}

#[test]
fn the_example_in_c_writes_what_the_batch_says() {
    let stage = Stage::new();
    let example = plugin::workspace().join("sdk/c/example/top.c");
    let path = stage.write("top", &fs::read(plugin::build_c(&example, &[])).unwrap());
    let inspected = plugins::inspect(&path, &rules()).unwrap();
    assert_eq!((inspected.door, inspected.manifest.plugin.name.as_str()), (Door::C, "top"));
    let plugin = plugins::load(inspected).unwrap();
    let file = stage.path().join("lines");
    let exporter = start(&plugin, settings("top", json!({ "path": file }))).unwrap();
    exporter.submit(batch(0));
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.last_error), (1, None));
    assert_eq!(fs::read_to_string(file).unwrap(), "12 100 nginx\n4 200 my app;v2\n2 7 kworker/0:1\n");
}

#[test]
fn each_function_is_called_once_in_its_turn() {
    let log = log_of(|| {
        let (notes, counters) = exported(&[], "well");
        assert_eq!(notes, "create\nexport SONDEBAT\nflush\nshutdown\ndestroy\n");
        assert_eq!((counters.delivered, counters.last_error), (1, None));
    });
    assert!(log.contains("a word from C") && log.contains("instance=\"c\""), "{log}");
}

#[test]
fn a_table_of_a_later_version_is_taken_as_far_as_it_is_known() {
    let (notes, _) = exported(&["-DLATER"], "well");
    assert!(notes.ends_with("destroy\n"), "{notes}");
}

#[test]
fn failures_are_what_the_error_says() {
    let (notes, counters) = exported(&[], "retry");
    assert_eq!((counters.delivered, counters.retries, notes.matches("export").count()), (1, 1, 2));
    for (word, expected) in [("refuse", "never"), ("nothing", "gave no reason"), ("long", "xxxx")] {
        let (_, counters) = exported(&[], word);
        let error = counters.last_error.unwrap();
        assert_eq!((counters.delivered, counters.dropped.refused), (0, 1), "{word}");
        assert!(error.contains(expected) && error.len() < 2000, "{word}: {error}");
    }
}

#[test]
fn a_refusal_of_the_offer_and_of_the_config_reach_the_operator() {
    let (stage, plugin) = load(&[]).unwrap();
    let file = stage.path().join("notes");
    for (config, expected) in [
        (json!({ "path": file, "do": "picky" }), "nothing is good enough"),
        (json!({ "path": "/no/such/folder/notes" }), "cannot open the file"),
        (json!({}), "`path` is missing"),
    ] {
        let error = start(&plugin, settings("c", config)).unwrap_err().to_string();
        assert!(error.starts_with("`c`: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_table_that_is_too_small_or_incomplete_is_refused() {
    for (flag, expected) in [("-DTOO_SMALL", "smaller than that of version 1.0"), ("-DINCOMPLETE", "lacks")] {
        let refusal = load(&[flag]).unwrap_err().to_string();
        assert!(refusal.contains("c-door.so: ") && refusal.contains(expected), "{refusal}");
    }
}
