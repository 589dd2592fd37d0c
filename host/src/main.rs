//! `stacksonde`: parse, run, exit code.

use clap::Parser;
use stacksonde::cli::{self, Command};
use std::process::ExitCode;

/// Profiles every program and the kernel, without their help.
#[derive(Debug, Parser)]
#[command(name = "stacksonde", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Doctor(doctor) => cli::doctor::run(doctor),
        Command::Record(record) => cli::record::run(record),
        Command::Run(run) => cli::run::run(run),
        Command::Config(config) => cli::config::run(config),
    };
    result.unwrap_or_else(|error| {
        eprintln!("stacksonde: {error:#}");
        ExitCode::from(2)
    })
}
