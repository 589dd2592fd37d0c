//! What `perf script` makes of a recording: how many stacks are whole, and when the first sample was taken.

use super::usage;
use anyhow::{Context, bail};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Names under which threads begin in C libraries.
const THREAD_ROOTS: [&str; 6] =
    ["clone", "__clone", "clone3", "__clone3", "thread_start", "__clone_internal"];
/// How far into the code at the entry point the outermost call is.
const ENTRY_BYTES: u64 = 64;

/// What there is to know of a recording.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recording {
    /// Samples.
    pub(super) samples: u64,
    /// Samples whose stack ends at a program's entry point or where a thread begins, or has kernel frames only.
    pub(super) complete: u64,
    /// When the first one was taken, on CLOCK_MONOTONIC.
    pub(super) first: Option<Duration>,
    /// CPU time of `perf script`, which does the unwinding.
    pub(super) cpu: Duration,
}

/// Has perf unwind a recording made with `-k CLOCK_MONOTONIC`.
pub(super) fn read(file: &Path) -> anyhow::Result<Recording> {
    let before = usage::of_children();
    let output = Command::new("perf")
        .args(["script", "--no-inline", "--show-mmap-events", "-F", "comm,pid,tid,time,ip,sym,dso", "-i"])
        .arg(file)
        .output()
        .context("cannot run perf")?;
    if !output.status.success() {
        bail!("perf script: {}", String::from_utf8_lossy(&output.stderr));
    }
    let cpu = usage::of_children().saturating_sub(before);
    Ok(Recording { cpu, ..parse(&String::from_utf8_lossy(&output.stdout)) })
}

fn parse(text: &str) -> Recording {
    let entries = entry_points(text);
    let mut recording = Recording::default();
    for paragraph in text.split("\n\n") {
        // What is above the sample are notices of mappings, a line each.
        let mut lines = paragraph.lines().skip_while(|line| line.contains("PERF_RECORD_"));
        let Some(head) = lines.next() else { continue };
        let frames: Vec<&str> = lines.filter(|line| line.starts_with([' ', '\t'])).map(str::trim).collect();
        let Some(outermost) = frames.last() else { continue };
        recording.samples += 1;
        recording.complete += u64::from(is_root(outermost, &entries));
        if recording.first.is_none() {
            recording.first = head
                .split_whitespace()
                .find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok().map(Duration::from_secs_f64));
        }
    }
    recording
}

/// A frame is `ADDRESS SYMBOL (FILE)`.
fn is_root(frame: &str, entries: &HashSet<u64>) -> bool {
    let mut words = frame.split_whitespace();
    let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    let symbol = words.next().unwrap_or_default();
    let of_kernel = frame.rsplit_once("([").is_some_and(|(_, file)| file != "unknown])");
    of_kernel
        || symbol == "_start"
        || THREAD_ROOTS.contains(&symbol)
        || (0..ENTRY_BYTES).any(|back| entries.contains(&address.saturating_sub(back)))
}

/// Where in processes' memory the entry points of mapped programs lie.
fn entry_points(text: &str) -> HashSet<u64> {
    let mut offsets = HashMap::new();
    let mut found = HashSet::new();
    for line in text.lines().filter(|line| line.contains("PERF_RECORD_MMAP")) {
        let Some((start, file_offset, path)) = mapping(line) else { continue };
        let entry = *offsets.entry(path).or_insert_with(|| entry_offset(Path::new(path)));
        if let Some(entry) = entry.and_then(|entry: u64| entry.checked_sub(file_offset)) {
            found.insert(start.wrapping_add(entry));
        }
    }
    found
}

/// `... PERF_RECORD_MMAP2 PID/TID: [0xSTART(0xLENGTH) @ OFFSET MAJOR:MINOR INODE GENERATION]: r-xp PATH`
fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let (_, rest) = line.split_once(": [")?;
    let (start, rest) = rest.split_once('(')?;
    let (_, rest) = rest.split_once(" @ ")?;
    let (offset, rest) = rest.split_once(' ')?;
    let (_, path) = rest.split_once("]: ")?;
    let (_, path) = path.split_once(' ')?;
    Some((hex(start)?, hex(offset)?, path))
}

/// Offset in the file of a 64-bit ELF program's entry point.
fn entry_offset(path: &Path) -> Option<u64> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.starts_with(b"\x7fELF\x02"))?;
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    // e_entry, e_phoff, e_phentsize, e_phnum; then p_type, p_offset, p_vaddr, p_filesz (ELF-64, 4 and 5).
    let (entry, table) = (u64_at(24)?, u64_at(32)?);
    (0..u64::from(u16_at(56)?)).find_map(|number| {
        let at = usize::try_from(table + number * u64::from(u16_at(54)?)).ok()?;
        let (offset, address, size) = (u64_at(at + 8)?, u64_at(at + 16)?, u64_at(at + 32)?);
        let inside = u32_at(at)? == 1 && (address..address + size).contains(&entry);
        inside.then(|| entry - address + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whole_stacks_from_cut_ones() {
        let text = "\
stress-ng 7/7 12.500000: PERF_RECORD_MMAP2 7/7: [0x1000(0x1000) @ 0 08:01 5 0]: r-xp /nowhere/at/all
a b 7/7 12.750000: 
\tffffffff81000000 do_syscall_64 ([kernel.kallsyms])
\t          401010 main (/x)
\t          401000 _start (/x)

a b 7/7 12.760000: 
\t          401010 main (/x)

a b 7/7 12.765000: 
\t          401010 main (/x)
\tffffffffffffffff [unknown] ([unknown])

kworker 8/8 12.770000: 
\tffffffff81000000 ret_from_fork ([kernel.kallsyms])

";
        let read = parse(text);
        assert_eq!((read.samples, read.complete), (4, 2));
        assert_eq!(read.first, Some(Duration::from_millis(12_750)));
    }

    #[test]
    fn knows_a_programs_entry_point_by_its_mapping() {
        let line = "a 7/7 1.5: PERF_RECORD_MMAP2 7/7: [0x5000(0x1000) @ 0x2000 08:01 5 0]: r-xp /usr/bin/a b";
        assert_eq!(mapping(line), Some((0x5000, 0x2000, "/usr/bin/a b")));
        let own = std::env::current_exe().unwrap();
        assert!(entry_offset(&own).is_some_and(|offset| offset > 0));
    }
}
