//! Programs that do their worst: whatever their stacks, mappings and files are like, every sample is there, the
//! kernel says nothing, and the agent profiles others as before.

use stacksonde_tests::agent::{self, Installed};
use stacksonde_tests::cpu_time::cpu_time;
use stacksonde_tests::damage;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use stacksonde_tests::wait::eventually;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const HZ: u64 = 499;

/// Lines in which the kernel complains.
fn complaints() -> Vec<String> {
    let output = Command::new("dmesg").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complains = |line: &&str| {
        ["WARNING:", "BUG:", "Oops", "Call Trace", "stall", "lockup", "blocked for more"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    text.lines().filter(complains).map(str::to_owned).collect()
}

/// The name of a process.
fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Starts programs, waits until each has the name it is known by, and records them all at once until each has used 300 ms
/// of CPU time. Returns how many samples are due of each by what it used meanwhile, the stacks, and how many were lost.
fn record(folder: &Path, commands: &[(&str, Vec<String>)]) -> (BTreeMap<String, u64>, Stacks, u64) {
    let before = complaints();
    let running: Vec<_> =
        commands.iter().map(|(_, words)| Running::start(Command::new(&words[0]).args(&words[1..]))).collect();
    for ((known, _), program) in commands.iter().zip(&running) {
        eventually(known, || name(program.0.id()) == *known);
    }
    let (hz, pids) = (HZ.to_string(), running.iter().map(Running::pid).collect::<Vec<_>>());
    let mut arguments = vec!["-F", &hz, agent::FIXED];
    pids.iter().for_each(|pid| arguments.extend(["-p", pid]));
    let used = || running.iter().map(|it| cpu_time(it.0.id()).unwrap()).collect::<Vec<_>>();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let (output, stacks) = Installed::from_environment().unwrap().record_until(folder, &arguments, |_| {
        last = used();
        if first.is_empty() {
            first.clone_from(&last);
        }
        first.iter().zip(&last).all(|(first, last)| *last - *first >= Duration::from_millis(300))
    });
    let names = commands.iter().map(|(known, _)| (*known).to_owned());
    let due = |(first, last): (&Duration, &Duration)| {
        u64::try_from((*last - *first).as_millis()).unwrap() * HZ / 1000
    };
    let due = names.zip(first.iter().zip(&last).map(due)).collect();
    let after = complaints();
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(new.is_empty(), "the kernel complains: {new:?}");
    (due, stacks, agent::lost(&output))
}

/// An ordinary program is profiled as ever.
fn check_health(folder: &Path) {
    let program =
        compile("no_frame_pointers.c", folder, &["-fomit-frame-pointer", "-pthread", "-Wno-unused-result"]);
    let running = Running::start(Command::new(program).arg("chain"));
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) = installed.record_until(folder, &["-F", "199", "-p", &running.pid()], running.used(500));
    let whole = stacks.with_chain(&["main", "outer", "middle", "inner"]).samples();
    assert!(whole > 20 && whole * 10 >= stacks.samples() * 9, "{stacks:?}");
}

#[test]
fn stacks_and_mappings_that_lead_nowhere_are_counted() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-Wno-infinite-recursion"];
    let program = compile("hostile.c", folder.path(), &flags).to_str().unwrap().to_owned();
    // Device memory, where the kernel lets root have it; else the program takes other memory.
    let device = folder.path().join("mem").to_str().unwrap().to_owned();
    let _made = Command::new("mknod").args([&device, "c", "1", "1"]).status();
    let command = |what: &str, argument: &str| vec![program.clone(), what.to_owned(), argument.to_owned()];
    let what = [
        "sp-unmapped",
        "sp-kernel",
        "sp-odd",
        "sp-vvar",
        "sp-device",
        "fp-cycle",
        "fp-down",
        "deep",
        "remap",
        "exec",
    ];
    let commands: Vec<_> = what
        .iter()
        .map(|what| (*what, command(what, if *what == "sp-device" { &device } else { "0" })))
        .collect();
    let (due, stacks, lost) = record(folder.path(), &commands);
    let mut all = 0;
    for (what, due) in &due {
        let found = stacks.of(what).samples() + if what == "exec" { stacks.of("exe").samples() } else { 0 };
        assert!(found > 20, "{what}: {found} samples of {due}");
        all += found;
    }
    // Every tick of their CPU time is a sample or a loss that was counted.
    let due: u64 = due.values().sum();
    assert!((all + lost) * 100 >= due * 90, "{all} samples and {lost} lost of {due}");
    let ends = |what: &str, reason: &str| {
        let (all, ended) =
            (stacks.of(what), stacks.of(what).with_frame(|frame| frame == format!("[incomplete: {reason}]")));
        assert!(ended.samples() * 10 >= all.samples() * 9, "{what} does not end by {reason}: {all:?}");
    };
    ends("sp-unmapped", "stack_unreadable");
    ends("sp-kernel", "stack_unreadable");
    ends("sp-odd", "stack_unreadable");
    ends("deep", "too_deep");
    for (what, longest) in [("fp-cycle", 256), ("fp-down", 256)] {
        assert!(stacks.of(what).depth() <= longest + 3, "{what}: {}", stacks.of(what).depth());
        assert_eq!(stacks.of(what).incomplete().samples(), stacks.of(what).samples(), "{what}");
    }
    check_health(folder.path());
}

