//! In a pid namespace of its own the agent sees the ids that its `/proc` shows, whatever the initial one says.

use serde_json::Value;
use stacksonde_tests::agent::{Installed, config_in};
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::path::Path;
use std::process::Command;

/// What denies a way to ids, and the way that is left.
const WAYS: [(&str, &[&str]); 3] = [
    ("facts", &[]),
    ("helper", &["kernel.btf", "bpf.run.raw_tracepoint", "tracefs.syscalls", "bpf.prog.raw_tracepoint"]),
    (
        "",
        &[
            "kernel.btf",
            "bpf.run.raw_tracepoint",
            "tracefs.syscalls",
            "bpf.prog.raw_tracepoint",
            "bpf.helper.get_ns_current_pid_tgid",
        ],
    ),
];

const NESTED: [&str; 3] = ["unshare", "-pf", "--mount-proc"];

/// Runs a program and the agent in a namespace within ours; the agent records that program alone.
fn record(folder: &Path, toml: &str, program: &str) -> Stacks {
    let config = config_in(folder, toml);
    let installed = Installed::from_environment().unwrap();
    let out = folder.join("profile.folded");
    let script = format!("{program} 0 60 & sleep 0.2; \"$@\" -p $!; status=$?; kill $!; exit $status");
    let output = Command::new(NESTED[0])
        .args(&NESTED[1..])
        .args(["bash", "-c", &script, "bash"])
        .arg(&installed.agent)
        .args(["record", "-d", "2", "-F", "199", "--config"])
        .arg(&installed.config)
        .arg("--config")
        .arg(config)
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Stacks::parse(&std::fs::read_to_string(out).unwrap())
}

fn ids(plan: &Value) -> Option<&Value> {
    plan["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "process_ids")
}

#[test]
fn a_program_is_profiled_by_its_id_in_our_namespace_and_no_other_is() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let decoy = folder.path().join("decoy");
    std::fs::copy(&program, &decoy).unwrap();
    let _outside = Running::start(Command::new(decoy).args(["1", "60"]));
    for (way, denied) in WAYS {
        let toml = format!("[capabilities]\ndeny = {denied:?}\n");
        let plan = Installed::from_environment().unwrap().doctor(&NESTED, &toml, &[]);
        assert_eq!(ids(&plan).unwrap()["way"], way, "{plan}");
        let stacks = record(folder.path(), &toml, program.to_str().unwrap());
        if way.is_empty() {
            assert_eq!(stacks.samples(), 0, "no id is better than a wrong one: {stacks:?}");
            continue;
        }
        assert_eq!(stacks.processes(), ["busy"].into(), "{way}: {stacks:?}");
        assert!(stacks.with_chain(&["main"]).samples() > 20, "{way}: its mappings are known: {stacks:?}");
    }
}

#[test]
fn in_the_initial_namespace_no_ids_are_translated() {
    kernel_tier!();
    let plan = Installed::from_environment().unwrap().doctor(&[], "", &[]);
    assert!(ids(&plan).is_none() || stacksonde::kernel::PidNamespace::detect().is_nested(), "{plan}");
}

#[test]
fn processes_outside_keep_their_names_and_kernel_frames() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let decoy = folder.path().join("decoy");
    std::fs::copy(&program, &decoy).unwrap();
    let _outside = Running::start(Command::new(decoy).args(["0", "60"]));
    let installed = Installed::from_environment().unwrap();
    let out = folder.path().join("profile.folded");
    let output = Command::new(NESTED[0])
        .args(&NESTED[1..])
        .arg(&installed.agent)
        .args(["record", "-d", "2", "-F", "199", "--config"])
        .arg(&installed.config)
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stacks = Stacks::parse(&std::fs::read_to_string(out).unwrap());
    let decoy = stacks.of("decoy");
    assert!(decoy.samples() > 20, "{stacks:?}");
    assert_eq!(decoy.with_chain(&["main"]).samples(), 0, "its files are not ours to see: {stacks:?}");
}
