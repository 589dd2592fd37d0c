//! The table: on the terminal, and in the document that shows where the agent was seen to work.

use super::check::{Outcome, PROGRAM, hazard, list, text};
use super::results::Results;
use crate::run::workspace;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// The document, in the checkout.
pub(super) const DOCUMENT: &str = "docs/kernel-support.md";

const HEADS: [&str; 8] =
    ["kernel", "version", "configuration", "level", "facts", "hazard", "samples", "complete"];

/// A line a row, in Markdown that is also aligned.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(outcomes.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
    let row = |cells: &[String; 8]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("-{}-|", "-".repeat(*width))).collect();
    let mut lines = lines.iter().map(row);
    let head = lines.next().unwrap_or_default();
    format!("{head}|{rule}\n{}", lines.collect::<String>())
}

fn cells(outcome: &Outcome) -> [String; 8] {
    let row = outcome.row;
    let [kernel, configuration] = [row.kernel.name(), row.configuration].map(str::to_owned);
    let Some(Results { release, plan, nested, stacks, .. }) = &outcome.results else {
        let unknown = || "-".to_owned();
        return [
            kernel,
            unknown(),
            configuration,
            "failed".into(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
        ];
    };
    let version = format!("{} ({release})", text(plan, "/kernel/version"));
    let program = stacks.of(PROGRAM);
    let (all, complete) = (program.samples(), program.complete().samples());
    let level = text(plan, "/level").to_owned();
    let share = format!("{} %", (100 * complete + all / 2) / all.max(1));
    [kernel, version, configuration, level, facts(nested), hazard(plan).into(), all.to_string(), share]
}

/// `btf-offsets: a, b; selfprobe-offsets: c`
fn facts(plan: &serde_json::Value) -> String {
    let mut by_provider: Vec<(&str, Vec<&str>)> = Vec::new();
    for fact in list(plan, "facts") {
        let (name, provider) = (text(fact, "/name"), text(fact, "/provider"));
        match by_provider.iter_mut().find(|(known, _)| *known == provider) {
            Some((_, facts)) => facts.push(name),
            None => by_provider.push((provider, vec![name])),
        }
    }
    let providers = by_provider.iter().map(|(provider, facts)| format!("{provider}: {}", facts.join(", ")));
    providers.collect::<Vec<_>>().join("; ")
}

/// Writes the document, with the commit and the day.
pub(super) fn write(path: &Path, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = output("git", &["status", "--porcelain", "--", ":!docs", ":!*.md"])?;
    let changed = if changed.is_empty() { "" } else { " with changes that were not committed" };
    let day = output("date", &["--utc", "+%F"])?;
    let text = format!(
        "# Kernels\n\n\
         Written by `cargo xtask vm --all`, which boots each of these kernels under QEMU with the release \
         build in it, runs `stacksonde doctor --json` and records a program whose stacks are known. It \
         writes this file only if every row is as `xtask/src/vm/rows.rs` says that it must be, and every \
         program's stack is right.\n\n\
         Commit {commit}{changed}, {day}.\n\n\
         {}\n\
         *Version* is the upstream version that the agent found, and `uname -r`. *Facts* are numbers about \
         the kernel, by the plugin that gave them. *Hazard* is `copy_from_user_nofault`: reading user memory \
         in an interrupt can dead-lock some kernels; where that is not proved to be fixed, user stacks are \
         walked by the kernel itself. *Samples* and the share of *complete* user stacks are of the known \
         program, on two emulated CPUs for five seconds at 99 Hz; how many there are says how busy the \
         machine was that emulated them.\n\n\
         \"Own build\" is of Debian's source of Linux 6.1 with the configuration in \
         `xtask/src/vm/own-kernel.config`; \"called 6.1.20\" has the version of a kernel within the hazard's \
         range.\n",
        render(outcomes)
    );
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {} failed with {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
