//! The tables: on the terminal, and in the document.

use super::tally::Stacks;
use super::{HERTZ, MIX_HERTZ, MIX_SECONDS, Outcome, SECONDS, Tally};
use crate::markdown::{commit_and_day, output, table};
use crate::run::workspace;
use anyhow::Context;
use std::collections::BTreeMap;

/// The document, in the checkout.
pub(super) const PATH: &str = "docs/complete-stacks.md";

/// Programs of the mix with fewer samples are shown together.
const FEW: u64 = 200;

/// A line a program.
pub(super) fn programs(outcomes: &[Outcome]) -> String {
    let lines = outcomes.iter().map(|outcome| {
        let mut cells = vec![outcome.name.to_owned(), outcome.version.clone()];
        cells.extend(shares(&outcome.tally.all()));
        cells
    });
    table(&["program", "version", "samples", "whole", "the others end by"], lines)
}

/// A line a program of the mix with samples enough, and one for the rest.
pub(super) fn mix(tally: &Tally) -> String {
    let mut lines: Vec<(String, Stacks)> = Vec::new();
    let mut rest = Tally::default();
    for (name, stacks) in &tally.by_name {
        if stacks.samples > FEW {
            lines.push((name.clone(), stacks.clone()));
        } else {
            rest.by_name.insert(name.clone(), stacks.clone());
        }
    }
    lines.sort_by_key(|(_, stacks)| std::cmp::Reverse(stacks.samples));
    lines.push((format!("{} others", rest.by_name.len()), rest.all()));
    lines.push(("all".into(), tally.all()));
    let lines = lines.into_iter().map(|(name, stacks)| {
        let mut cells = vec![name];
        cells.extend(shares(&stacks));
        cells
    });
    table(&["program", "samples", "whole", "the others end by"], lines)
}

/// Samples, the share of whole stacks, and the rest by reason.
fn shares(stacks: &Stacks) -> [String; 3] {
    let share = |part: u64| hundredths(10_000 * part / stacks.samples.max(1));
    let reasons = stacks.incomplete.iter().map(|(reason, count)| format!("{reason} {count}"));
    [stacks.samples.to_string(), share(stacks.complete()), reasons.collect::<Vec<_>>().join(", ")]
}

fn hundredths(share: u64) -> String {
    format!("{}.{:02} %", share / 100, share % 100)
}

/// Describes the losses on the whole machine in a sentence.
fn lost(lost: &BTreeMap<String, u64>, samples: u64) -> String {
    if lost.is_empty() {
        return "No sample was lost.".into();
    }
    let reasons = lost.iter().map(|(reason, count)| format!("{count} {reason}"));
    let total: u64 = lost.values().sum();
    let share = hundredths(10_000 * total / (samples + total).max(1));
    format!(
        "Lost were {} ({share} of those that the kernel counted).",
        reasons.collect::<Vec<_>>().join(", ")
    )
}

/// Writes it, with the commit and the day.
pub(super) fn write(outcomes: &[Outcome], mixed: &Tally) -> anyhow::Result<()> {
    let (commit, kernel) = (commit_and_day()?, output("uname", &["-r"])?);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let all = mixed.all();
    let text = format!(
        "# Complete stacks\n\n\
         Written by `cargo xtask stacks`, which starts each of these programs as a distribution ships them or as their \
         compilers build them, profiles it with the agent from outside, and counts the user stacks that end at a root \
         (what a root is, [ARCHITECTURE.md](../ARCHITECTURE.md) says).\n\n\
         {commit}, Linux {kernel}, {cpus} CPUs.\n\n\
         ## One by one\n\n\
         Each {SECONDS} s at {HERTZ} Hz, the program and its descendants.\n\n\
         {}\n\
         ## All at once, with many short-lived ones\n\n\
         The whole machine for {MIX_SECONDS} s at {MIX_HERTZ} Hz: long-running programs of the table above, and beside them a build by \
         gcc, one file after the other, rustc again and again, and shells whose loops start a program at every step. A \
         line for each name with more than {FEW} samples.\n\n\
         {}\n\
         {} Samples of kernel threads and of processes that are ending and have no memory any more \
         have no user stack, and are not in the tables: {} of them. `stolen` are ticks in which the hypervisor ran \
         something else.\n\n\
         What falls short, and why: a process whose stack is larger than any copy, and that has ended or runs another \
         program before more of it can be read, ends as `stack_cut`. Hand-written assembly without call frame \
         information (GMP in cc1, BLAKE3 in rust-lld) is followed by frame pointers that nobody set \
         (`bad_frame_pointer`, `no_frame_pointer`, `no_code`), and a page of the stack that the kernel is just \
         copying after a fork cannot be read (`stack_unreadable`).\n",
        programs(outcomes),
        mix(mixed),
        lost(&mixed.lost, all.samples + all.without),
        all.without,
    );
    let path = workspace().join(PATH);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
