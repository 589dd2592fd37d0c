//! The daemon starts, runs, ends, and leaves nothing behind.

use stacksonde_tests::agent::{Installed, ended_without_loss};
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::wait::eventually;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// The number after `key=` in the daemon's last line.
fn number(said: &str, key: &str) -> u64 {
    let line =
        said.lines().rev().find(|line| line.contains("ended samples=")).unwrap_or_else(|| panic!("{said}"));
    let value = line.split_once(&format!("{key}=")).unwrap_or_else(|| panic!("no {key} in {line}")).1;
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn two_daemons_at_once_end_when_told_and_lose_nothing_twice_in_a_row() {
    kernel_tier!();
    for _ in 0..2 {
        let began = Instant::now();
        // Far more than they need to write what they have: a daemon that takes all of it waits for something.
        let budget = "[shutdown]\nbudget_ms = 60000\n";
        let mut daemons = [Daemon::start(1, budget), Daemon::start(1, budget)];
        for daemon in &daemons {
            daemon.wait_for(6);
        }
        for daemon in &mut daemons {
            let asked = Instant::now();
            let said = daemon.terminate();
            assert!(asked.elapsed() < Duration::from_secs(50), "it waited for nothing: {said}");
            let profiles = daemon.profiles();
            let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
            assert!(profiles.len() <= most, "{} profiles in {most} s: {said}", profiles.len());
            let written: u64 = profiles.iter().map(Stacks::samples).sum();
            assert_eq!(written, number(&said, "samples"), "every sample is in a file: {said}");
            assert!(written > 0, "{said}");
            ended_without_loss(&said);
        }
    }
}

#[test]
fn a_killed_daemon_leaves_no_program_and_no_map_behind() {
    kernel_tier!();
    let mut daemon = Daemon::start(1, "");
    daemon.wait_for(1);
    let held = held_by(daemon.child.id());
    assert!(
        held.iter().any(|one| one.starts_with("prog")) && held.is_subset(&programs_and_maps()),
        "{held:?}"
    );
    daemon.signal(libc::SIGKILL);
    daemon.child.wait().unwrap();
    // The kernel frees what the descriptors held after a grace period.
    eventually("their end", || programs_and_maps().is_disjoint(&held));
}

/// Every BPF program and map in the kernel, as bpftool shows them.
fn programs_and_maps() -> BTreeSet<String> {
    let list = |what| {
        let output = std::process::Command::new("bpftool").args(["-j", what, "show"]).output().unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        all.into_iter().map(move |one| format!("{what} {}", one["id"]))
    };
    list("prog").chain(list("map")).collect()
}

/// Lists those that a process has descriptors of.
fn held_by(pid: u32) -> BTreeSet<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let texts = descriptors.filter_map(|descriptor| std::fs::read_to_string(descriptor.path()).ok());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let of = |what: &'static str| {
        let ids = lines.iter().filter_map(move |line| line.strip_prefix(what)?.strip_prefix("_id:"));
        ids.map(move |id| format!("{what} {}", id.trim()))
    };
    of("prog").chain(of("map")).collect()
}

#[test]
fn a_recording_is_written_even_if_a_daemon_would_have_to_end_before() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.pb.gz");
    let mut record = Installed::from_environment().unwrap().command("record");
    // Less than any machine needs.
    record.env("STACKSONDE_SHUTDOWN__BUDGET_MS", "1").args(["-d", "1", "-F", "999", "-o"]).arg(&file);
    let output = record.output().unwrap();
    assert!(output.status.success() && file.exists(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn starts_with_a_small_memlock_limit_and_without_tracefs() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let recorded = folder.path().join("profile.folded");
    // 8 MiB, no CAP_SYS_RESOURCE to raise it, nothing at the places of tracefs and debugfs.
    let script = "ulimit -l 8192; mount -t tmpfs none /sys/kernel/tracing; mount -t tmpfs none /sys/kernel/debug; exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args([
            "-m",
            "setpriv",
            "--bounding-set=-sys_resource",
            "--inh-caps=-sys_resource",
            "bash",
            "-c",
            script,
            "bash",
        ])
        .arg(&installed.agent)
        .args(["record", "-d", "1", "--config"])
        .arg(&installed.config)
        .arg("-o")
        .arg(&recorded)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Path::new(&recorded).exists());
}
