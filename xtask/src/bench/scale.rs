//! `cargo xtask bench scale`: what many processes cost that hardly use the CPU. Nothing is asserted: a number is true
//! for one machine and one day.

use super::usage::{Tree, monotonic, watch};
use super::{kernel, usage};
use crate::build::{self, STAGE};
use crate::run::{as_root, is_root, must};
use crate::{install, stage};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Files with the kernel's limits on processes and on the mappings of one, and the values that are needed.
const LIMITS: [(&str, u64); 2] =
    [("/proc/sys/kernel/pid_max", 65_536), ("/proc/sys/vm/max_map_count", 250_000)];
/// The time for which the agent is left alone before it is measured.
const WARM: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);
const HZ: u32 = 97;

/// One situation, and what it adds to the one before.
struct Scene {
    title: &'static str,
    /// Arguments of the program `crowd`, which makes it.
    crowds: &'static [&'static [&'static str]],
}

const SCENES: [Scene; 4] = [
    Scene { title: "one busy process", crowds: &[&["busy"]] },
    Scene { title: "and 10,000 asleep", crowds: &[&["busy"], &["asleep", "10000"]] },
    Scene {
        title: "and one with 100,000 mappings",
        crowds: &[&["busy"], &["asleep", "10000"], &["mappings", "100000"]],
    },
    Scene {
        title: "and 200 started a second",
        crowds: &[&["busy"], &["asleep", "10000"], &["mappings", "100000"], &["started", "200"]],
    },
];

/// Measures and prints.
pub(super) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let seconds = match arguments {
        [] => 15,
        [flag, value] if flag == "--seconds" => {
            value.parse().with_context(|| format!("--seconds {value}"))?
        }
        _ => bail!("bench scale takes --seconds N"),
    };
    if !is_root() {
        bail!("the agent and these limits need root: run this as root");
    }
    install::ensure(install::SCALE)?;
    let stage = stage::build(STAGE)?;
    super::build_program("crowd")?;
    let crowd = build::folder(STAGE)?.join("crowd");
    let _limits = LIMITS.map(|(file, value)| Limit::at_least(file, value));
    println!(
        "{HZ} Hz, {seconds} s each; files opened and directories read under /proc/PID are seen by strace in a run of their own"
    );
    println!(
        "{:34}{:>12}{:>12}{:>14}{:>12}{:>12}{:>14}",
        "", "CPU, ms/s", "samples/s", "us a sample", "RSS, MiB", "maps, MiB", "procs read"
    );
    for scene in SCENES {
        let mut crowds = Vec::new();
        for arguments in scene.crowds {
            crowds.push(Crowd::gather(&crowd, arguments)?);
        }
        let seen = measure(&stage, Duration::from_secs(seconds))?;
        let read = processes_read(&stage)?;
        let rate = seen.samples / seen.seconds;
        println!(
            "{:34}{:12.2}{:12.1}{:14.1}{:12.1}{:12.1}{:14}",
            scene.title,
            seen.cpu * 1e3 / seen.seconds,
            rate,
            seen.cpu * 1e6 / seen.samples.max(1.0),
            seen.peak_rss as f64 / 1_048_576.0,
            seen.map_bytes as f64 / 1_048_576.0,
            read
        );
    }
    Ok(())
}

/// The resources that the agent took.
struct Seen {
    seconds: f64,
    /// CPU time in seconds.
    cpu: f64,
    /// Runs of its program.
    samples: f64,
    peak_rss: u64,
    map_bytes: u64,
}

/// The agent as a recording of the whole machine, with names at the end.
fn agent(stage: &stage::Stage) -> anyhow::Result<Command> {
    let mut agent = as_root(&stage.agent)?;
    agent.args([
        "record",
        "-q",
        "-F",
        &HZ.to_string(),
        "-o",
        "/tmp/stacksonde-bench-scale.pb.gz",
        "--config",
    ]);
    agent.arg(&stage.config).stdin(Stdio::null());
    Ok(agent)
}

fn measure(stage: &stage::Stage, time: Duration) -> anyhow::Result<Seen> {
    let _statistics = kernel::Statistics::on()?;
    let before = kernel::Before::now()?;
    let mut tree = Tree::new(agent(stage)?.process_group(0).spawn().context("cannot run the agent")?);
    let watched = watch(&mut tree, WARM).and_then(|()| {
        let (start, cpu, runs) = (monotonic(), tree.cpu(), before.samplers(&tree.pids())?);
        watch(&mut tree, time)?;
        let runs = kernel::between(&runs, &before.samplers(&tree.pids())?);
        let (cpu, seconds) = ((tree.cpu() - cpu).as_secs_f64(), (monotonic() - start).as_secs_f64());
        let (map_bytes, _) = before.map_bytes(&tree.pids())?;
        Ok(Seen { seconds, cpu, samples: runs.count as f64, peak_rss: 0, map_bytes })
    });
    let whole = tree.end(PATIENCE)?;
    watched.map(|seen| Seen { peak_rss: whole.peak_rss, ..seen })
}

/// Of how many processes the agent opens anything under `/proc`, in a few seconds, beside itself.
fn processes_read(stage: &stage::Stage) -> anyhow::Result<usize> {
    let traced = "/tmp/stacksonde-bench-scale.strace";
    let agent = agent(stage)?;
    let mut strace = as_root("strace")?;
    strace.args(["-f", "-qq", "-e", "trace=open,openat,readlink,readlinkat", "-o", traced]);
    strace.arg(agent.get_program()).args(agent.get_args()).args(["-d", "5"]);
    must(&mut strace)?;
    let text = BufReader::new(std::fs::File::open(traced).context(traced)?);
    let mut pids = BTreeSet::new();
    for line in text.lines() {
        let line = line.context(traced)?;
        let pid = line.split_once("\"/proc/").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
        pids.extend(pid.and_then(|pid| pid.parse::<u32>().ok()));
    }
    Ok(pids.len())
}

/// Processes that were started for a scene. They end with this value.
struct Crowd(Child);

impl Crowd {
    /// Starts them, and waits until all are there.
    fn gather(crowd: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(crowd);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", crowd.display()))?;
        let mut said = String::new();
        let output = child.stdout.take().context("the crowd's output")?;
        let crowd = Self(child);
        BufReader::new(output).read_line(&mut said).context("the crowd's output")?;
        if said.trim() != "ready" {
            bail!("crowd {}: it said `{}` and not that it is ready", arguments.join(" "), said.trim());
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        usage::kill_group(&self.0);
        let _status = self.0.wait();
    }
}

/// A limit of the kernel that is raised while this value lives, if it was lower.
struct Limit {
    file: &'static str,
    before: String,
}

impl Limit {
    fn at_least(file: &'static str, value: u64) -> Option<Self> {
        let before = std::fs::read_to_string(file).ok()?;
        if before.trim().parse::<u64>().is_ok_and(|before| before >= value) {
            return None;
        }
        match std::fs::write(file, value.to_string()) {
            Ok(()) => Some(Self { file, before }),
            Err(error) => {
                println!("{file} stays at {}: {error}", before.trim());
                None
            }
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(self.file, self.before.trim()) {
            eprintln!("{} stays raised: {error}", self.file);
        }
    }
}
