//! Programs with known stacks are shown with these stacks.

use stacksonde_tests::agent::{FIXED, Installed, lost};
use stacksonde_tests::cpu_time::Used;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::process::Command;

/// At least this share of the samples that could show a chain does. The rest was sampled between a
/// call and the frame pointer's update, where the caller is not in the chain of frame pointers.
const SHARE: f64 = 0.9;

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[test]
fn a_c_program_shows_its_chain_in_user_mode_and_below_a_system_call() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::c_chain(folder.path());
    let (_, stacks) = Installed::from_environment().unwrap().record_until(
        folder.path(),
        &["-F", "199", "-p", &running.pid()],
        running.used(2000),
    );

    assert_eq!(stacks.processes(), ["c_chain"].into(), "only the program that was asked for");
    assert!(stacks.samples() > 60, "{stacks:?}");
    let root = ["c_chain", "_start", "start", "outer", "middle"];
    let in_user_mode = stacks.with_chain(&[&root[..], &["inner", "spin"]].concat());
    assert!(in_user_mode.samples() > 10, "{stacks:?}");

    let in_kernel = stacks.in_kernel();
    let below_system_call = in_kernel.with_chain(&[&root[..], &["ask_kernel"]].concat());
    assert!(below_system_call.samples() > 10, "{stacks:?}");
    assert_eq!(below_system_call.incomplete().samples(), 0, "the user part below a system call is complete");
    assert!(
        share(in_user_mode.samples() + below_system_call.samples(), stacks.samples()) > SHARE,
        "{stacks:?}"
    );
}

#[test]
fn a_rust_program_shows_its_chain() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("rust_chain.rs", folder.path(), &[]);
    let running = Running::start(&mut Command::new(program));
    let (_, stacks) = Installed::from_environment().unwrap().record_until(
        folder.path(),
        &["-F", "199", "-p", &running.pid()],
        running.used(1000),
    );
    let chain = stacks.with_chain(&[
        "rust_chain::main",
        "rust_chain::outer",
        "rust_chain::middle",
        "rust_chain::inner",
    ]);
    assert!(stacks.samples() > 30, "{stacks:?}");
    assert!(share(chain.samples(), stacks.samples()) > SHARE, "{stacks:?}");
}

#[test]
fn a_command_is_followed_into_its_descendants() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    let program = program.to_str().unwrap();
    let script = format!("{program} 0 0.5; (bash -c '{program} 0 0.5')");
    let (output, stacks) = Installed::from_environment()
        .unwrap()
        .record(folder.path(), &["-F", "199", FIXED, "--", "bash", "-c", &script]);
    let busy = stacks.of("busy").samples();
    // Both of them.
    Used::said_in(&String::from_utf8_lossy(&output.stdout)).check(199.0, busy, lost(&output));
    assert!(
        stacks.processes().iter().all(|name| ["busy", "bash", "stacksonde"].contains(name)),
        "{stacks:?}"
    );
}
