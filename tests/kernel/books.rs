//! CPU time adds up: what a program used is what was sampled plus what was counted as lost.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::compile;
use std::process::Output;

const HZ: f64 = 499.0;

/// Lost samples of CPU 1, as the agent's log tells them.
fn lost(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("the books of a CPU cpu=1 "));
    let count = line.and_then(|line| line.split_once("lost=")).unwrap_or_else(|| panic!("{text}")).1;
    count.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// Records a command that keeps CPU 1 busy and prints the seconds that it used, and checks the sum;
/// returns the lost samples.
fn check_sum(program: &str, process: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let log = "stacksonde::bpf::books=debug";
    let hz = HZ.to_string();
    let (output, stacks) =
        installed.record(folder.path(), &["-F", &hz, "--log", log, "--", program, "1", "5"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let used: f64 =
        said.lines().find_map(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"));
    let (sampled, lost) = (stacks.of(process).samples(), lost(&output));
    let (expected, counted) = (used * HZ, (sampled + lost) as f64);
    assert!(
        (counted - expected).abs() <= 0.02 * expected,
        "{used:.3} s at {HZ} Hz are {expected:.0} samples; {sampled} sampled and {lost} lost are {counted:.0}"
    );
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
