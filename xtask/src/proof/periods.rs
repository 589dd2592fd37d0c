//! Programs that work in step with a clock, by the kernel's own account and by what samples say of them.

use crate::install::{self, PERIODS};
use crate::markdown::{commit_and_day, output, table};
use crate::run::{must, workspace};
use crate::stacks::{Running, Scratch};
use crate::stage;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The document, in the checkout.
const PATH: &str = "docs/sampling-times.md";
/// The line after which the table stands in it.
const BEGIN: &str = "<!-- made by `cargo xtask proof periods` -->\n";
const END: &str = "<!-- end -->";

/// Samples per second and CPU.
const HERTZ: u32 = 19;
/// The time of sampling, in seconds.
const SECONDS: u32 = 60;

/// Periods and the work in each, in microseconds.
const PROGRAMS: [(u32, u32); 8] = [
    (1_000_000, 20_000),
    (500_000, 10_000),
    (250_000, 5_000),
    (100_000, 2_000),
    (50_000, 1_000),
    (20_000, 400),
    (16_667, 800),
    (10_000, 400),
];

/// A profiler, and how its samples of a program are counted.
struct Profiler {
    name: &'static str,
    command: Command,
    /// CPU time of the program of that name, in seconds.
    read: fn(&Path, &str) -> anyhow::Result<f64>,
}

/// Samples the programs with each profiler at once; the table.
pub(super) fn check() -> anyhow::Result<String> {
    install::ensure(PERIODS)?;
    let stage = stage::build(crate::build::QUICK)?;
    let scratch = Scratch::new()?;
    let folder = scratch.path();
    let program = folder.join("periodic");
    must(
        Command::new("cc")
            .arg("-O2")
            .arg(workspace().join("tests/targets/periodic.c"))
            .arg("-o")
            .arg(&program),
    )?;
    let programs = PROGRAMS.map(|(period, busy)| {
        let name = folder.join(name(period));
        std::fs::copy(&program, &name)?;
        Running::start(Command::new(name).args([period, busy].map(|number| number.to_string())))
    });
    let programs = programs.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    // They begin at the next whole second.
    std::thread::sleep(Duration::from_secs(1));
    let mut profilers = profilers(&stage, folder);
    let mut running = Vec::new();
    for profiler in &mut profilers {
        let log = std::fs::File::create(folder.join(format!("{}.log", profiler.name)))?;
        let child = profiler.command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        running.push(child.with_context(|| format!("cannot run {}", profiler.name))?);
    }
    let (began, before) = (Instant::now(), cpu_times(&programs)?);
    for (mut child, profiler) in running.into_iter().zip(&profilers) {
        if !child.wait()?.success() {
            bail!(
                "{} failed: {}",
                profiler.name,
                std::fs::read_to_string(folder.join(format!("{}.log", profiler.name)))?
            );
        }
    }
    let scale = f64::from(SECONDS) / began.elapsed().as_secs_f64();
    let used = cpu_times(&programs)?.into_iter().zip(before).map(|(after, before)| (after - before) * scale);
    let mut lines = Vec::new();
    for ((period, busy), used) in PROGRAMS.into_iter().zip(used) {
        let mut line = vec![
            format!("{} ms every {} ms", f64::from(busy) / 1e3, f64::from(period) / 1e3),
            format!("{used:.2} s"),
        ];
        for profiler in &profilers {
            let seen = (profiler.read)(folder, &name(period))?;
            line.push(format!("{seen:.2} s, {:.2}x", seen / used));
        }
        lines.push(line);
    }
    let mut heads = vec!["program", "by the kernel"];
    heads.extend(profilers.iter().map(|profiler| profiler.name));
    let table = table(&heads, lines.into_iter());
    print!("{table}");
    Ok(table)
}

