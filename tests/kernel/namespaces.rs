//! In a pid namespace of its own the agent sees the ids that its `/proc` shows, whatever the initial one says.

use serde_json::Value;
use stacksonde_tests::agent::{Installed, config_in, record_until};
use stacksonde_tests::cpu_time::used;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, Spinners, descendant};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Capabilities whose denial closes a way to ids, and the way that is left.
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
    let script = format!(
        "{program} 0 600 & until [ \"$(cat /proc/$!/comm)\" = busy ]; do sleep 0.01; done; \"$@\" -p $!; status=$?; kill $!; exit $status"
    );
    let mut command = Command::new(NESTED[0]);
    command.args(&NESTED[1..]).args(["bash", "-c", &script, "bash"]).arg(&installed.agent);
    command.args(["record", "-F", "199", "--config"]).arg(&installed.config).arg("--config").arg(config);
    let mut has_used = None;
    record_until(command.arg("-o").arg(&out), |child| {
        let has_used = has_used.get_or_insert_with(|| {
            let busy = descendant(child, "busy").unwrap();
            used(&[busy], Duration::from_secs(1))
        });
        has_used(child)
    });
    Stacks::parse(&std::fs::read_to_string(out).unwrap())
}

fn ids(plan: &Value) -> Option<&Value> {
    plan["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "process_ids")
}

#[test]
fn a_program_is_profiled_by_its_id_in_our_namespace_and_no_other_is() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _outside = spinners.spin("decoy", 1);
    let (folder, program) = (spinners.folder(), spinners.called("busy"));
    for (way, denied) in WAYS {
        let toml = format!("[capabilities]\ndeny = {denied:?}\n");
        let plan = Installed::from_environment().unwrap().doctor(&NESTED, &toml, &[]);
        assert_eq!(ids(&plan).unwrap()["way"], way, "{plan}");
        let stacks = record(folder, &toml, program.to_str().unwrap());
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

/// Records everything from within a namespace of its own, until a program has used a second of CPU time.
fn record_all(folder: &Path, flags: &[&str], program: &Running) -> Stacks {
    let installed = Installed::from_environment().unwrap();
    let out = folder.join("profile.folded");
    let mut command = Command::new(NESTED[0]);
    command.args(&NESTED[1..]).arg(&installed.agent);
    command.args(["record", "-F", "199", "--config"]).arg(&installed.config).args(flags);
    record_until(command.arg("-o").arg(&out), program.used(1000));
    Stacks::parse(&std::fs::read_to_string(out).unwrap())
}

#[test]
fn processes_outside_keep_their_names_and_kernel_frames() {
    kernel_tier!();
    let spinners = Spinners::new();
    let outside = spinners.spin("decoy", 0);
    let stacks = record_all(spinners.folder(), &[], &outside);
    let decoy = stacks.of("decoy");
    assert!(decoy.samples() > 20, "{stacks:?}");
    assert_eq!(decoy.with_chain(&["main"]).samples(), 0, "its files are not ours to see: {stacks:?}");
}

#[test]
fn processes_outside_are_left_out_by_their_names() {
    kernel_tier!();
    let spinners = Spinners::new();
    let outside = [spinners.spin("decoy", 0), spinners.spin("other", 1)];
    let stacks = record_all(spinners.folder(), &["--deny-comm", "decoy"], &outside[1]);
    assert_eq!(stacks.of("decoy").samples(), 0, "{stacks:?}");
    assert!(stacks.of("other").samples() > 20, "{stacks:?}");
}
