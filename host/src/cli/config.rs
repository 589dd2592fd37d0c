//! `stacksonde config`: questions about config files.

use super::preflight::{self, Findings};
use crate::config::{Sources, load};
use crate::plugins::FileRules;
use crate::terminal::{Charset, err, out};
use clap::{Args, Subcommand};
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
    /// Refuses what `run` refuses when it starts: keys, plugins, what exporters cannot use (directories, certificates,
    /// endpoints), an address that cannot be listened at, a system that does not offer what is required. So plugins are
    /// loaded once all of them were judged; nothing is sampled or sent. `STACKSONDE_` variables are left out.
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
    let findings = match load(&Sources { files, ..Sources::default() }) {
        Ok(config) => preflight::check(&config, &FileRules::new(&config.plugins, trust_any_plugin_owner)),
        Err(error) => Findings {
            problems: error.problems.iter().map(ToString::to_string).collect(),
            ..Findings::default()
        },
    };
    findings.notes.iter().for_each(|note| err(&format!("note: {note}")));
    findings.problems.iter().for_each(|problem| err(problem));
    if !findings.problems.is_empty() {
        return Ok(ExitCode::from(WRONG));
    }
    out(&format!("{}: ok\n", Charset::Unicode.plain(&names.join(" "))))?;
    Ok(ExitCode::SUCCESS)
}
