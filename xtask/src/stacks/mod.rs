//! `cargo xtask stacks`: real programs without frame pointers, profiled by the agent. How many of their stacks
//! are whole, and why the others are not.

mod document;
mod mix;
mod programs;
mod running;
mod tally;

pub(crate) use running::Running;

use crate::build::STAGE;
use crate::run::as_root;
use crate::{install, stage};
use anyhow::{Context, bail};
use programs::PROGRAMS;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use tally::Tally;

/// The time for which each program is recorded.
const SECONDS: u32 = 15;
/// Samples per second and CPU.
const HERTZ: u32 = 299;
/// The same of the mix, as an agent that runs all the time does it.
const MIX_HERTZ: u32 = 99;
/// The time for which the mix is recorded.
const MIX_SECONDS: u32 = 90;

/// The recording of one program, or of the mix.
struct Outcome {
    /// As the user names it.
    name: &'static str,
    /// The version by its own words.
    version: String,
    tally: Tally,
    /// The share of whole stacks that it shall have, in tenths of a per cent.
    goal: u64,
}

/// Records all programs and the mix and writes the document, or those that are named and prints the table.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let known = || PROGRAMS.iter().map(|program| program.name).chain(["mix"]);
    if let Some(unknown) = arguments.iter().find(|name| !known().any(|known| known == name.as_str())) {
        bail!("there is no program `{unknown}`; known are: {}", known().collect::<Vec<_>>().join(", "));
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted == name);
    let (stage, scratch) = prepare()?;
    let mut outcomes = Vec::new();
    for program in PROGRAMS.iter().filter(|program| wanted(program.name)) {
        let folder = scratch.folder(program.name)?;
        let running = (program.start)(&folder).with_context(|| format!("starting {}", program.name))?;
        let pid = running.pid().to_string();
        let tally = record(&stage, &folder, (SECONDS, HERTZ), &["-p", &pid])?;
        println!("{:14} {tally}", program.name);
        outcomes.push(Outcome {
            name: program.name,
            version: programs::version(program),
            tally,
            goal: program.goal,
        });
    }
    let mut mix = None;
    if wanted("mix") {
        let tally = beside_mix(&scratch, |folder| record(&stage, folder, (MIX_SECONDS, MIX_HERTZ), &[]))?;
        println!("{:14} {tally}", "mix");
        mix = Some(tally);
    }
    print!("\n{}", document::programs(&outcomes));
    if let Some(mix) = &mix {
        print!("\n{}", document::mix(mix));
    }
    if let (true, Some(mix)) = (arguments.is_empty(), &mix) {
        document::write(&outcomes, mix)?;
        println!("\nwrote {}", document::PATH);
    }
    let short = outcomes.iter().filter(|outcome| outcome.tally.all().per_mille() < outcome.goal);
    let short: Vec<_> = short.map(|outcome| outcome.name).collect();
    if !short.is_empty() {
        eprintln!("fewer whole stacks than aimed at: {}", short.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Records the mix for so many seconds and at so many hertz, with these variables in the agent's environment; what it said.
pub(crate) fn record_mix(
    environment: &[&str],
    rate: (u32, u32),
    arguments: &[&str],
) -> anyhow::Result<Output> {
    let (stage, scratch) = prepare()?;
    beside_mix(&scratch, |folder| run_agent(&stage, environment, folder, rate, arguments))
}

fn prepare() -> anyhow::Result<(stage::Stage, Scratch)> {
    install::ensure(install::STACKS)?;
    Ok((stage::build(STAGE)?, Scratch::new()?))
}

/// Does something while the mix runs, with a folder for what it writes.
fn beside_mix<T>(scratch: &Scratch, act: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let folder = scratch.folder("mix")?;
    let _running = mix::start(&folder)?;
    act(&folder)
}

/// Records with the agent and counts.
fn record(stage: &stage::Stage, folder: &Path, rate: (u32, u32), whose: &[&str]) -> anyhow::Result<Tally> {
    let output = run_agent(stage, &[], folder, rate, whose)?;
    let file = folder.join(PROFILE);
    let folded = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Tally::parse(&String::from_utf8_lossy(&folded), &String::from_utf8_lossy(&output.stdout))
}

/// The file that the agent writes into its folder.
const PROFILE: &str = "profile.folded";

fn run_agent(
    stage: &stage::Stage,
    environment: &[&str],
    folder: &Path,
    (seconds, hertz): (u32, u32),
    arguments: &[&str],
) -> anyhow::Result<Output> {
    // sudo does not pass the environment on.
    let mut record = as_root("env")?;
    record.args(environment).arg(&stage.agent).arg("record").arg("--config").arg(&stage.config);
    record.arg("-o").arg(folder.join(PROFILE));
    record.args(["-d", &seconds.to_string(), "-F", &hertz.to_string()]).args(arguments);
    let output = record.output().context("cannot run the agent")?;
    if !output.status.success() {
        bail!("the agent failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// A folder for what programs write, gone with this value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> anyhow::Result<Self> {
        // Not in the checkout: servers run as users of their own, who need not reach that.
        let path = std::env::temp_dir().join(format!("stacksonde-stacks-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Some of it may be another user's.
        let removed = as_root("rm").and_then(|mut rm| Ok(rm.arg("-rf").arg(&self.0).status()?));
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("could not remove {}", self.0.display());
        }
    }
}
