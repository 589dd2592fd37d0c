//! The table: on the terminal, and in the document that shows where the agent was seen to work.

use super::check::{FACTS, IDS, Outcome, PROGRAMS, hazard, list, text};
use super::results::{Results, Stacks};
use crate::markdown;
use crate::run::workspace;
use anyhow::Context;
use std::path::PathBuf;

/// The document, in the checkout.
pub(super) const DOCUMENT: &str = "docs/kernel-support.md";

const HEADS: [&str; 8] =
    ["kernel", "version", "configuration", "level", "facts", "hazard", "samples", "complete"];

/// Renders a line a row.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    markdown::table(&HEADS, outcomes.iter().map(|outcome| cells(outcome).into()))
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
    let programs = PROGRAMS.map(|program| stacks.of(program.name));
    let all: u64 = programs.iter().map(Stacks::samples).sum();
    let complete: u64 = programs.iter().map(|program| program.complete().samples()).sum();
    let level = text(plan, "/level").to_owned();
    let share = format!("{} %", (100 * complete + all / 2) / all.max(1));
    [kernel, version, configuration, level, facts(nested), hazard(plan).into(), all.to_string(), share]
}

/// Who gave most of them, and who gave which of the others: `btf-offsets; stack.pt_regs: selfprobe-offsets`.
fn facts(plan: &serde_json::Value) -> String {
    let mut by_provider: Vec<(&str, Vec<&str>)> = Vec::new();
    for fact in list(plan, "facts") {
        let (name, provider) = (text(fact, "/name"), text(fact, "/provider"));
        match by_provider.iter_mut().find(|(known, _)| *known == provider) {
            Some((_, facts)) => facts.push(name),
            None => by_provider.push((provider, vec![name])),
        }
    }
    by_provider.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.len()));
    let others =
        by_provider.iter().skip(1).map(|(provider, facts)| format!("{}: {provider}", facts.join(", ")));
    let most = by_provider.first().map(|(provider, _)| (*provider).to_owned());
    most.into_iter().chain(others).collect::<Vec<_>>().join("; ")
}

/// Writes the document, with the commit and the day, and returns its path.
pub(super) fn write(outcomes: &[Outcome]) -> anyhow::Result<PathBuf> {
    let text = format!(
        "# Kernels\n\n\
         Written by `cargo xtask vm --all`, which boots each of these kernels under QEMU with the \
         agent in it, runs `stacksonde doctor --json` and records two programs whose stacks are known, one with frame pointers and one without. It \
         writes this file only if every row is as `xtask/src/vm/rows.rs` says that it must be, and the \
         programs' stacks are right.\n\n\
         {}.\n\n\
         {}\n\
         *Version* is the upstream version that the agent found, and `uname -r`. *Facts* are numbers about \
         the kernel, by the plugin that gave them: {}. On every kernel two plugins were asked for each and \
         agreed, except where selfprobe-offsets was left out. *Hazard* is `copy_from_user_nofault`: reading user memory \
         in an interrupt can dead-lock some kernels; where that is not proved to be fixed, user stacks are \
         walked by the kernel itself. *Samples* and the share of *complete* user stacks are of the known \
         programs, on two emulated CPUs for five seconds at 99 Hz; how many there are says how busy the \
         machine was that emulated them.\n\n\
         \"Own build\" is of Debian's source of Linux 6.1 with the configuration in \
         `xtask/src/vm/own-kernel.config`; \"called 6.1.20\" has the version of a kernel within the hazard's \
         range.\n",
        markdown::commit_and_day()?,
        render(outcomes),
        [&FACTS[..], &IDS[..]].concat().join(", "),
    );
    let path = workspace().join(DOCUMENT);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_who_gave_most_facts_and_who_gave_the_others() {
        let fact = |name: &str, provider: &str| json!({"name": name, "provider": provider});
        let plan = json!({"facts": [fact("c", "b-offsets"), fact("a", "a-offsets"), fact("b", "a-offsets")]});
        assert_eq!(facts(&plan), "a-offsets; c: b-offsets");
        assert_eq!(facts(&json!({"facts": []})), "");
    }

    #[test]
    fn a_row_without_results_has_failed() {
        let row = &super::super::rows::ROWS[0];
        let table = render(&[Outcome { row, results: None, complaints: vec!["it hung".into()] }]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{table}");
        assert!(lines[2].contains("| failed |"), "{table}");
    }
}