/// Puts the table into its document.
pub(super) fn write(table: &str) -> anyhow::Result<()> {
    let path = workspace().join(PATH);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (Some((before, rest)), kernel) = (text.split_once(BEGIN), output("uname", &["-r"])?) else {
        bail!("{PATH} has no place for the table: {BEGIN}");
    };
    let after = rest.split_once(END).map_or("", |(_, after)| after);
    let made = format!("{}, Linux {kernel}, {HERTZ} Hz for {SECONDS} s.", commit_and_day()?);
    std::fs::write(&path, format!("{before}{BEGIN}\n{made}\n\n{table}\n{END}{after}"))?;
    println!("\nwrote {PATH}");
    Ok(())
}

fn name(period: u32) -> String {
    format!("every-{period}")
}

fn profilers(stage: &stage::Stage, folder: &Path) -> Vec<Profiler> {
    let ours = |spread: &str, file: &str| {
        let mut command = Command::new(&stage.agent);
        command.args(["record", "-q", "--config"]).arg(&stage.config).args(["--period-spread", spread]);
        command.args(["-F", &HERTZ.to_string(), "-d", &SECONDS.to_string(), "-o"]).arg(folder.join(file));
        command
    };
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-a", "-e", "cpu-clock", "-F", &HERTZ.to_string(), "-o"]);
    perf.arg(folder.join("perf.data")).args(["sleep", &SECONDS.to_string()]);
    let mut bpftrace = Command::new("bpftrace");
    bpftrace
        .arg("-o")
        .arg(folder.join("bpftrace.txt"))
        .arg("-e")
        .arg(format!("profile:hz:{HERTZ} {{ @[comm] = count(); }} interval:s:{SECONDS} {{ exit(); }}"));
    vec![
        Profiler {
            name: "stacksonde",
            command: ours("50", "random.speedscope.json"),
            read: |folder, name| by_weights(&folder.join("random.speedscope.json"), name),
        },
        Profiler {
            name: "stacksonde, fixed period",
            command: ours("0", "fixed.speedscope.json"),
            read: |folder, name| by_weights(&folder.join("fixed.speedscope.json"), name),
        },
        Profiler { name: "perf record", command: perf, read: by_perf },
        Profiler { name: "bpftrace", command: bpftrace, read: by_bpftrace },
    ]
}

/// Adds up the weights of a program's samples in a file for speedscope.
fn by_weights(file: &Path, name: &str) -> anyhow::Result<f64> {
    let profile: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let profiles = profile.get("profiles").and_then(|it| it.as_array()).context("no profiles")?;
    let is_of = |profile: &&serde_json::Value| {
        profile.get("name").and_then(|it| it.as_str()).is_some_and(|of| of.starts_with(&format!("{name} ")))
    };
    let ends = profiles.iter().filter(is_of).filter_map(|profile| profile.get("endValue")?.as_f64());
    // The sum of none is -0.
    Ok(ends.sum::<f64>().abs() / 1e9)
}

/// Counts a program's lines of `perf script`.
fn by_perf(folder: &Path, name: &str) -> anyhow::Result<f64> {
    let file = folder.join("perf.data");
    let text = output("perf", &["script", "-F", "comm", "-i", &file.display().to_string()])?;
    Ok(text.lines().filter(|line| line.trim() == name).count() as f64 / f64::from(HERTZ))
}

/// Reads a program's line of what bpftrace printed: `@[NAME]: COUNT`.
fn by_bpftrace(folder: &Path, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(folder.join("bpftrace.txt"))?;
    let count = text.lines().find_map(|line| line.trim().strip_prefix(&format!("@[{name}]: ")));
    let count = count.map_or(Ok(0.0), |count| count.trim().parse::<f64>())?;
    Ok(count / f64::from(HERTZ))
}

/// Reads CPU times in seconds, to the nanosecond (Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`).
fn cpu_times(programs: &[Running]) -> anyhow::Result<Vec<f64>> {
    let read = |program: &Running| {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", program.pid()))?;
        let first = text.split_whitespace().next().context("schedstat is empty")?;
        Ok(first.parse::<f64>()? / 1e9)
    };
    programs.iter().map(read).collect()
}
