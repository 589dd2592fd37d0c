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
    /// The environment is left out, so that the answer is about the files alone. Keys of exporters are checked by
    /// what their plugins state, where these are installed; no code of theirs runs.
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
    let problems = exporters(&config, &FileRules::new(&config.plugins, trust_any_plugin_owner));
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        return Ok(ExitCode::from(WRONG));
    }
    println!("{}: ok", names.join(" "));
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the keys of exporters, or with their plugins.
fn exporters(config: &Config, rules: &FileRules) -> Vec<String> {
    let used: BTreeSet<&String> = config.exporters.values().map(|exporter| &exporter.plugin).collect();
    let mut problems = Vec::new();
    for name in used {
        match plugins::find(name, &config.plugins, rules) {
            Ok(plugin) => {
                let refusals = admit::misconfigured(config, &plugin);
                problems.extend(refusals.into_iter().map(|(_, refusal)| refusal.to_string()));
            }
            Err(refusal) if refusal.is_not_found() => {
                eprintln!("note: the keys of its exporters are not checked: {refusal}");
            }
            Err(refusal) => problems.push(refusal.to_string()),
        }
    }
    problems
}
