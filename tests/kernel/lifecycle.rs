//! The daemon starts, runs, ends, and leaves nothing behind.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
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
fn two_daemons_at_once_end_promptly_and_lose_nothing_twice_in_a_row() {
    kernel_tier!();
    for _ in 0..2 {
        let mut daemons = [Daemon::start(10, ""), Daemon::start(10, "")];
        std::thread::sleep(Duration::from_secs(60));
        for daemon in &mut daemons {
            let (took, said) = daemon.terminate();
            // A promise to the operator, not a benchmark: the budget of shutdown is shorter.
            assert!(took < Duration::from_secs(2), "the end took {took:?}: {said}");
            let profiles = daemon.profiles();
            assert!((6..=7).contains(&profiles.len()), "{} profiles in 60 s: {said}", profiles.len());
            let written: u64 = profiles.iter().map(Stacks::samples).sum();
            assert_eq!(written, number(&said, "samples"), "every sample is in a file: {said}");
            assert!(written > 0, "{said}");
            let lost = said.lines().last().unwrap();
            for ours in ["ring_full", "no_ring", "no_scratch", "malformed", "stacks_full", "not_written"] {
                assert!(!lost.contains(ours), "{lost}");
            }
        }
    }
}

#[test]
fn a_killed_daemon_leaves_no_program_and_no_map_behind() {
    kernel_tier!();
    let before = programs_and_maps();
    let mut daemon = Daemon::start(1, "");
    daemon.wait_for(1);
    assert!(programs_and_maps().len() > before.len(), "a running daemon has programs in the kernel");
    daemon.signal(libc::SIGKILL);
    daemon.child.wait().unwrap();
    // The kernel frees what the descriptors held after a grace period.
    let gone = || programs_and_maps().is_subset(&before);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !gone() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(gone(), "left behind: {:?}", programs_and_maps().difference(&before));
}

/// Every BPF program and map in the kernel, as bpftool shows them.
fn programs_and_maps() -> BTreeSet<String> {
    let list = |what| {
        let output = std::process::Command::new("bpftool").args(["-j", what, "show"]).output().unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        all.into_iter().map(move |one| format!("{what} {} {}", one["id"], one["name"]))
    };
    list("prog").chain(list("map")).collect()
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
        .args(["record", "-d", "2", "--config"])
        .arg(&installed.config)
        .arg("-o")
        .arg(&recorded)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Path::new(&recorded).exists());
}
