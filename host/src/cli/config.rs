//! `stacksonde config`: questions about config files.

use crate::config::{Sources, load};
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
    /// The environment is left out, so that the answer is about the files alone.
    Check {
        /// TOML files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Answers; the exit code is 0 if nothing is wrong and 2 otherwise.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    const WRONG: u8 = 2;
    let Question::Check { files } = arguments.question;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    match load(&Sources { files, ..Sources::default() }) {
        Ok(_) => {
            println!("{}: ok", names.join(" "));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(WRONG))
        }
    }
}
