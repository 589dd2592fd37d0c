//! `stacksonde top`: what is on the CPUs now.

use super::command::{self, end, ended};
use super::filter::FilterArguments;
use super::start::{self, ConfigArguments};
use crate::agent::{Agent, Parts};
use crate::config::{Config, Filter};
use crate::feed::Feed;
use crate::terminal::{Charset, Colour, Paint, Screen, give_back_on_panic, out_painted, size, stderr};
use crate::top::{Setting, Top, Wish};
use anyhow::{Context, bail};
use clap::Args;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Batches and bytes that may wait to be shown.
const WAITING: (usize, usize) = (4, 16 << 20);
/// The time for which more is waited for after an escape.
const KEY_GAP: Duration = Duration::from_millis(40);

/// Arguments of `stacksonde top`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Samples per second and CPU.
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99)]
    frequency: u32,
    /// Seconds between two pictures; fractions are fine.
    #[arg(short = 'i', long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Seconds for which a sample is shown.
    #[arg(short = 'w', long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    window: Duration,
    /// Print one table of one interval as text, without a screen, and end: for pipes, files and scripts.
    #[arg(long)]
    once: bool,
    /// When there are colours.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    config: ConfigArguments,
    /// Command to run and watch, with its descendants; its input is empty and its output goes nowhere.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pid")]
    command: Vec<OsString>,
}

/// A tenth of a second to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let allowed = 0.1..=3600.0;
    match text.parse::<f64>() {
        Ok(seconds) if allowed.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it takes seconds, from 0.1 to 3600".into()),
    }
}

/// Shows until it is quit. The terminal is given back whatever happens, and what was logged meanwhile is printed then.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.window < arguments.interval {
        bail!("--window is shorter than --interval: nothing would be shown; make it at least as long");
    }
    if !arguments.once {
        let term = std::env::var("TERM").unwrap_or_default();
        let why = match (std::io::stdout().is_terminal(), term.as_str()) {
            (false, _) => "stdout is not a terminal",
            (true, "") => "TERM is not set, so that nothing is known of this terminal",
            (true, "dumb") => "TERM is `dumb`: this terminal cannot be drawn on",
            (true, _) => "",
        };
        if !why.is_empty() {
            bail!(
                "top has nothing to draw on: {why}; `stacksonde top --once` prints one table, `stacksonde record` \
                 writes files"
            );
        }
        stderr::hold();
        give_back_on_panic();
    }
    let result = watch(&arguments);
    stderr::release();
    result
}

fn watch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let frequency = ("sampling.frequency_hz", arguments.frequency.to_string());
    let config = arguments.config.load(Some("warn"), &[frequency])?;
    arguments.filter.check()?;
    let filter = command::filter(&arguments.filter, &config.filter, &arguments.command);
    let feed = Feed::new(WAITING.0, WAITING.1);
    let rules = arguments.config.file_rules(&config.plugins);
    let (parts, _) = start::prepare(&config, Some(arguments.interval), &rules, Some(feed.clone()))?;
    let top = Top::new(setting(arguments, &config, &filter, &parts));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ending = Ending::new()?;
        let agent = start::arm(parts)?;
        // The screen is ours.
        let mut child = command::start(&arguments.command, |command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        start::want(&agent, command::rules(&filter, child.as_ref()))?;
        let shown = match arguments.once {
            true => print_once(arguments, top, &feed, &agent, ending).await,
            false => show(arguments, top, &feed, &agent, &mut child, ending).await,
        };
        // Whatever went wrong, why the agent ended is said first.
        agent.stop()?;
        if let Some(child) = &mut child {
            end(child)?;
        }
        shown.map(|()| ExitCode::SUCCESS)
    })
}

fn setting(arguments: &Arguments, config: &Config, filter: &Filter, parts: &Parts) -> Setting {
    let cpus = crate::bpf::online_cpus().len();
    let host = parts.run.attributes.iter().find(|(key, _)| key == "host.name");
    Setting {
        host: host.map(|(_, name)| name.clone()).unwrap_or_default(),
        hz: config.sampling.frequency_hz,
        cpus,
        filter: match filter == &Filter::default() && arguments.command.is_empty() {
            true => String::new(),
            false => "filtered".into(),
        },
        window_ns: u64::try_from(arguments.window.as_nanos()).unwrap_or(u64::MAX),
        budget: usize::try_from(config.shares(cpus).view_bytes).unwrap_or(usize::MAX),
        charset: Charset::of_locale(),
    }
}

/// The events that end it. A terminal that is gone is reported by the last one, if at all.
struct Ending {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
            _ = self.hung_up.recv() => {}
        }
    }
}

/// Draws until it is quit, or the terminal or the agent is gone.
async fn show(
    arguments: &Arguments,
    mut top: Top,
    feed: &Feed,
    agent: &Agent,
    child: &mut Option<Child>,
    mut ending: Ending,
) -> anyhow::Result<()> {
    let palette = arguments.color.palette();
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::take(palette).context("the terminal cannot be drawn on")?;
    let mut has_command = child.is_some();
    loop {
        top.set_messages(stderr::kept_count());
        screen.draw(|buffer| top.draw(buffer, palette));
        let is_key_open = screen.is_waiting_for_keys();
        let keys = tokio::select! {
            keys = screen.next() => match keys {
                Ok(keys) => keys,
                Err(_) if screen.is_given_back() => bail!("a part of it panicked, as said above; please report it"),
                // It hung up; nobody is left to be told.
                Err(_) => return Ok(()),
            },
            () = tokio::time::sleep(KEY_GAP), if is_key_open => screen.settle(),
            batch = feed.next() => {
                if let Err(error) = top.take(&batch) {
                    tracing::error!("{error}; please report it");
                }
                continue;
            }
            _ = resized.recv() => continue,
            () = ending.asked() => return Ok(()),
            () = agent.failure() => return Ok(()),
            () = ended(child, &[]), if has_command => {
                has_command = false;
                top.set_note("the command ended");
                continue;
            }
        };
        for key in keys {
            match top.key(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Redraw => screen.redraw(),
                Wish::Suspend => screen.suspend().context("the terminal cannot be drawn on")?,
            }
        }
    }
}

/// Prints what the first interval brings.
async fn print_once(
    arguments: &Arguments,
    mut top: Top,
    feed: &Feed,
    agent: &Agent,
    mut ending: Ending,
) -> anyhow::Result<()> {
    tokio::select! {
        batch = feed.next() => top.take(&batch)?,
        () = ending.asked() => return Ok(()),
        () = agent.failure() => return Ok(()),
    }
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let columns = size(stdout.as_fd()).filter(|_| is_terminal).map(|(columns, _)| columns.into());
    out_painted(&top.text(Paint(arguments.color.is_on(is_terminal)), columns))?;
    Ok(())
}
