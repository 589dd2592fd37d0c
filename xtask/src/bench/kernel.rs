//! Figures of bpftool about the programs and maps in the kernel: the same witness for every profiler.

use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

/// The kernel's counts for a program while statistics are on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Runs {
    /// Times it ran.
    pub(super) count: u64,
    /// Time that it took, with what it tail-called, in nanoseconds.
    pub(super) time_ns: u64,
}

/// Ids of programs and maps that were there before.
#[derive(Debug)]
pub(super) struct Before {
    programs: HashSet<u64>,
    maps: HashSet<u64>,
}

impl Before {
    /// Those that are there now.
    pub(super) fn now() -> anyhow::Result<Self> {
        let ids = |object: &str| Ok::<_, anyhow::Error>(show(object)?.iter().filter_map(id).collect());
        Ok(Self { programs: ids("prog")?, maps: ids("map")? })
    }

    /// Programs on perf events that came since, by id; of these processes, where their descriptors show which are
    /// theirs.
    pub(super) fn samplers(&self, pids: &[u32]) -> anyhow::Result<HashMap<u64, Runs>> {
        let theirs = Held::by(pids).programs;
        let programs = show("prog")?;
        let new = programs.iter().filter_map(|program| {
            let id = id(program).filter(|id| !self.programs.contains(id))?;
            let runs = Runs { count: number(program, "run_cnt"), time_ns: number(program, "run_time_ns") };
            let counted = theirs.is_empty() || theirs.contains(&id);
            (counted && program.get("type")?.as_str()? == "perf_event").then_some((id, runs))
        });
        Ok(new.collect())
    }

    /// Bytes that the kernel books for maps that came since: of those that these processes or their programs hold,
    /// and of others, which may be theirs too (inside other maps) or anybody's.
    pub(super) fn map_bytes(&self, pids: &[u32]) -> anyhow::Result<(u64, u64)> {
        let Held { programs, mut maps } = Held::by(pids);
        for program in
            show("prog")?.iter().filter(|program| id(program).is_some_and(|id| programs.contains(&id)))
        {
            let used = program.get("map_ids").and_then(Value::as_array);
            maps.extend(used.into_iter().flatten().filter_map(Value::as_u64));
        }
        let (mut theirs, mut others) = (0, 0);
        for map in show("map")? {
            match id(&map) {
                Some(id) if maps.contains(&id) => theirs += number(&map, "bytes_memlock"),
                Some(id) if !self.maps.contains(&id) => others += number(&map, "bytes_memlock"),
                _ => {}
            }
        }
        Ok((theirs, others))
    }
}

/// Ids of what processes have descriptors of.
#[derive(Debug, Default)]
struct Held {
    programs: HashSet<u64>,
    maps: HashSet<u64>,
}

impl Held {
    fn by(pids: &[u32]) -> Self {
        let mut held = Self::default();
        for pid in pids {
            let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { continue };
            for descriptor in descriptors.flatten() {
                let text = std::fs::read_to_string(descriptor.path()).unwrap_or_default();
                let number = |key: &str| {
                    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
                };
                held.programs.extend(number("prog_id:"));
                held.maps.extend(number("map_id:"));
            }
        }
        held
    }
}

/// Returns the runs between two looks.
pub(super) fn between(before: &HashMap<u64, Runs>, after: &HashMap<u64, Runs>) -> Runs {
    let mut sum = Runs::default();
    for (id, runs) in after {
        let start = before.get(id).copied().unwrap_or_default();
        sum.count += runs.count.saturating_sub(start.count);
        sum.time_ns += runs.time_ns.saturating_sub(start.time_ns);
    }
    sum
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn id(object: &Value) -> Option<u64> {
    object.get("id")?.as_u64()
}

fn show(object: &str) -> anyhow::Result<Vec<Value>> {
    let arguments = ["-j", object, "show"];
    // Administrators' programs are not on everybody's PATH.
    let program = ["/usr/sbin/bpftool", "/sbin/bpftool"].into_iter().find(|path| Path::new(path).is_file());
    let output =
        Command::new(program.unwrap_or("bpftool")).args(arguments).output().context("cannot run bpftool")?;
    if !output.status.success() {
        bail!("bpftool {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    // It prints nothing at all where there is none.
    if output.stdout.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&output.stdout).context("bpftool's answer")
}

/// The kernel's statistics of programs, switched on while this value lives, if they were off.
#[derive(Debug)]
pub(super) struct Statistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Switches them on.
    pub(super) fn on() -> anyhow::Result<Self> {
        let before = std::fs::read_to_string(SWITCH).context(SWITCH)?;
        std::fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(SWITCH, self.before.trim()) {
            eprintln!("{SWITCH} stays on: {error}");
        }
    }
}