/// The limit of mappings is raised while this lives.
struct MoreMappings(String);

impl MoreMappings {
    const LIMIT: &str = "/proc/sys/vm/max_map_count";

    fn new() -> Self {
        let before = std::fs::read_to_string(Self::LIMIT).unwrap();
        std::fs::write(Self::LIMIT, "300000").unwrap();
        Self(before)
    }
}

impl Drop for MoreMappings {
    fn drop(&mut self) {
        let _restored = std::fs::write(Self::LIMIT, &self.0);
    }
}

#[test]
fn a_process_with_a_hundred_thousand_mappings_costs_no_more_than_the_budget() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let _more = MoreMappings::new();
    let program = compile("hostile.c", folder.path(), &["-fomit-frame-pointer", "-Wno-infinite-recursion"]);
    let command = ["mappings", "100000"].map(str::to_owned);
    let words = [vec![program.to_str().unwrap().to_owned()], command.into()].concat();
    let (due, stacks, lost) = record(folder.path(), &[("mappings", words)]);
    let found = stacks.of("mappings").samples();
    assert!(found > 20 && (found + lost) * 100 >= due["mappings"] * 90, "{found} and {lost} lost of {due:?}");
    check_health(folder.path());
}

#[test]
fn damaged_call_frame_information_is_counted_and_harms_nobody() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread", "-Wno-unused-result"];
    let program = std::fs::read(compile("no_frame_pointers.c", folder.path(), &flags)).unwrap();
    let mut commands = Vec::new();
    for (what, damaged) in damage::all(&program) {
        let path = folder.path().join(what);
        std::fs::write(&path, damaged).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).unwrap();
        commands.push((what, vec![path.to_str().unwrap().to_owned(), "chain".to_owned()]));
    }
    let (due, stacks, lost) = record(folder.path(), &commands);
    let found: u64 = commands.iter().map(|(what, _)| stacks.of(what).samples()).sum();
    for (what, _) in &commands {
        assert!(stacks.of(what).samples() > 20, "{what}: {stacks:?}");
    }
    let due: u64 = due.values().sum();
    assert!((found + lost) * 100 >= due * 90, "{found} samples and {lost} lost of {due}");
    // What is sound of a file serves, whatever else is wrong with it.
    assert!(stacks.of("overlapping").with_chain(&["main", "outer", "middle", "inner"]).samples() > 0);
    check_health(folder.path());
}
