//! Checks the unwind rules that the sampler has cached: each is looked up, too.

use crate::stacks::record_mix;
use anyhow::{Context, bail};

/// Samples per second and CPU.
pub(super) const HERTZ: u32 = 997;
/// The time of recording.
pub(super) const SECONDS: u32 = 120;
/// Frames whose rule was at hand, at least.
const ENOUGH: u64 = 1_000_000;

/// Records the mix; the table.
pub(super) fn check() -> anyhow::Result<String> {
    let verify = ["STACKSONDE_SAMPLING__VERIFY_UNWINDING=true"];
    let output = record_mix(&verify, (SECONDS, HERTZ), &["--quiet", "--log", "debug"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    let (recalled, looked_up) = (counted(&log, "recalled")?, counted(&log, "looked_up")?);
    let mistaken = counted(&log, "mistaken")?;
    let table = format!(
        "| what | count |\n|------|-------|\n| frames whose rule was remembered | {recalled} |\n\
         | of these, another rule when looked up | {mistaken} |\n| frames whose rule was only looked up | {looked_up} |\n"
    );
    print!("{table}");
    if mistaken > 0 {
        bail!("{mistaken} remembered rules were not those that are found");
    }
    if recalled < ENOUGH {
        bail!(
            "only {recalled} frames had a remembered rule, which proves nothing; a quiet machine has {ENOUGH}"
        );
    }
    Ok(table)
}

/// A number of the log, such as `recalled: 12`, summed over intervals.
fn counted(log: &str, name: &str) -> anyhow::Result<u64> {
    let label = format!("{name}: ");
    let numbers = log.split(&label).skip(1).map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse::<u64>().with_context(|| format!("`{name}` of the agent's log is `{digits}`"))
    });
    let numbers = numbers.collect::<anyhow::Result<Vec<_>>>()?;
    if numbers.is_empty() {
        bail!("the agent's log says nothing of `{name}`");
    }
    Ok(numbers.iter().sum())
}
