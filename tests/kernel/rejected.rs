//! A sampling program that the kernel refuses costs what was refused, and no more. The refusals are made:
//! `refusing_programs` stands between the agent and the kernel.

use stacksonde_tests::agent::{Installed, record_until};
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::Running;
use std::path::Path;
use std::process::{Command, Output};

/// Records a program while the first `count` tries to load `sample` are refused.
fn record(folder: &Path, running: &Running, count: &str) -> (Output, Stacks) {
    let installed = Installed::from_environment().unwrap();
    let out = folder.join("profile.folded");
    let mut command = Command::new(env!("CARGO_BIN_EXE_refusing_programs"));
    command.args(["sample", count]).arg(&installed.agent);
    command.args(["record", "-F", "199", "-p", &running.pid(), "--config"]).arg(&installed.config);
    let output = record_until(command.arg("-o").arg(&out), running.used(1000));
    (output, Stacks::parse(&std::fs::read_to_string(out).unwrap()))
}

#[test]
fn a_refused_program_costs_only_what_was_refused() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::c_chain(folder.path());
    const CGROUPS: &str = "loaded without the cgroups of samples";
    const ENTRY: &str = "loaded without the user part of samples in the kernel";
    const WALK: &str = "loaded without its own walk of user stacks";
    // Tries that are refused, what is said, whether user stacks are whole, and those below kernel frames too.
    for (refused, says, whole, below_kernel) in [
        ("0", None, true, true),
        ("1", Some(CGROUPS), true, true),
        ("2", Some(ENTRY), true, false),
        ("9", Some(WALK), false, true),
    ] {
        let (output, stacks) = record(folder.path(), &running, refused);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(says.is_none_or(|says| said.contains(says)), "{refused}: {said}");
        assert_eq!(said.contains("refused the sampling program: "), says.is_some(), "{refused}: {said}");
        let in_user_mode = stacks.with_chain(&["outer", "middle", "inner", "spin"]);
        assert!(in_user_mode.samples() > 20, "{refused}: {stacks:?}");
        assert_eq!(in_user_mode.incomplete().samples() == 0, whole, "{refused}: {stacks:?}");
        let in_kernel = stacks.in_kernel();
        assert!(in_kernel.samples() > 20, "{refused}: {stacks:?}");
        let below = in_kernel.with_chain(&["outer", "middle", "ask_kernel"]);
        assert_eq!(below.samples() > 20, below_kernel, "{refused}: {stacks:?}");
    }
}
