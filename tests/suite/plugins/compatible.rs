//! Built apart in time: an older plugin in a newer host, a newer plugin in an older host, another compiler.

use super::log::log_of;
use super::{batch, rules, settings, start};
use serde_json::json;
use stacksonde::plugins;
use stacksonde_tests::plugin::Stage;
use stacksonde_tests::skip::skip;
use stacksonde_tests::{newer_abi, plugin};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[test]
fn a_plugin_of_a_later_minor_version_does_what_this_host_knows() {
    let log = log_of(|| {
        let stage = Stage::new();
        let path = stage.write("line-count", &fs::read(newer_abi::plugin()).unwrap());
        let plugin = plugins::inspect(&path, &rules()).and_then(plugins::load).unwrap();
        assert_eq!(plugin.manifest().build.abi, "1.1");
        let file = stage.path().join("lines");
        let exporter = start(&plugin, settings("newer", json!({ "path": file }))).unwrap();
        exporter.submit(batch(0));
        let counters = exporter.shutdown(Instant::now() + super::LONG);
        assert_eq!((counters.delivered, counters.last_error), (1, None));
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 1);
    });
    // It looked for the callback that this host does not have yet, and was told so.
    assert!(log.contains("the host is older than 1.1"), "{log}");
}

/// Returns the output of the host of 1.1 about `plugin`.
fn in_newer_host(plugin: &Path) -> String {
    let stage = Stage::new();
    let path = stage.write("line-count", &fs::read(plugin).unwrap());
    let file = stage.path().join("lines");
    let output = Command::new(newer_abi::host()).arg(path).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 1);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_host_of_a_later_minor_version_loads_the_plugin_of_today() {
    let said = in_newer_host(&plugin::build("line-count"));
    assert_eq!(said, "field: None\nmethod: the default of 1.1\ndelivered: 1\n");
}

#[test]
fn what_a_minor_version_appends_works_between_two_that_have_it() {
    let said = in_newer_host(&newer_abi::plugin());
    assert_eq!(said, "callback: a plugin of 1.1\nfield: Some(11)\nmethod: a plugin of 1.1\ndelivered: 1\n");
}

/// Returns the version of a compiler in its own words: `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version(compiler: &Path) -> Option<String> {
    let output = Command::new(compiler).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_plugin_of_another_compiler_is_loaded() {
    // Debian's, from the package rustc-web; ours is what cargo uses.
    let other = Path::new("/usr/bin/rustc");
    let ours = version(Path::new(&std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())));
    let Some(theirs) = version(other).filter(|theirs| Some(theirs) != ours.as_ref()) else {
        let why = "no second compiler in /usr/bin/rustc; `cargo xtask test` installs Debian's rustc-web";
        return skip(module_path!(), why);
    };
    let target = plugin::target().join("fixtures-other-compiler");
    let environment = [("RUSTC", other), ("CARGO_TARGET_DIR", target.as_path())];
    let library = fs::read(plugin::build_crate(&plugin::fixture("line-count"), &environment)).unwrap();
    let number = theirs.split(' ').nth(1).unwrap();
    let stated = format!("rustc version {number}");
    assert!(library.windows(stated.len()).any(|part| part == stated.as_bytes()), "not built by {theirs}");

    let stage = Stage::new();
    let path = stage.write("line-count", &library);
    let plugin = plugins::inspect(&path, &rules()).and_then(plugins::load).unwrap();
    let file = stage.path().join("lines");
    let exporter = start(&plugin, settings("other", json!({ "path": file }))).unwrap();
    exporter.submit(batch(0));
    let counters = exporter.shutdown(Instant::now() + super::LONG);
    assert_eq!((counters.delivered, counters.last_error), (1, None));
}
