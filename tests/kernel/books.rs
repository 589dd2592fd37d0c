//! CPU time adds up: what a program used is what was sampled plus what was counted as lost.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::compile;
use std::process::{Command, Output, Stdio};

const HZ: f64 = 499.0;

/// Lost samples, as the agent's summary names them.
fn lost(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("lost")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Records all the while that `command` runs on CPU 1 and checks the sum; returns the lost samples.
fn check_sum(command: &mut Command, process: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let recorder = std::thread::spawn({
        let folder = folder.path().to_owned();
        move || installed.record(&folder, &["-d", "9", "-F", &HZ.to_string()])
    });
    // The recording starts before and ends after the program.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    let used: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    let (summary, stacks) = recorder.join().unwrap();
    let (sampled, lost) = (stacks.of(process).samples(), lost(&summary));
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
    check_sum(Command::new(program).args(["1", "5"]), "busy");
}

#[test]
fn what_another_bpf_program_keeps_from_us_is_counted() {
    kernel_tier!();
    let lost = check_sum(Command::new(env!("CARGO_BIN_EXE_hammer")).args(["1", "5"]), "hammer");
    assert!(lost > 100, "the other program ran most of the time, yet only {lost} samples were lost");
}
