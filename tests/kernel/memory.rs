//! The default budget: 32 MiB of BPF maps and 40 MiB of the agent, whatever is profiled.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const MAP_BYTES: u64 = 32 << 20;
const RESIDENT_BYTES: u64 = 40 << 20;

/// The most that was resident of a process while it lived, in bytes, and the most that its BPF maps took.
fn peaks(agent: &mut Child) -> (u64, u64) {
    let (mut resident, mut maps) = (0, 0);
    let mut looks = 0;
    while agent.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
        // The kernel keeps the peak, so the last look has it.
        resident = resident.max(peak.unwrap_or(0) * 1024);
        if looks % 50 == 0 {
            maps = maps.max(map_bytes(agent.id()));
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    (resident, maps)
}

/// What the kernel books for the maps that a process or its programs hold, as bpftool shows them.
fn map_bytes(pid: u32) -> u64 {
    let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(descriptor.path()).unwrap_or_default();
        let number =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        programs.extend(number("prog_id:"));
        maps.extend(number("map_id:"));
    }
    for program in bpftool("prog") {
        if program["id"].as_u64().is_some_and(|id| programs.contains(&id)) {
            maps.extend(
                program["map_ids"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64),
            );
        }
    }
    let ours =
        bpftool("map").into_iter().filter(|map| map["id"].as_u64().is_some_and(|id| maps.contains(&id)));
    ours.filter_map(|map| map["bytes_memlock"].as_u64()).sum()
}

fn bpftool(what: &str) -> Vec<serde_json::Value> {
    let output = Command::new("bpftool").args(["-j", what, "show"]).output().unwrap();
    // It prints nothing at all where there is none.
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Something for a compiler to do: functions of all kinds of types.
fn source(folder: &Path) -> std::path::PathBuf {
    let mut text = String::new();
    for number in 0..1500 {
        writeln!(
            text,
            "pub fn f{number}(x: &std::collections::BTreeMap<[u8; {}], Vec<String>>) -> String {{ \
             x.iter().map(|(k, v)| format!(\"{{k:?}} {{v:?}} {number}\")).collect::<Vec<_>>().join(\"{number}\") }}",
            number % 150 + 1
        )
        .unwrap();
    }
    let file = folder.join("large.rs");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn stays_within_the_default_budget_beside_libraries_of_hundreds_of_megabytes() {
    kernel_tier!();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let libraries = Path::new(std::str::from_utf8(&sysroot.stdout).unwrap().trim()).join("lib");
    let largest =
        std::fs::read_dir(&libraries).unwrap().flatten().map(|file| file.metadata().unwrap().len()).max();
    assert!(largest.is_some_and(|bytes| bytes > 80 << 20), "{libraries:?} has no large library: {largest:?}");

    let folder = tempfile::tempdir().unwrap();
    let (source, profile) = (source(folder.path()), folder.path().join("profile.folded"));
    let mut record = Installed::from_environment().unwrap().command("record");
    record.args(["-F", "99", "-o"]).arg(&profile).arg("--");
    record.args(["rustc", "--crate-type=lib", "-O", "-o"]).arg(folder.path().join("large.rlib")).arg(&source);
    let mut agent = record.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (resident, maps) = peaks(&mut agent);
    let output = agent.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // It was worth it: the compiler's functions have names.
    let stacks = Stacks::parse(&std::fs::read_to_string(&profile).unwrap());
    let compiler =
        stacks.with_frame(|frame| frame.starts_with("llvm::") || frame.contains("rustc_")).samples();
    assert!(compiler * 2 > stacks.samples(), "{compiler} of {} samples: {said}", stacks.samples());

    eprintln!("{} KiB resident, {} KiB of BPF maps", resident >> 10, maps >> 10);
    assert!(resident > 10 << 20 && resident <= RESIDENT_BYTES, "{resident} bytes resident; {said}");
    assert!(maps > 8 << 20 && maps <= MAP_BYTES, "{maps} bytes of BPF maps; {said}");
}
