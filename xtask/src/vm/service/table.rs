//! The table of what each of the unit's rights buys, in the document.

use super::check::losses;
use super::results::Try;
use crate::run::workspace;
use anyhow::{Context, bail};

/// The document, in the checkout.
const DOCUMENT: &str = "docs/capabilities.md";

const BEFORE: &str = "# What each right of the service buys

Written by `cargo xtask systemd --write`, which boots Debian with systemd under QEMU at Debian's
`kernel.perf_event_paranoid` of 3, starts `packaging/systemd/stacksonde.service`, requires of it what root reaches (level,
features, offsets, stacks of known programs), and then lets the agent try without each of the unit's rights. Tier `vm`
of the tests fails if this table is not what the guests show. [Security](security.md) says what the rights mean.

Without the right this is lost:

";

const AFTER: &str = "
*Nothing* means that the tests lost nothing, on this kernel. `LimitMEMLOCK` is the unit's limit of locked memory, tried
with systemd's default of 8 MiB.
";

/// A line a right, a column a kernel.
pub(super) fn render(kernels: &[&str], tries: &[&(Try, Vec<Try>)]) -> String {
    let mut table = format!("| right | {} |\n|---|{}\n", kernels.join(" | "), "---|".repeat(kernels.len()));
    let Some((_, first)) = tries.first() else { return table };
    for (index, right) in first.iter().enumerate() {
        table += &format!("| `{}` |", right.name);
        for (unit, without) in tries {
            let lost = without.get(index).map(|without| losses(unit, without)).unwrap_or_default();
            let cell = if lost.is_empty() { "*nothing*".to_owned() } else { lost.join("; ") };
            table += &format!(" {cell} |");
        }
        table.push('\n');
    }
    table
}

/// Writes the document, or compares with it.
pub(super) fn settle(table: &str, write: bool) -> anyhow::Result<()> {
    let path = workspace().join(DOCUMENT);
    let text = format!("{BEFORE}{table}{AFTER}");
    if write {
        return std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    let found = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != text {
        bail!(
            "{DOCUMENT} does not say what the guests showed; see it by `cargo xtask systemd --write` and git diff"
        );
    }
    Ok(())
}
