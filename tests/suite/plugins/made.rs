//! `plugin new`: each crate that it writes builds, passes its own tests, and passes `plugin check`.

use super::is_root;
use stacksonde_tests::{agent, plugin};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Makes, tests, builds and checks a plugin of `kind`.
fn made(kind: &str, keys: &[&str]) {
    let folder = tempfile::tempdir_in(std::env::temp_dir().canonicalize().unwrap()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let name = format!("new-{kind}");
    let mut new = Command::new(agent::built());
    new.args(["plugin", "new", &name, "--kind", kind, "--sdk"]).arg(plugin::workspace());
    let said = run(new.current_dir(folder.path()));
    assert!(said.contains(&format!("wrote {name}; next:\n  cd {name}\n  cargo test\n")), "{said}");
    let refused = new.output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "what is there is not written over");

    let folder = folder.path().join(name);
    let tested = run(plugin::cargo(&folder, &["test"]).arg("--offline"));
    assert!(tested.contains("2 passed"), "{tested}");
    let library = plugin::build_crate(&folder, &[]);
    let stage = plugin::Stage::new();
    let path = stage.write(&format!("new-{kind}"), &fs::read(library).unwrap());
    let mut check = Command::new(agent::built());
    check.args(["plugin", "check"]).arg(path).args(keys);
    if !is_root() {
        check.arg("--trust-any-plugin-owner");
    }
    assert!(run(&mut check).contains(" 0 failed"));
}

#[test]
fn a_new_exporter_builds_and_passes() {
    let lines = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-exporter-lines");
    let key = format!("path={}", lines.display());
    made("exporter", &["--set", &key]);
    assert!(fs::read_to_string(lines).unwrap().contains(" samples until "));
}

#[test]
fn a_new_offset_provider_builds_and_passes() {
    made("offset-provider", &[]);
}

#[test]
fn a_new_safety_check_builds_and_passes() {
    made("safety-check", &[]);
}
