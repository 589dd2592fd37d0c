//! Pieces of the documents that commands write: an aligned table, and a line that says what it is of.

use crate::run::workspace;
use anyhow::{Context, ensure};
use std::process::Command;

/// Renders a table in Markdown that is also aligned; each line has as many cells as there are heads.
pub(crate) fn table(heads: &[&str], lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    all.extend(lines);
    let width = |column: usize| all.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let row = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("-{}-|", "-".repeat(*width))).collect();
    let mut rows = all.iter().map(row);
    let head = rows.next().unwrap_or_default();
    format!("{head}|{rule}\n{}", rows.collect::<String>())
}

/// Names the commit and the day that a document is of: `Commit 2992d4ccecc2, 2026-11-26`.
pub(crate) fn commit_and_day() -> anyhow::Result<String> {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = output("git", &["status", "--porcelain", "--", ":!docs", ":!*.md"])?;
    let changed = if changed.is_empty() { "" } else { " with changes that were not committed" };
    Ok(format!("Commit {commit}{changed}, {}", output("date", &["--utc", "+%F"])?))
}

/// Returns what a command prints, run in the workspace.
pub(crate) fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {} failed with {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [["é", "22"], ["longer", "3"]].map(|line| line.map(String::from).to_vec());
        let expected = "| name   | n  |\n|--------|----|\n| é      | 22 |\n| longer | 3  |\n";
        assert_eq!(table(&["name", "n"], lines.into_iter()), expected);
    }
}
