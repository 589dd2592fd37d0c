//! `stacksonde doctor`: what this system offers, what will be done with it, and why not more.

use super::admit::load_plugins;
use super::start::ConfigArguments;
use crate::negotiate::Level;
use crate::plan::{self, Survey};
use clap::Args;
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

/// Prints the plan. The exit code is 0 if every feature is on, 1 if some are not, 2 if the agent
/// cannot run.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.load(Some("warn"), &[])?;
    let survey = Survey::take(&config)?;
    let rules = arguments.config.file_rules(&config.plugins);
    let loaded = load_plugins(&config, &survey.capabilities, &rules)?;
    let plan = plan::make(&config, &survey, &loaded.plugins);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        for (name, refusal) in &loaded.refused {
            println!("plugin      {name:<24} not loaded: {refusal}");
        }
        let loaded: Vec<_> = loaded.plugins.iter().map(|plugin| plugin.name()).collect();
        if !loaded.is_empty() {
            let names = loaded.join(", ");
            println!(
                "plugins     {names}: loaded into the agent, which a crash or a call of exit() in one of them ends"
            );
        }
        for line in plan.lines() {
            println!("{line}");
        }
    }
    Ok(match plan.level {
        Level::Full => ExitCode::SUCCESS,
        Level::Reduced => ExitCode::from(1),
        Level::CannotRun => ExitCode::from(2),
    })
}
