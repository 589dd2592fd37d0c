//! The files in `config/`.

use super::*;
use crate::config::keys::Keys;
use std::path::Path;

/// The shipped file, damaged in each byte and cut at many lengths.
#[test]
fn no_damage_makes_the_loader_panic() {
    let text = switched_on(&shipped("stacksonde.toml"));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let text = lines.join("\n").into_bytes();
    crate::config::fuzz::fuzz_config(&text);
    let replacements = *b"\0\n\"'[{.=-9\xff";
    for position in 0..text.len() {
        let mut damaged = text.clone();
        damaged[position] = replacements[position % replacements.len()];
        crate::config::fuzz::fuzz_config(&damaged);
        if position % 7 == 0 {
            crate::config::fuzz::fuzz_config(&text[..position]);
        }
    }
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Keys that are switched off: a `#` without a space.
fn switched_on(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            format!("{key}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let directory = Directory::new();
    assert_eq!(load(&directory.sources(&[&shipped("stacksonde.toml")])), Ok(Config::default()));
}

#[test]
fn the_shipped_file_has_every_key_and_its_example_is_valid() {
    let text = switched_on(&shipped("stacksonde.toml"));
    let table: serde_json::Value = text.parse::<toml::Table>().unwrap().try_into().unwrap();
    let keys = Keys::new();
    let all: Vec<&str> = keys.all().collect();
    assert!(all.len() > 25, "{all:?}");
    for key in all {
        let pointer = format!("/{}", key.replace('*', "files").replace('.', "/"));
        assert!(table.pointer(&pointer).is_some(), "config/stacksonde.toml lacks {key}");
    }
    let directory = Directory::new();
    let config = load(&directory.sources(&[&text])).unwrap();
    let example =
        Exporter { config: config.exporters["files"].config.clone(), ..Exporter::of("file-export") };
    assert_eq!(config.exporters, [("files".to_owned(), example)].into());
}

#[test]
fn the_shipped_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
    let mut names: Vec<_> = std::fs::read_dir(examples)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["low-memory.toml", "opentelemetry.toml", "workstation.toml"]);
    for name in names {
        let directory = Directory::new();
        let config = load(&directory.sources(&[&shipped(&format!("examples/{name}"))])).unwrap();
        assert_ne!(config, Config::default(), "{name}");
    }
}
