//! The sub-commands, one file each.

pub mod batch;
pub mod config;
pub mod doctor;
pub mod health;
pub mod plugin;
pub mod record;
pub mod reload;
pub mod run;
pub mod top;
pub mod view;

mod admit;
mod causes;
mod command;
mod filter;
mod preflight;
mod progress;
mod renew;
mod start;

use crate::terminal::{err, harmless};
use anyhow::Error;
use clap::{Parser, Subcommand};
use std::borrow::Cow;
use std::ffi::OsString;

/// Profiles every program and the kernel, without their help.
///
/// Its manual pages and completions are made from this by `examples/pages`.
#[derive(Debug, Parser)]
#[command(name = "stacksonde", version, arg_required_else_help = true)]
#[command(about = "Profiles every program and the kernel, without their help", long_about = None)]
pub struct Program {
    /// The sub-command.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what this system offers, what will be done with it, and why not more.
    Doctor(doctor::Arguments),
    /// Profile for a while, or while a command runs, and write the result to files.
    Record(record::Arguments),
    /// Show what is on the CPUs now: functions, processes and a flame graph, live.
    Top(top::Arguments),
    /// Profile until stopped, in intervals, and hand each profile to the configured exporters.
    Run(run::Arguments),
    /// Have a running daemon read its configuration again, and say what came of it.
    Reload(reload::Arguments),
    /// Ask a running daemon whether all is well.
    Health(health::Arguments),
    /// Show which plugins could be loaded and which are refused and why; try one; write a new one.
    Plugin(plugin::Arguments),
    /// Show what is in a batch: the bytes that exporters are given.
    Batch(batch::Arguments),
    /// Show a file with a profile in a browser: a flame graph to search and zoom in.
    View(view::Arguments),
    /// Check config files.
    Config(config::Arguments),
}

impl Program {
    /// Reads the command line; where it cannot be read, or asks for help, this does not return.
    pub fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let acts = |argument: OsString| matches!(harmless(&argument.to_string_lossy()), Cow::Owned(_));
            // What was given may be the name of somebody's file, which clap would show as it is.
            if error.use_stderr() && std::env::args_os().any(acts) {
                err(error.render().to_string().trim_end());
                std::process::exit(error.exit_code());
            }
            error.exit()
        })
    }
}

/// Says why a command failed.
pub fn say_error(error: &Error) {
    err(&format!("stacksonde: {}", causes::with_causes(error)));
}
