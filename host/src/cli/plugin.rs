//! `stacksonde plugin`: what could be loaded, and what is refused and why; a new plugin; a plugin on trial. Only the
//! latter runs plugin code, in a process of its own.

mod check;
mod new;

use super::start::ConfigArguments;
use crate::config;
use crate::plugins::{self, FileRules, Inspected, Manifest, Refusal};
use crate::terminal::{Charset, out};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `stacksonde plugin`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The sub-command.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the plugins in the configured directories, and those that are to be loaded but missing.
    List(ConfigArguments),
    /// Show what one plugin states of itself.
    Info {
        /// Its name, or the path of its file.
        plugin: String,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Run a plugin in a process of its own, with everything that a host asks of it, and say what passed.
    Check {
        /// Its name, or the path of its file.
        plugin: String,
        /// A key of the exporter's instance; may be given several times.
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = check::key)]
        keys: Vec<(String, serde_json::Value)>,
        /// Be the process that runs it.
        #[arg(long, hide = true)]
        report: bool,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Write a crate for a new plugin, ready to build and to test.
    New(new::Arguments),
}

/// Exit status of something that was refused or is missing.
const REFUSED: u8 = 2;

/// Runs `stacksonde plugin`. The exit code is 2 if a plugin that was asked for, or is required, is missing or
/// refused, or does not pass.
///
/// # Errors
///
/// The configuration cannot be used, or the output cannot be written.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (text, is_sound) = match arguments.command {
        Command::New(arguments) => (new::write(&arguments)?, true),
        Command::Check { plugin, keys, report, config: from } => {
            let plugins = from.load(Some("warn"), &[])?.plugins;
            let keys = keys.into_iter().collect();
            match inspect(&plugin, &plugins, &from.file_rules(&plugins)) {
                Ok(inspected) if report => {
                    check::child(inspected, &keys)?;
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(inspected) => check::parent(&inspected, &keys)?,
                Err(refusal) => (line(&refusal), false),
            }
        }
        Command::List(from) => {
            let plugins = from.load(Some("warn"), &[])?.plugins;
            list(&plugins, &from.file_rules(&plugins))
        }
        Command::Info { plugin, config: from } => {
            let plugins = from.load(Some("warn"), &[])?.plugins;
            info(&plugin, &plugins, &from.file_rules(&plugins))
        }
    };
    out(&text).context("standard output")?;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn list(config: &config::Plugins, rules: &FileRules) -> (String, bool) {
    let found = plugins::list(config, rules);
    let mut table = Table::new(&["NAME", "VERSION", "KIND", "LOADED", "FILE"]);
    let mut refused = Vec::new();
    let mut is_sound = true;
    for (path, result) in &found {
        match result {
            Ok(Inspected { manifest, .. }) => {
                let name = manifest.plugin.name.as_str();
                let is_loaded = if config.load.iter().any(|load| load == name) { "yes" } else { "no" };
                let kinds = manifest.build.kinds.join(", ");
                table.row(&[name, manifest.version(), &kinds, is_loaded, &path.display().to_string()]);
            }
            Err(refusal) => {
                is_sound &= !config.required.iter().any(|name| is_named(path, name));
                refused.push(line(&format!("refused: {refusal}")));
            }
        }
    }
    for name in config.load.iter().chain(&config.required) {
        if found.iter().any(|(path, _)| is_named(path, name)) {
            continue;
        }
        is_sound &= !config.required.contains(name);
        let absent = Refusal::NotFound {
            name: name.clone(),
            looked: config.directories.iter().map(|folder| folder.join(format!("{name}.so"))).collect(),
        };
        refused.push(line(&format!("missing: {absent}")));
    }
    refused.dedup();
    (format!("{table}{}", refused.concat()), is_sound)
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_stem().is_some_and(|stem| stem == name)
}

/// `plugin` by its path or its name.
fn inspect(plugin: &str, config: &config::Plugins, rules: &FileRules) -> Result<Inspected, Refusal> {
    if !plugin.contains('/') {
        return plugins::find(plugin, config, rules);
    }
    match std::path::absolute(plugin) {
        Ok(path) => plugins::inspect(&path, rules),
        Err(_) => Err(Refusal::NotAbsolute { path: PathBuf::from(plugin) }),
    }
}

fn info(plugin: &str, config: &config::Plugins, rules: &FileRules) -> (String, bool) {
    match inspect(plugin, config, rules) {
        Ok(Inspected { path, manifest, .. }) => (describe(&path, &manifest), true),
        Err(refusal) => (line(&refusal), false),
    }
}

/// One line, whatever stands in it.
fn line(text: &impl fmt::Display) -> String {
    format!("{}\n", Charset::Unicode.plain(&text.to_string()))
}

fn describe(path: &Path, manifest: &Manifest) -> String {
    let (build, plugin) = (&manifest.build, &manifest.plugin);
    let mut text = String::new();
    for (key, value) in [
        ("name", plugin.name.as_str()),
        ("version", manifest.version()),
        ("description", &plugin.description),
        ("license", &plugin.license),
        ("kind", &build.kinds.join(", ")),
        ("file", &path.display().to_string()),
        ("plugin ABI", &build.abi),
        ("target", &build.target),
        ("provides", &plugin.provides.join(", ")),
        ("needs", &plugin.needs.join(", ")),
        ("batch formats", &plugin.batch_formats.join(", ")),
        ("config", &config_keys(manifest)),
    ] {
        if !value.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{key:<14} {}", line(&value));
        }
    }
    text
}

/// Names of the configuration's keys, as its schema has them.
fn config_keys(manifest: &Manifest) -> String {
    let properties = manifest.plugin.config_schema.as_ref().and_then(|schema| schema.get("properties"));
    let keys = properties.and_then(serde_json::Value::as_object).map(|keys| keys.keys());
    keys.map(|keys| keys.map(String::as_str).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

/// Columns as wide as their widest cell.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(heads: &[&str]) -> Self {
        let mut table = Self(Vec::new());
        table.row(heads);
        table
    }

    fn row(&mut self, cells: &[&str]) {
        let cells = cells.iter().map(|cell| Charset::Unicode.plain(cell).into_owned());
        self.0.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &self.0 {
            let cells: String = row
                .iter()
                .enumerate()
                .map(|(column, cell)| format!("{cell:<width$}", width = width(column) + 2))
                .collect();
            writeln!(f, "{}", cells.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(folder: &str) -> config::Plugins {
        config::Plugins {
            directories: vec![folder.into()],
            load: vec!["absent".into()],
            ..config::Plugins::default()
        }
    }

    #[test]
    fn a_plugin_that_is_absent_is_a_line_and_only_if_required_a_failure() {
        let mut config = directory("/nonexistent");
        let (text, is_sound) = list(&config, &FileRules::default());
        assert!(is_sound && text.contains("missing: no plugin `absent` in /nonexistent/absent.so"), "{text}");
        config.required.push("absent".into());
        let (text, is_sound) = list(&config, &FileRules::default());
        assert!(!is_sound && text.matches("missing:").count() == 1, "{text}");
    }

    #[test]
    fn info_of_a_file_that_is_no_plugin_is_one_sentence() {
        let (text, is_sound) = info("/dev/null", &directory("/nonexistent"), &FileRules::default());
        assert!(!is_sound && text.starts_with("/dev/null: ") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["A", "B"]);
        table.row(&["longer", "x"]);
        assert_eq!(table.to_string(), "A       B\nlonger  x\n");
    }
}
