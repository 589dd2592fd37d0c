//! The table: on the terminal, and in the document that shows which runtimes were profiled.

use super::Outcome;
use crate::markdown;
use crate::run::workspace;
use anyhow::Context;
use std::path::PathBuf;

/// The document, in the checkout.
pub(super) const DOCUMENT: &str = "docs/runtimes.md";

const HEADS: [&str; 6] = ["runtime", "version", "source", "samples", "whole stacks", "others end by"];

/// Renders a line a row.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    markdown::table(&HEADS, outcomes.iter().map(cells))
}

fn cells(Outcome { row, profiled }: &Outcome) -> Vec<String> {
    let mut cells = vec![row.name.to_owned()];
    let Some(profiled) = profiled else {
        cells.extend(["-".to_owned(), row.source.to_string(), "failed".to_owned()]);
        cells.resize(HEADS.len(), "-".into());
        return cells;
    };
    let number = |name: &str| profiled[name].as_u64().unwrap_or(0);
    let samples = number("samples");
    let others = profiled["others"].as_object().into_iter().flatten();
    let others: Vec<_> = others.map(|(reason, count)| format!("{reason} {count}")).collect();
    cells.extend([
        profiled["version"].as_str().unwrap_or("-").to_owned(),
        row.source.to_string(),
        samples.to_string(),
        share(number("whole"), samples),
        others.join(", "),
    ]);
    cells
}

/// Renders a share in tenths of a per cent, rounded down: 100 % is all.
fn share(part: u64, of: u64) -> String {
    let share = 1000 * part / of.max(1);
    format!("{}.{} %", share / 10, share % 10)
}

/// Writes the document, and returns its path.
pub(super) fn write(outcomes: &[Outcome]) -> anyhow::Result<PathBuf> {
    let text = format!(
        "# Language runtimes\n\n\
         Written by `cargo xtask test --tier runtimes --full`, which unpacks each of these runtimes, has it run a program \
         whose functions are known, and profiles that by `stacksonde record -p`. It writes this file only if of every row \
         as much came out as `xtask/src/runtimes/rows.rs` says that it must.\n\n\
         {}.\n\n\
         {}\n\
         *Samples* are of two seconds of the program's CPU time at 499 Hz, and as many as that says, less what was counted \
         as lost. *Whole stacks* are native stacks that end at a root (what a root is, [ARCHITECTURE.md](../ARCHITECTURE.md) \
         says), and have the runtime's own entry in them; the others are marked in the profile, by these reasons. Code that is \
         made at run time and has no frame pointers is what is marked. Functions of the interpreted program are not shown yet.\n",
        markdown::commit_and_day()?,
        render(outcomes),
    );
    let path = workspace().join(DOCUMENT);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;
    use serde_json::{Value, json};

    fn lines(profiled: Option<Value>) -> String {
        render(&[Outcome { row: &ROWS[0], profiled }])
    }

    #[test]
    fn shares_are_of_all_samples_and_never_rounded_up() {
        let table = lines(Some(json!({
            "version": "3.9.2", "samples": 1000, "whole": 999, "others": {"no_code": 1},
        })));
        for cell in ["CPython", "3.9.2", "Debian bullseye, `python3`", "1000", "99.9 %", "no_code 1"] {
            assert!(table.contains(&format!("| {cell} ")), "{cell}: {table}");
        }
        assert_eq!(share(9999, 10000), "99.9 %");
    }

    #[test]
    fn a_row_without_results_has_failed() {
        let table = lines(None);
        let widths: Vec<_> = table.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 3], "{table}");
        assert!(table.contains("| failed "), "{table}");
    }
}
