//! `cargo xtask bench cost`: what profiling costs, on one fixed mixed load, ours beside others', one after the
//! other in one run. Nothing is asserted: a number is true for one machine and one day; ratios within a run last
//! longer.

use super::agents::Profiler;
use super::kernel::{Before, Runs, Statistics, between};
use super::usage::{Tree, monotonic, watch};
use super::{sink, table};
use crate::build::{self, STAGE};
use crate::load::Load;
use crate::run::is_root;
use crate::{install, stage};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arithmetic of all kinds, and an interpreter that allocates: two programs without frame pointers.
const LOAD: [&str; 2] = [
    "exec stress-ng --cpu 1 --cpu-method all --quiet",
    "exec /usr/bin/python3 -c 'import json
d = {\"a\": list(range(50)), \"b\": {\"c\": \"x\" * 40}}
while True: json.loads(json.dumps(d))'",
];

/// The longest time for a profiler's first sample.
const START: Duration = Duration::from_secs(40);
/// The time for which it is left alone after that, so that caches are filled.
const WARM: Duration = Duration::from_secs(3);
/// The longest time for it to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The measurements to make.
#[derive(Debug)]
struct Options {
    hz: u32,
    seconds: u64,
    rounds: usize,
    only: Vec<String>,
    also: Vec<String>,
}

/// The cost of one profiler in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Runs of its programs while it was measured.
    pub(super) runs: Runs,
    /// Time from its exec to its first sample.
    pub(super) first: Option<Duration>,
    /// Its CPU time while it was measured, as a share of that time.
    pub(super) cpu: f64,
    /// Its CPU time from start to end, with what it takes to make its output.
    pub(super) whole_cpu: Duration,
    /// Peak of resident memory, in bytes.
    pub(super) peak_rss: u64,
    /// Bytes of BPF maps.
    pub(super) map_bytes: u64,
    /// The part of these that it has mapped, so that it is in `peak_rss`, too.
    pub(super) mapped_map_bytes: u64,
    /// Share of stacks that are complete.
    pub(super) complete: Option<f64>,
}

/// Measures and prints.
pub(super) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = parse(arguments)?;
    if !is_root() {
        bail!("profilers need root: run this as root");
    }
    install::ensure(install::COST)?;
    let stage = stage::build(STAGE)?;
    super::build_program("floor")?;
    let mut profilers = Profiler::all(&stage, &build::folder(STAGE)?.join("floor"));
    for text in &options.also {
        profilers.push(Profiler::given(text)?);
    }
    if !options.only.is_empty() {
        profilers.retain(|profiler| options.only.contains(&profiler.name));
    }
    let folder = PathBuf::from("/tmp/stacksonde-bench-cost");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    sink::open()?;
    let statistics = Statistics::on()?;
    let load = Load::of(&LOAD)?;
    std::thread::sleep(Duration::from_secs(1));
    let mut costs = vec![Vec::new(); profilers.len()];
    for _ in 0..options.rounds {
        for (profiler, costs) in profilers.iter().zip(&mut costs) {
            match measure(profiler, &options, &folder) {
                Ok(cost) => costs.push(cost),
                Err(error) => {
                    let log = profiler.log(&folder);
                    println!("{}: {error:#}; what it said is in {}", profiler.name, log.display());
                }
            }
        }
    }
    drop((load, statistics));
    println!(
        "{} Hz, {} s each, medians of {}; stress-ng and CPython in the background",
        options.hz, options.seconds, options.rounds
    );
    let rows: Vec<_> = profilers.iter().zip(&costs).filter(|(_, costs)| !costs.is_empty()).collect();
    table::print(&rows);
    Ok(())
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { hz: 97, seconds: 15, rounds: 1, only: Vec::new(), also: Vec::new() };
    for pair in arguments.chunks(2) {
        let [flag, value] = pair else { bail!("{} takes a value", pair.concat()) };
        let number = || value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"));
        match flag.as_str() {
            "--hz" => options.hz = u32::try_from(number()?).context("--hz")?,
            "--seconds" => options.seconds = number()?,
            "--rounds" => options.rounds = usize::try_from(number()?).context("--rounds")?,
            "--only" => options.only.push(value.clone()),
            "--also" => options.also.push(value.clone()),
            other => bail!(
                "`{other}` is not an argument of bench cost; it takes --hz N, --seconds N, --rounds N, \
                 --only PROFILER, --also NAME=COMMAND"
            ),
        }
    }
    Ok(options)
}

fn measure(profiler: &Profiler, options: &Options, folder: &Path) -> anyhow::Result<Cost> {
    let before = Before::now()?;
    let started = monotonic();
    let mut tree = Tree::new(profiler.start(options.hz, folder)?);
    let measured = while_it_runs(profiler, &mut tree, &before, options, started);
    // Also if it failed: it must not go on.
    let whole = tree.end(PATIENCE);
    let (cost, whole) = (measured?, whole?);
    let recorded = profiler.recorded(folder)?;
    // The next one finds the machine as this one did.
    std::thread::sleep(Duration::from_secs(1));
    Ok(Cost {
        first: cost.first.or_else(|| recorded.first.map(|first| first.saturating_sub(started))),
        whole_cpu: whole.cpu + recorded.later_cpu,
        peak_rss: whole.peak_rss,
        complete: recorded.complete,
        ..cost
    })
}

fn while_it_runs(
    profiler: &Profiler,
    tree: &mut Tree,
    before: &Before,
    options: &Options,
    started: Duration,
) -> anyhow::Result<Cost> {
    let mut first = None;
    while profiler.has_program() && first.is_none() {
        std::thread::sleep(Duration::from_millis(3));
        first =
            before.samplers(&tree.pids())?.values().any(|runs| runs.count > 0).then(|| monotonic() - started);
        if tree.has_ended() {
            bail!("it ended at once");
        }
        if monotonic() - started > START {
            bail!("it did not begin to sample within {} s", START.as_secs());
        }
    }
    watch(tree, WARM)?;
    let (cpu, runs) = (tree.cpu(), before.samplers(&tree.pids())?);
    watch(tree, Duration::from_secs(options.seconds))?;
    let (map_bytes, others) = before.map_bytes(&tree.pids())?;
    if others > 0 {
        println!(
            "{}: {} KiB of BPF maps came meanwhile that may be its own or not; not counted",
            profiler.name,
            others >> 10
        );
    }
    let used = tree.cpu().saturating_sub(cpu).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
    Ok(Cost {
        runs: between(&runs, &before.samplers(&tree.pids())?),
        first,
        cpu: used / options.seconds.max(1) as f64,
        map_bytes,
        mapped_map_bytes: tree.mapped_map_bytes(),
        ..Cost::default()
    })
}
