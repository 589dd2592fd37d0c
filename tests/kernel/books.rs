//! CPU time adds up: what a program used is what was sampled plus what was counted as lost.

use stacksonde_tests::agent::{FIXED, Installed};
use stacksonde_tests::cpu_time::Used;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::compile;
use std::process::Output;
use std::time::Instant;

const HZ: f64 = 499.0;

/// Reads a number of CPU 1's books in the agent's log.
fn number(output: &Output, name: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("CPU accounting cpu=1 "));
    let count =
        line.and_then(|line| line.split_once(&format!(" {name}="))).unwrap_or_else(|| panic!("{text}")).1;
    count.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// Records a command that keeps CPU 1 busy and prints what it used, and checks the sum;
/// returns the lost samples.
fn check_sum(program: &str, process: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let log = "stacksonde::bpf::accounting=debug";
    let hz = HZ.to_string();
    let began = Instant::now();
    let (output, stacks) =
        installed.record(folder.path(), &["-F", &hz, FIXED, "--log", log, "--", program, "1", "5"]);
    let longest = began.elapsed().as_secs_f64();
    let used = Used::said_in(&String::from_utf8_lossy(&output.stdout));
    let (lost, due) = (number(&output, "lost"), number(&output, "due") as f64);
    used.check(HZ, stacks.of(process).samples(), lost);
    // That these are not too many: the clock of a CPU ticks as long as it is recorded.
    assert!(due <= longest * HZ, "{due} ticks of CPU 1 in {longest} s at {HZ} Hz, {lost} of them lost");
    lost
}

#[test]
fn a_busy_loop_is_sampled_for_all_of_its_cpu_time() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("busy.c", folder.path(), &[]);
    check_sum(program.to_str().unwrap(), "busy");
}

#[test]
fn what_another_bpf_program_keeps_from_us_is_counted() {
    kernel_tier!();
    let lost = check_sum(env!("CARGO_BIN_EXE_hammer"), "hammer");
    assert!(lost > 100, "the other program ran most of the time, yet only {lost} samples were lost");
}
