//! `stacksonde doctor` says what is there and what is not, in words and by its exit status.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Installed::from_environment().unwrap().command("doctor");
    command.args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_exit_status_and_the_last_line_agree() {
    kernel_tier!();
    let output = doctor(&[]).output().unwrap();
    let text = said(&output);
    let expected = match output.status.code() {
        Some(0) => "level       full",
        Some(1) => "level       reduced",
        other => panic!("{other:?}: {text}{}", String::from_utf8_lossy(&output.stderr)),
    };
    assert_eq!(text.lines().last(), Some(expected));
    assert!(text.contains("capability  bpf.syscall              present"), "{text}");
}

#[test]
fn a_denied_capability_costs_what_needs_it_and_says_so() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("deny.toml");
    std::fs::write(&config, "[capabilities]\ndeny = [\"perf.sideband\"]\n").unwrap();
    let output = doctor(&["--json", "--config", config.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["level"], "reduced");
    let features = plan["features"].as_array().unwrap();
    let notices = features.iter().find(|feature| feature["name"] == "process_notices").unwrap();
    assert_eq!(notices["state"], "reduced");
    assert_eq!(notices["reason"], "perf.sideband: denied by capabilities.deny");
}

#[test]
fn an_unknown_capability_in_the_config_is_refused_with_the_nearest_name() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("deny.toml");
    std::fs::write(&config, "[capabilities]\ndeny = [\"kernel.bft\"]\n").unwrap();
    let output = doctor(&["--config", config.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("`kernel.bft`") && error.contains("`kernel.btf`"), "{error}");
}

#[test]
fn without_root_it_says_what_is_missing_and_how_to_get_it() {
    kernel_tier!();
    let command = doctor(&[]);
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().last(), Some("level       cannot run"), "{text}");
    let missing = text.lines().find(|line| line.starts_with("missing")).unwrap();
    assert!(missing.contains("CAP_BPF") && missing.contains("to change that: "), "{missing}");
}
