//! A configuration that cannot work is refused with one clear sentence and exit status 2.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use std::process::Command;

/// Runs a command that must be refused; returns the sentence.
fn refused(command: &mut Command) -> String {
    let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!said.contains(word), "{said}");
    }
    assert!((1..=3).contains(&said.lines().count()), "one clear sentence, not {said}");
    said
}

fn record() -> Command {
    let mut command = Installed::from_environment().unwrap().command("record");
    command.args(["-d", "1", "-o", "/tmp/never-written.folded"]);
    command
}

/// The same command behind another one that takes something away.
fn behind(wrapper: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(wrapper[0]);
    // Cargo sets it for the tests; the agent warns of it.
    wrapped.env_remove("LD_LIBRARY_PATH");
    wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
    wrapped
}

#[test]
fn without_root() {
    kernel_tier!();
    let unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let said = refused(&mut behind(&unprivileged, &record()));
    assert!(said.contains("root") || said.contains("CAP_"), "{said}");
}

#[test]
fn without_perf_events() {
    kernel_tier!();
    let said = refused(&mut behind(&[env!("CARGO_BIN_EXE_without_perf_events")], &record()));
    assert!(said.contains("perf_event_open") || said.contains("perf.cpu_clock"), "{said}");
}

#[test]
fn without_the_named_config() {
    kernel_tier!();
    let said = refused(record().args(["--config", "/nowhere/stacksonde.toml"]));
    assert!(said.contains("/nowhere/stacksonde.toml"), "{said}");
}

#[test]
fn with_a_malformed_or_contradictory_config() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.toml");
    for (text, named) in [
        ("[sampling\nfrequency_hz = 19\n", "bad.toml"),
        ("[sampling]\nfrequenzy_hz = 19\n", "sampling.frequency_hz"),
        ("[sampling]\nfrequency_hz = \"often\"\n", "frequency_hz"),
        ("[memory]\nring_bytes = 1000\n", "memory.ring_bytes"),
        ("[exporters.mine]\nplugin = \"never-loaded\"\n", "never-loaded"),
    ] {
        std::fs::write(&config, text).unwrap();
        let mut run = Installed::from_environment().unwrap().command("run");
        let said = refused(run.arg("--config").arg(&config));
        assert!(said.contains(named), "{text}: {said}");
    }
}

#[test]
fn a_config_of_another_user_that_decides_what_code_runs() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("theirs.toml");
    std::fs::write(&config, "[plugins]\nload = []\n").unwrap();
    std::os::unix::fs::chown(&config, Some(65534), None).unwrap();
    let mut run = Installed::from_environment().unwrap().command("run");
    let said = refused(run.arg("--config").arg(&config));
    let file = config.display();
    let expected = format!(
        "{file} sets `plugins.*`, which decides what code runs, but belongs to user 65534, not to root; run `chown root {file}`"
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_process_that_is_not_there() {
    kernel_tier!();
    let said = refused(record().args(["-p", "4194304"]));
    assert!(said.contains("4194304"), "{said}");
}

#[test]
fn an_output_file_in_no_folder_or_of_no_known_kind() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let said = refused(installed.command("record").args(["-d", "1", "-o", "/nowhere/at/all.svg"]));
    assert!(said.contains("/nowhere/at"), "{said}");
    let said = refused(installed.command("record").args(["-d", "1", "-o", "/tmp/profile.docx"]));
    assert!(said.contains(".docx"), "{said}");
}
