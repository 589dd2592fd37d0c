//! `stacksonde config`: questions about config files.

use super::admit;
use crate::config::{Config, Sources, load};
use crate::plugins::{self, FileRules};
use clap::{Args, Subcommand};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `stacksonde config`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Say what is wrong with files, as `run` would read them: together, later ones winning.
    ///
    /// The environment is left out, so that the answer is about the files alone. Keys of plugins are checked by
    /// what they state, where they are installed; no code of theirs runs.
    Check {
        /// TOML files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// For development only: read what plugins state that others than root could have changed.
        #[arg(long)]
        trust_any_plugin_owner: bool,
    },
}

/// Answers; the exit code is 0 if nothing is wrong and 2 otherwise.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    const WRONG: u8 = 2;
    let Question::Check { files, trust_any_plugin_owner } = arguments.question;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let config = match load(&Sources { files, ..Sources::default() }) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(WRONG));
        }
    };
    let problems = in_plugins(&config, &FileRules::new(&config.plugins, trust_any_plugin_owner));
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        return Ok(ExitCode::from(WRONG));
    }
    println!("{}: ok", names.join(" "));
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the keys that are plugins' own, or with those plugins.
fn in_plugins(config: &Config, rules: &FileRules) -> Vec<String> {
    let exporters = config.exporters.values().map(|exporter| &exporter.plugin);
    let used: BTreeSet<&String> = exporters.chain(config.offsets.config.keys()).collect();
    let mut problems = Vec::new();
    for name in used {
        match plugins::find(name, &config.plugins, rules) {
            Ok(plugin) => {
                let refusals = admit::misconfigured(config, &plugin);
                problems.extend(refusals.into_iter().map(|(_, refusal)| refusal.to_string()));
                problems
                    .extend(admit::check_own_keys(config, &plugin).err().map(|refusal| refusal.to_string()));
            }
            Err(refusal) if refusal.is_not_found() => {
                eprintln!("note: its keys are not checked: {refusal}");
            }
            Err(refusal) => problems.push(refusal.to_string()),
        }
    }
    problems
}
