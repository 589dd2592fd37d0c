//! What the sampler remembers of unwinding, each time looked up, too.

use crate::run::as_root;
use crate::stacks::beside_mix;
use anyhow::{Context, bail};

/// Samples per second and CPU.
pub(super) const HERTZ: u32 = 997;
/// How long it is recorded.
pub(super) const SECONDS: u32 = 120;
/// Frames whose rule was at hand, at least.
const ENOUGH: u64 = 1_000_000;

/// Records the mix; the table.
pub(super) fn check() -> anyhow::Result<String> {
    let log = beside_mix(|stage, folder| {
        // sudo does not pass the environment on.
        let mut record = as_root("env")?;
        record.arg("STACKSONDE_SAMPLING__VERIFY_UNWINDING=true").arg(&stage.agent);
        record.args([
            "record",
            "--quiet",
            "--log",
            "debug",
            "-d",
            &SECONDS.to_string(),
            "-F",
            &HERTZ.to_string(),
        ]);
        record.arg("--config").arg(&stage.config).arg("-o").arg(folder.join("profile.folded"));
        let output = record.output().context("cannot run the agent")?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("the agent failed: {}", log.lines().last().unwrap_or("it did not say why"));
        }
        Ok(log)
    })?;
    let [recalled, looked_up, mistaken] =
        ["recalled", "looked_up", "mistaken"].map(|name| counted(&log, name));
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
fn counted(log: &str, name: &str) -> u64 {
    let name = format!("{name}: ");
    let values = log.match_indices(&name).filter_map(|(at, found)| {
        log[at + found.len()..].split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    values.sum()
}
