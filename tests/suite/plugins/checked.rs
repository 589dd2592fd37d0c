//! Before it is loaded, from the command line: pins, keys, `plugin check`; and what the host cannot survive.

use super::{is_root, load, rules};
use serde_json::json;
use stacksonde::plugins::{self, FileRules};
use stacksonde_tests::plugin::{self, Stage};
use stacksonde_tests::{agent, skip::skip};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// SHA-256 as the system's own program has it.
fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn a_pinned_plugin_is_loaded_from_memory_that_nobody_can_change() {
    let stage = Stage::new();
    let path = stage.install("line-count");
    let pins = [("line-count".to_owned(), digest(&path).to_uppercase())].into();
    let inspected = plugins::inspect(&path, &FileRules { pins, ..rules() }).unwrap();
    // What is there now is not what was pinned; it was copied before.
    fs::write(&path, b"something else").unwrap();
    let plugin = plugins::load(inspected).unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains("/memfd:line-count"), "{maps}");
    let file = stage.path().join("lines");
    let exporter = super::start(&plugin, super::settings("x", json!({ "path": file }))).unwrap();
    exporter.submit(super::batch(0));
    assert_eq!(exporter.shutdown(std::time::Instant::now() + super::LONG).delivered, 1);
}

#[test]
fn a_plugin_with_another_digest_is_refused() {
    let stage = Stage::new();
    let path = stage.install("line-count");
    let pins = [("line-count".to_owned(), "0".repeat(64))].into();
    let refusal = plugins::inspect(&path, &FileRules { pins, ..rules() }).unwrap_err().to_string();
    assert!(refusal.contains(&digest(&path)) && refusal.contains("plugins.pins says 000"), "{refusal}");
}

/// Runs the agent; files that only root may own are trusted if we are not root.
fn stacksonde(arguments: &[&str]) -> Output {
    let mut command = Command::new(agent::built());
    command.args(arguments);
    if !is_root() {
        command.arg("--trust-any-plugin-owner");
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn config_check_names_the_key_and_what_is_allowed() {
    let stage = Stage::new();
    stage.install("line-count");
    let check = |keys: &str| {
        let config = stage.path().join("agent.toml");
        let text = format!(
            "[plugins]\ndirectories = [{:?}]\nload = [\"line-count\"]\n\
             [exporters.lines]\nplugin = \"line-count\"\nconfig = {{ {keys} }}\n",
            stage.path()
        );
        fs::write(&config, text).unwrap();
        stacksonde(&["config", "check", config.to_str().unwrap()])
    };
    let output = check("path = \"/tmp/x\"");
    assert_eq!((output.status.code(), said(&output).contains(": ok")), (Some(0), true), "{}", said(&output));
    for (keys, expected) in [
        ("path = 7", "`exporters.lines.config.path` is 7; allowed: text"),
        ("", "`exporters.lines.config.path` is not set; allowed: text"),
    ] {
        let output = check(keys);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(expected), "{keys}: {}", said(&output));
    }
}

#[test]
fn config_check_judges_the_keys_of_an_offset_provider_too() {
    let stage = Stage::new();
    let config = stage.path().join("agent.toml");
    let file = plugin::File::with_manifest(|manifest| {
        manifest["build"]["kinds"] = json!(["offset-provider"]);
        manifest["plugin"]["config_schema"] = json!({ "type": "object", "additionalProperties": false, "properties": { "file": { "type": "string" } } });
    });
    stage.write("by-hand", &file.bytes());
    let text = format!(
        "[plugins]\ndirectories = [{:?}]\nload = [\"by-hand\"]\n[offsets.config.by-hand]\nfiel = \"/x\"\n",
        stage.path()
    );
    fs::write(&config, text).unwrap();
    let output = stacksonde(&["config", "check", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "unknown key `offsets.config.by-hand.fiel`; did you mean `file`?";
    assert!(said(&output).contains(expected), "{}", said(&output));
}

/// `plugin check` of a fixture that misbehaves as `key` says.
fn check(key: &str) -> (Option<i32>, String) {
    let stage = Stage::new();
    let path = stage.install("misbehaves");
    let output = stacksonde(&["plugin", "check", path.to_str().unwrap(), "--set", key]);
    (output.status.code(), said(&output))
}

#[test]
fn plugin_check_passes_a_plugin_that_behaves() {
    let (code, said) = check("nothing=bad");
    assert_eq!(code, Some(0), "{said}");
    for line in ["ok      load\n", "ok      export: an empty batch\n", "10 passed, 0 failed\n"] {
        assert!(said.contains(line), "{line} is not in: {said}");
    }
}

#[test]
fn plugin_check_passes_the_example_in_c() {
    let stage = Stage::new();
    let example = plugin::workspace().join("sdk/c/example/top.c");
    let path = stage.write("top", &fs::read(plugin::build_c(&example, &[])).unwrap());
    let path = path.to_str().unwrap();
    let output = stacksonde(&["plugin", "check", path]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "`config.path` is not set; allowed: text of at least 1 characters";
    assert!(said(&output).contains(expected), "{}", said(&output));
    let key = format!("path={}", stage.path().join("lines").display());
    let output = stacksonde(&["plugin", "check", path, "--set", &key]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn plugin_check_survives_what_the_agent_would_not() {
    for (key, expected) in [
        ("panic=create", "FAILED  negotiate and create an instance: `check`: create panicked"),
        ("panic=export", "FAILED  export: an empty batch: export panicked"),
        ("panic=drop", "FAILED  flush, shut down and drop the instance: drop panicked"),
        (
            "exit=export",
            "FAILED  export: an empty batch: it called exit (3); as part of the agent it would end it",
        ),
        ("close=export", "FAILED  export: an empty batch: it closed a descriptor that is not its own"),
    ] {
        let (code, said) = check(key);
        let expected = expected.replace("would end it", "would end the agent");
        assert_eq!(code, Some(2), "{key}: {said}");
        assert!(said.contains(&expected), "{key}: {said}");
    }
    let stage = Stage::new();
    let source = plugin::fixture("c-door").join("c_door.c");
    let path = stage.write("c-door", &fs::read(plugin::build_c(&source, &[])).unwrap());
    let key = format!("path={}", stage.path().join("notes").display());
    let arguments = ["plugin", "check", path.to_str().unwrap(), "--set", &key, "--set", "do=crash"];
    let output = stacksonde(&arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("it ended the process by signal 6"), "{}", said(&output));
}

#[test]
fn a_thread_local_destructor_that_panics_never_runs() {
    let (_stage, plugin) = load("misbehaves").unwrap();
    for _ in 0..2 {
        let exporter =
            super::start(&plugin, super::settings("bad", json!({ "panic": "thread-local" }))).unwrap();
        exporter.submit(super::batch(0));
        let counters = exporter.shutdown(std::time::Instant::now() + super::LONG);
        // With its thread's end, this process would have ended.
        assert_eq!((counters.delivered, counters.panics), (1, 0));
    }
}

#[test]
fn the_thread_of_an_exporter_has_no_capabilities() {
    if !is_root() {
        return skip(module_path!(), "only root has capabilities to lose");
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(!status.contains("CapEff:\t0000000000000000"), "this test has none itself");
    let (stage, plugin) = load("misbehaves").unwrap();
    let file = stage.path().join("batches");
    let exporter = super::start(&plugin, super::settings("x", json!({ "describe": file }))).unwrap();
    exporter.submit(super::batch(0));
    exporter.shutdown(std::time::Instant::now() + super::LONG);
    let described = fs::read_to_string(file).unwrap();
    assert!(described.ends_with(" 0000000000000000\n"), "{described}");
}
