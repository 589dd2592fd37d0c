//! Figures of a recording by `perf script`: how many stacks are whole, and when the first sample was taken.

use super::usage;
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Names under which threads begin in C libraries.
const THREAD_ROOTS: [&str; 6] =
    ["clone", "__clone", "clone3", "__clone3", "thread_start", "__clone_internal"];
/// The largest distance of the outermost call from the entry point, in bytes.
const ENTRY_BYTES: u64 = 64;

/// The figures of a recording.
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
        .args(["script", "--no-inline", "-F", "comm,pid,tid,time,ip,sym,dso", "-i"])
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
    let mut entries = HashMap::new();
    let mut recording = Recording::default();
    for paragraph in text.split("\n\n") {
        let mut lines = paragraph.lines();
        let Some(head) = lines.next() else { continue };
        let frames: Vec<&str> = lines.filter(|line| line.starts_with([' ', '\t'])).map(str::trim).collect();
        let Some(outermost) = frames.last() else { continue };
        recording.samples += 1;
        recording.complete += u64::from(is_root(outermost, &mut entries));
        if recording.first.is_none() {
            recording.first = head
                .split_whitespace()
                .find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok().map(Duration::from_secs_f64));
        }
    }
    recording
}

/// A frame is `ADDRESS SYMBOL (FILE)`, with the address as the file states it.
fn is_root<'text>(frame: &'text str, entries: &mut HashMap<&'text str, Option<u64>>) -> bool {
    let mut words = frame.split_whitespace();
    let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    let symbol = words.next().unwrap_or_default();
    let file = frame.rsplit_once('(').map_or("", |(_, file)| file.trim_end_matches(')'));
    if file.starts_with('[') {
        return file != "[unknown]";
    }
    // Programs without symbols have no `_start` by name.
    let entry = *entries.entry(file).or_insert_with(|| entry_point(Path::new(file)));
    symbol == "_start"
        || THREAD_ROOTS.contains(&symbol)
        || entry.is_some_and(|entry| (entry..entry + ENTRY_BYTES).contains(&address))
}

/// The address of a 64-bit ELF program's entry point, as stated in the file.
fn entry_point(path: &Path) -> Option<u64> {
    let mut head = [0; 32];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let entry = u64::from_le_bytes(head.get(24..32)?.try_into().ok()?);
    (head.starts_with(b"\x7fELF\x02") && entry != 0).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whole_stacks_from_cut_ones() {
        let text = "\
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
    fn knows_the_entry_point_of_a_program_without_symbols() {
        let own = std::env::current_exe().unwrap();
        let entry = entry_point(&own).unwrap();
        let frame = |address: u64| format!("{address:x} [unknown] ({})", own.display());
        let root = |frame: &str| is_root(frame, &mut HashMap::new());
        assert!(root(&frame(entry + 0x20)) && !root(&frame(entry - 1)) && !root(&frame(entry + 0x40)));
    }
}
