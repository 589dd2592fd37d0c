//! `stacksonde reload`: has a running daemon read its configuration again, and says what came of it.

use super::start::ConfigArguments;
use crate::control;
use crate::terminal::{err, out};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `stacksonde reload`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The daemon's control socket, instead of the one that the configuration names.
    #[arg(long, value_name = "PATH", conflicts_with = "files")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Asks and waits; the exit code is 0 if the daemon runs with the new configuration, and 1 if it does not.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let answer = socket(&arguments).and_then(|path| {
        control::ask_to_reload(&path).with_context(|| {
            format!(
                "no daemon answers at {}; is one running? (control.socket is read when it starts; --socket names \
                 another, and SIGHUP does the same without an answer)",
                path.display()
            )
        })
    });
    match answer {
        Ok(answer) if answer.done => {
            out(&format!("{}\n", answer.text))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            err(&format!("stacksonde: the daemon goes on as before: {}", answer.text));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            super::say_error(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn socket(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    if let Some(path) = &arguments.socket {
        return Ok(path.clone());
    }
    let config = arguments.config.read(&[]).context("the daemon was not asked")?;
    if config.control.socket.is_empty() {
        bail!("control.socket is empty, so that the daemon can only be told by SIGHUP, without an answer");
    }
    Ok(config.control.socket.into())
}
