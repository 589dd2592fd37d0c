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
    let row = text.lines().find(|line| line.starts_with("bpf.syscall ")).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains("present") && row.contains("samples"), "{row}");
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
    let missing = text.lines().skip_while(|line| !line.starts_with("CANNOT RUN FOR")).nth(1).unwrap();
    assert!(missing.contains("no CAP_BPF") && missing.contains("run as root"), "{missing}");
}

#[test]
fn the_json_has_what_its_page_says_and_nothing_else() {
    kernel_tier!();
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor-json.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut documented: Vec<&str> = rows.map(|(key, _)| key).collect();
    documented.sort_unstable();
    let output = doctor(&["--json"]).output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut printed: Vec<&str> = plan.as_object().unwrap().keys().map(String::as_str).collect();
    printed.sort_unstable();
    assert_eq!(printed, documented);
    for (list, keys) in [
        ("facts", &["name", "value", "provider", "method", "evidence"][..]),
        ("hazards", &["hazard", "state", "reason", "mitigation", "remedy", "refuses"]),
        ("features", &["name", "state", "way", "reason", "remedy", "needs"]),
    ] {
        for key in keys {
            assert!(plan[list][0].get(key).is_some(), "{list}.{key}: {plan}");
            assert!(page.contains(&format!("`{key}`")), "{key} is not described");
        }
    }
    for feature in plan["features"].as_array().unwrap() {
        assert!(page.contains(&format!("`{}`", feature["name"].as_str().unwrap())), "{feature}");
    }
}

#[test]
fn it_says_which_plugin_files_were_refused() {
    kernel_tier!();
    let folder = stacksonde_tests::plugin::Stage::new();
    folder.write("broken", b"not a library");
    let toml = format!("[plugins]\ndirectories = [{:?}]\nload = [\"broken\", \"gone\"]\n", folder.path());
    let plan = Installed::from_environment().unwrap().doctor(&[], &toml, &[]);
    let refused = plan["plugins"]["refused"].as_array().unwrap();
    let of = |name: &str| refused.iter().find(|plugin| plugin["name"] == name).unwrap();
    assert_eq!(
        (of("broken")["installed"].clone(), of("gone")["installed"].clone()),
        (true.into(), false.into())
    );
    assert!(of("broken")["reason"].as_str().unwrap().contains("broken.so"), "{refused:?}");
}
