//! The profilers of the cost table: how they are found, started, and what they say of their stacks.

use super::{perf_data, sink};
use crate::run::is_installed;
use crate::stage::Stage;
use anyhow::{Context, bail};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A profiler.
#[derive(Clone, Debug)]
pub(super) struct Profiler {
    /// Its name in the table.
    pub(super) name: String,
    /// Its role in the comparison.
    pub(super) role: Role,
    /// A line of shell that runs it in the foreground; `{hz}` and `{out}` are filled in.
    line: String,
    /// The way in which it tells how many of its stacks are complete.
    told: Told,
}

/// The role of a profiler in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Ours.
    Ours,
    /// The least that any profiler with BPF must do.
    Floor,
    /// Another agent that unwinds as it samples, or one that the caller named.
    Agent,
    /// perf, which copies stacks and unwinds them afterwards.
    Copier,
}

/// The way in which a profiler tells how many of its stacks are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Not at all.
    No,
    /// Ours prints it when it ends.
    Summary,
    /// By `perf script`.
    PerfScript,
}

/// The figures of a recording, once it has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recorded {
    /// Share of stacks that are complete.
    pub(super) complete: Option<f64>,
    /// When the first sample was taken, on CLOCK_MONOTONIC, where nothing else shows it.
    pub(super) first: Option<Duration>,
    /// CPU time that was yet to be spent for stacks.
    pub(super) later_cpu: Duration,
}

/// A profiler that others made: its name, the environment variable that names its program, what the program is
/// called on the PATH, and its arguments. Where a wrapper is needed, the variable names the wrapper.
struct Peer(&'static str, &'static str, &'static str, &'static str);

const PEERS: [Peer; 3] = [
    Peer(
        "opentelemetry",
        "PROFILER_OPENTELEMETRY",
        "ebpf-profiler",
        "-samples-per-second {hz} -collection-agent {collector} -disable-tls",
    ),
    Peer(
        "lightswitch",
        "PROFILER_LIGHTSWITCH",
        "lightswitch",
        "--duration 3600 --sample-freq {hz} --profile-format pprof --profile-path /tmp",
    ),
    Peer("profile-bee", "PROFILER_PROFILE_BEE", "probee", "--frequency {hz} -o {out}.folded"),
];

impl Profiler {
    fn new(name: &str, role: Role, line: String, told: Told) -> Self {
        Self { name: name.into(), role, line, told }
    }

    /// All that are here, ours first; says which are not.
    pub(super) fn all(stage: &Stage, floor: &Path) -> Vec<Self> {
        let (agent, config) = (stage.agent.display(), stage.config.display());
        let ours = format!("{agent} record --config {config} -F {{hz}} -o {{out}}.folded");
        let floor = format!("{} {{hz}}", floor.display());
        // The clock is in nanoseconds, as ours, since no machine lacks it.
        let perf =
            "perf record -q -a -B -e cpu-clock -F {hz} -k CLOCK_MONOTONIC --call-graph dwarf -o {out}.data";
        let mut all = vec![
            Self::new("stacksonde", Role::Ours, ours, Told::Summary),
            Self::new("bpf_get_stack", Role::Floor, floor, Told::No),
            Self::new("perf, dwarf", Role::Copier, perf.into(), Told::PerfScript),
        ];
        for Peer(name, variable, program, arguments) in PEERS {
            match std::env::var(variable).ok().or_else(|| is_installed(program).then(|| program.into())) {
                Some(program) => {
                    all.push(Self::new(name, Role::Agent, format!("{program} {arguments}"), Told::No));
                }
                None => println!(
                    "{name} is not here: no `{program}` on the PATH, and {variable} does not name a program"
                ),
            }
        }
        all
    }

    /// One that the caller names, as `NAME=LINE OF SHELL`.
    pub(super) fn given(text: &str) -> anyhow::Result<Self> {
        let Some((name, line)) = text.split_once('=') else {
            bail!("`{text}` is not NAME=COMMAND");
        };
        let told = if line.contains(" record ") { Told::Summary } else { Told::No };
        Ok(Self::new(name, Role::Agent, line.into(), told))
    }

    /// Starts it, as the leader of a process group. It sees a tracefs of its own, which some cannot do without.
    pub(super) fn start(&self, hz: u32, folder: &Path) -> anyhow::Result<Child> {
        let line = self
            .line
            .replace("{hz}", &hz.to_string())
            .replace("{out}", &self.out(folder))
            .replace("{collector}", sink::ADDRESS);
        let script = format!(
            "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; ulimit -l unlimited 2>/dev/null; exec {line}"
        );
        let log = std::fs::File::create(self.log(folder)).context("cannot make a log")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).current_dir(folder).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("cannot run unshare")
    }

    /// Returns the path of the file for its output.
    pub(super) fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.file_name()))
    }

    fn out(&self, folder: &Path) -> String {
        folder.join(self.file_name()).display().to_string()
    }

    fn file_name(&self) -> String {
        self.name.replace([' ', ',', '/'], "-")
    }

    /// Returns the figures of its recording.
    pub(super) fn recorded(&self, folder: &Path) -> anyhow::Result<Recorded> {
        match self.told {
            Told::No => Ok(Recorded::default()),
            Told::Summary => {
                let log = std::fs::read_to_string(self.log(folder))?;
                let line = log.lines().find_map(|line| line.strip_prefix("complete"));
                let percent = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
                let complete = percent.map(|percent| percent / 100.0);
                Ok(Recorded { complete, ..Recorded::default() })
            }
            Told::PerfScript => {
                let read = perf_data::read(Path::new(&format!("{}.data", self.out(folder))))?;
                #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
                let complete = (read.samples > 0).then(|| read.complete as f64 / read.samples as f64);
                Ok(Recorded { complete, first: read.first, later_cpu: read.cpu })
            }
        }
    }

    /// Tells whether its sampling shows as a BPF program's runs.
    pub(super) fn has_program(&self) -> bool {
        self.told != Told::PerfScript
    }
}
