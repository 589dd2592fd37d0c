//! `stacksonde record`: profile for a while, then write files.

use super::command::{self, end, ended};
use super::filter::FilterArguments;
use super::progress::Shown;
use super::start::{self, ConfigArguments};
use crate::agent::Parts;
use crate::config::{Exporter, Filter};
use crate::progress::Progress;
use crate::terminal::{Charset, Colour, Paint, out, out_painted, size};
use anyhow::{Context, bail};
use clap::Args;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Time for the files to be written. A daemon must end soon when a service manager tells it to; a recording is there for
/// its files, and a busy machine or a slow disk may need longer. Only a disk that hangs ends the wait.
const WRITE_MS: u32 = 60_000;

/// Arguments of `stacksonde record`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seconds to record; without it until the command ends, or until interrupted.
    #[arg(short = 'd', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
    /// Samples per second and CPU.
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99)]
    frequency: u32,
    /// Per cent that a rate may be below that, since periods change at random so that no program hides between the
    /// samples; 0: the period is fixed.
    #[arg(long, value_name = "PERCENT")]
    period_spread: Option<u32>,
    /// File to write: .html (flame graph to search and zoom in), .svg (flame graph), .pb.gz (pprof), .folded, .json or
    /// .json.gz (Firefox Profiler), .speedscope.json; may be given several times.
    #[arg(short = 'o', long, value_name = "FILE", num_args = 1.., default_value = "profile.svg")]
    output: Vec<PathBuf>,
    /// Print nothing but errors: neither progress nor summary.
    #[arg(short = 'q', long)]
    quiet: bool,
    /// When the summary has colours.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    config: ConfigArguments,
    /// Command to run and record, with its descendants.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pid")]
    command: Vec<OsString>,
}

/// Records; the exit code is 0 if the files were written.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut flags = vec![("sampling.frequency_hz", arguments.frequency.to_string())];
    flags.extend(arguments.period_spread.map(|spread| ("sampling.period_spread", spread.to_string())));
    let mut config = arguments.config.load(Some("warn"), &flags)?;
    arguments.filter.check()?;
    config.exporters = [("record".to_owned(), file_exporter(&arguments.output)?)].into();
    config.shutdown.budget_ms = WRITE_MS;
    let filter = command::filter(&arguments.filter, &config.filter, &arguments.command);
    let (mut parts, _) = start::prepare(&config, None, &arguments.config.file_rules(&config.plugins), None)?;
    let progress = Progress::default();
    parts.progress = (!arguments.quiet).then(|| progress.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(record(&arguments, &filter, parts, &progress))
}

async fn record(
    arguments: &Arguments,
    filter: &Filter,
    parts: Parts,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let agent = start::arm(parts)?;
    let mut child = command::start(&arguments.command, |_| {})?;
    start::want(&agent, command::rules(filter, child.as_ref()))?;
    let over = async {
        match arguments.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let shown = Shown::new(arguments.duration, !arguments.command.is_empty());
    if !arguments.quiet {
        shown.say_begin(arguments.frequency);
    }
    tokio::select! {
        () = over => {}
        () = shown.go_on(progress), if !arguments.quiet => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = ended(&mut child, arguments.filter.pids()) => {}
        () = agent.failure() => {}
    }
    shown.end();
    let summary = agent.stop()?;
    if let Some(child) = &mut child {
        end(child)?;
    }
    if let Some((_, counters)) = summary.exporters.first().filter(|(_, counters)| counters.delivered == 0) {
        match &counters.last_error {
            Some(error) => bail!("nothing was written: {error}"),
            None => bail!("nothing was written within {} s; does the disk hang?", WRITE_MS / 1000),
        }
    }
    if !arguments.quiet {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let paint = Paint(arguments.color.is_on(is_terminal));
        let columns = size(stdout.as_fd()).filter(|_| is_terminal).map(|(columns, _)| columns.into());
        out_painted(&summary.painted(paint, columns).to_string())?;
        let charset = Charset::of_locale();
        let shown = |file: &PathBuf| charset.plain(&file.display().to_string()).into_owned();
        let files: Vec<_> = arguments.output.iter().map(shown).collect();
        out(&format!("wrote        {}\n", files.join(", ")))?;
        if let Some(next) = files.iter().find_map(|file| how_to_look_at(file)) {
            out(&format!("look at it   {next}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a command that shows the file, if there is one.
fn how_to_look_at(file: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-+=:@%,".contains(&byte);
    let quoted = match file.bytes().all(is_plain) {
        true => file.to_owned(),
        false => format!("'{}'", file.replace('\'', "'\\''")),
    };
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| file.ends_with(suffix));
    if ends(&[".pb.gz", ".folded", ".html"]) {
        Some(format!("stacksonde view {quoted}"))
    } else if ends(&[".svg"]) {
        Some(format!("open {quoted} in a browser"))
    } else {
        None
    }
}

/// The exporter that writes the files; paths are absolute, since the plugin need not know where we stand.
fn file_exporter(files: &[PathBuf]) -> anyhow::Result<Exporter> {
    let mut absolute = Vec::new();
    for file in files {
        let path = std::path::absolute(file).with_context(|| format!("output file `{}`", file.display()))?;
        let Some(path) = path.to_str() else { bail!("output file `{}` is not UTF-8", file.display()) };
        absolute.push(serde_json::Value::from(path));
    }
    let config = serde_json::Map::from_iter([("files".to_owned(), absolute.into())]);
    // It gets one batch, at the end, however large.
    Ok(Exporter { required: true, queue_bytes: i64::MAX as u64, config, ..Exporter::of("file-export") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_can_be_copied_into_a_shell() {
        assert_eq!(how_to_look_at("out.pb.gz").unwrap(), "stacksonde view out.pb.gz");
        assert_eq!(how_to_look_at("my out's.folded").unwrap(), r"stacksonde view 'my out'\''s.folded'");
        assert_eq!(how_to_look_at("profile.svg").unwrap(), "open profile.svg in a browser");
        assert_eq!(how_to_look_at("a.json"), None);
    }
}
