//! The default budget: 32 MiB of BPF maps and 40 MiB of the agent, whatever is profiled.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(super) const MAP_BYTES: u64 = 32 << 20;
pub(super) const RESIDENT_BYTES: u64 = 40 << 20;
/// Resident pages of an optimised build's own files, the agent's program and its plugins: 13.3 MiB were measured of the
/// profile `stage` beside a compiler. A release, whose linking leaves more out, has less.
const CODE_BYTES: u64 = 13 << 20;

/// The most that a process took while it lived, in bytes.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    resident: u64,
    /// Of it, pages of the agent's own files.
    code: u64,
    pub(super) maps: u64,
}

impl Peaks {
    fn of(agent: &mut Child) -> Self {
        let mut peaks = Self::default();
        let mut looks = 0;
        while agent.try_wait().unwrap().is_none() {
            if looks % 50 == 0 {
                peaks.look(agent.id());
            }
            // The kernel keeps the peak, so the last look has it.
            peaks.look_at_resident(agent.id());
            looks += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        peaks
    }

    /// Takes in what a process takes now, and had resident at its peak.
    pub(super) fn look(&mut self, pid: u32) {
        self.look_at_resident(pid);
        self.code = self.code.max(code_bytes(pid));
        self.maps = self.maps.max(map_bytes(pid));
    }

    fn look_at_resident(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        self.resident = self.resident.max(peak.map_or(0, kibibytes));
    }

    /// Returns the most that would be resident of an optimised build: that of the tests has more code, and all else is the
    /// same.
    pub(super) fn resident_if_optimised(&self) -> u64 {
        self.resident - self.code.saturating_sub(CODE_BYTES)
    }
}

/// Bytes that stand as `1234 kB`.
fn kibibytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Adds up what is resident of the files of the agent: its program and its plugins.
fn code_bytes(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let (mut ours, mut bytes) = (false, 0);
    for line in smaps.lines() {
        if let Some(resident) = line.strip_prefix("Rss:") {
            bytes += if ours { kibibytes(resident) } else { 0 };
        } else if let Some((_, path)) = line.split_once('/').filter(|(range, _)| range.contains('-')) {
            let path = Path::new("/").join(path);
            ours = path == program || path.parent().is_some_and(|folder| folder.ends_with("plugins-1"));
        } else if line.split_once('-').is_some_and(|(start, _)| u64::from_str_radix(start, 16).is_ok()) {
            ours = false;
        }
    }
    bytes
}

/// Adds up what the kernel books for the maps that a process or its programs hold, as bpftool shows them.
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
    let peaks = Peaks::of(&mut agent);
    let output = agent.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // It was worth it: the compiler's functions have names.
    let stacks = Stacks::parse(&std::fs::read_to_string(&profile).unwrap());
    let compiler =
        stacks.with_frame(|frame| frame.starts_with("llvm::") || frame.contains("rustc_")).samples();
    assert!(compiler * 2 > stacks.samples(), "{compiler} of {} samples: {said}", stacks.samples());

    eprintln!("{peaks:?}");
    let resident = peaks.resident_if_optimised();
    assert!(resident > 10 << 20 && resident <= RESIDENT_BYTES, "{resident} of {peaks:?}; {said}");
    assert!(peaks.code > 1 << 20, "nothing of the agent's own files is resident: {peaks:?}");
    assert!(peaks.maps > 8 << 20 && peaks.maps <= MAP_BYTES, "{peaks:?}; {said}");
}
