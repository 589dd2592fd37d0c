//! `stacksonde doctor`: what this system offers, what will be done with it, and why not more.
//!
//! It changes nothing on the system: what it tries it undoes, and it attaches to nothing. `docs/doctor-json.md`
//! describes the output for machines.

use super::admit::{Loaded, load_plugins};
use super::start::ConfigArguments;
use crate::bpf::online_cpus;
use crate::config::Config;
use crate::negotiate::ask::DEFAULT_ORDER;
use crate::negotiate::features::KERNEL_NAMES;
use crate::negotiate::{Level, State};
use crate::plan::{self, Plan, Survey};
use crate::symbolize::read_kernel_symbols;
use crate::terminal::{Charset, out, out_json};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `stacksonde doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Version of the shape of [`Report`].
const SCHEMA: u32 = 1;

/// The report that `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u32,
    version: &'static str,
    architecture: &'static str,
    plugins: Plugins,
    #[serde(flatten)]
    plan: &'a Plan,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Plugins {
    loaded: Vec<LoadedPlugin>,
    refused: Vec<RefusedPlugin>,
}

#[derive(Debug, Serialize)]
struct LoadedPlugin {
    name: String,
    version: String,
    file: String,
}

#[derive(Debug, Serialize)]
struct RefusedPlugin {
    name: String,
    installed: bool,
    reason: String,
}

/// Prints the plan. The exit code is 0 if every feature is on, 1 if some are not, 2 if the agent
/// cannot run.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.load(Some("error"), &[])?;
    let survey = Survey::take(&config)?;
    let rules = arguments.config.file_rules(&config.plugins);
    let loaded = load_plugins(&config, &survey.capabilities, &rules)?;
    let mut plan = plan::make(&config, &survey, &loaded.plugins);
    count_kernel_names(&config, &mut plan);
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        architecture: std::env::consts::ARCH,
        plugins: plugins(&loaded),
        advice: advice(&loaded),
        plan: &plan,
    };
    match arguments.json {
        true => out_json(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
        false => out(&text(&report))?,
    }
    Ok(match plan.level {
        Level::Full => ExitCode::SUCCESS,
        Level::Reduced => ExitCode::from(1),
        Level::CannotRun => ExitCode::from(2),
    })
}

/// The report for people.
fn text(report: &Report<'_>) -> String {
    let line = |text: String| format!("{}\n", Charset::Unicode.plain(&text));
    let mut lines = Vec::new();
    for LoadedPlugin { name, version, file } in &report.plugins.loaded {
        lines.push(line(format!("plugin      {name} {version} from {file}")));
    }
    if !lines.is_empty() {
        lines.push(
            "plugins     are loaded into the agent, which a crash or a call of exit() in one of them ends\n"
                .into(),
        );
    }
    for RefusedPlugin { name, reason, .. } in &report.plugins.refused {
        lines.push(line(format!("plugin      {name} is not loaded: {reason}")));
    }
    lines.extend(report.advice.iter().map(|advice| format!("advice      {advice}\n")));
    lines.concat() + &report.plan.text()
}

/// Says in the plan how many functions of the kernel have no names for want of room. Sampling finds that out when it first
/// names one.
fn count_kernel_names(config: &Config, plan: &mut Plan) {
    let shares = config.shares(online_cpus().len());
    let room = usize::try_from(shares.kernel_names_bytes).unwrap_or(usize::MAX);
    let left_out = if plan.state(KERNEL_NAMES) == State::Off {
        0
    } else {
        read_kernel_symbols(room).map_or(0, |symbols| symbols.left_out())
    };
    if left_out > 0 {
        let reason = format!("{left_out} functions have none, for which memory.max leaves no room");
        plan.reduce(KERNEL_NAMES, &reason, "raise memory.max");
    }
}

fn plugins(loaded: &Loaded) -> Plugins {
    let plugin = |plugin: &crate::plugins::Plugin| LoadedPlugin {
        name: plugin.name().into(),
        version: plugin.manifest().version().into(),
        file: plugin.path().display().to_string(),
    };
    let refused = |(name, refusal): &(String, crate::plugins::Refusal)| RefusedPlugin {
        name: name.clone(),
        installed: !refusal.is_not_found(),
        reason: refusal.to_string(),
    };
    Plugins {
        loaded: loaded.plugins.iter().map(plugin).collect(),
        refused: loaded.refused.iter().map(refused).collect(),
    }
}

/// Returns advice on what else could be installed.
fn advice(loaded: &Loaded) -> Vec<String> {
    let has = |name: &str| loaded.plugins.iter().any(|plugin| plugin.name() == name);
    let ways = [
        "reads offsets from the kernel's BTF, where it has any",
        "measures offsets on ourselves, with neither BTF nor tracepoints",
        "measures offsets by a tracepoint, where the kernel runs no program on request",
    ];
    let missing = DEFAULT_ORDER.iter().zip(ways).filter(|(name, _)| !has(name));
    missing
        .map(|(name, what)| {
            format!("{name} is not loaded; it {what}: install it and name it in plugins.load")
        })
        .collect()
}
