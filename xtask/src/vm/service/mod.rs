//! `cargo xtask systemd`: Debian with systemd as its first process under QEMU, and the agent in it as a service.
//!
//! It shows two things. With the rights of `packaging/systemd/stacksonde.service` the agent reaches what root reaches,
//! at Debian's `kernel.perf_event_paranoid`, on the oldest kernel and the newest; and what is lost without each of these
//! rights, which is the table in docs/capabilities.md.

mod check;
mod results;
mod root;
mod table;

use super::cache::Cache;
use super::lock::Lock;
use super::rows::{ROWS, Row};
use super::{prepare, qemu};
use crate::{install, stage};
use anyhow::bail;
use results::{Results, Try};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Kernels, by the rows of the matrix.
const KERNELS: [&str; 2] = ["stock-5.10", "stock-sid"];

/// Debian lies in the guest's memory. A guest takes some two minutes.
const SIZE: qemu::Size = qemu::Size { memory_mib: 1280, limit: Duration::from_secs(1800) };

/// What systemd starts besides what it would, and leaves out. Fewer messages: an emulated serial port is slow.
const WORDS: [&str; 4] = [
    "systemd.wants=stacksonde-test.service",
    "systemd.mask=serial-getty@ttyS0.service",
    "systemd.show_status=no",
    "loglevel=4",
];

/// What came out on one kernel.
struct Outcome {
    kernel: &'static str,
    complaints: Vec<String>,
    /// What was tried with all of the unit's rights, and then without each.
    tries: Option<(Try, Vec<Try>)>,
}

/// `cargo xtask systemd [--write]`
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let write = match arguments {
        [] => false,
        [flag] if flag == "--write" => true,
        other => bail!("`{}` is not an argument of systemd; it takes --write", other.join(" ")),
    };
    Ok(if boot_all(write)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As a part of the tier `vm`.
pub(super) fn tier() -> anyhow::Result<bool> {
    boot_all(false)
}

fn boot_all(write: bool) -> anyhow::Result<bool> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the guests are x86-64, and the agent in them is the one built here");
    }
    install::ensure(install::VM)?;
    let built = stage::compile("stage")?;
    let cache = Cache::open()?;
    let _lock = Lock::take(&cache)?;
    let rows: Vec<&'static Row> =
        KERNELS.iter().filter_map(|name| ROWS.iter().find(|row| row.name == *name)).collect();
    let kernels = prepare(&rows, &cache)?;
    let initramfs = root::build(&built, &cache)?;
    let mut outcomes = Vec::new();
    for (row, kernel) in rows.iter().zip(kernels) {
        let start = Instant::now();
        println!("booting Debian with the service: {}", row.kernel.name());
        let outcome = boot(row, &kernel, &initramfs, &cache);
        println!("  ended after {} s", start.elapsed().as_secs());
        outcomes.push(outcome);
    }
    let tries: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.tries.as_ref()).collect();
    let mut passed = true;
    if tries.len() == outcomes.len() {
        let kernels: Vec<_> = outcomes.iter().map(|outcome| outcome.kernel).collect();
        let table = table::render(&kernels, &tries);
        println!("\n{table}");
        if let Err(difference) = table::settle(&table, write) {
            println!("not as expected: {difference:#}");
            passed = false;
        }
    }
    for outcome in &outcomes {
        for complaint in &outcome.complaints {
            println!("not as expected on {}: {complaint}", outcome.kernel);
            passed = false;
        }
    }
    Ok(passed)
}

fn boot(row: &Row, kernel: &Path, initramfs: &Path, cache: &Cache) -> Outcome {
    let results = cache
        .empty_folder(&format!("results/service-{}", row.name))
        .and_then(|folder| qemu::boot(kernel, initramfs, &WORDS, SIZE, &folder))
        .map(Results::new);
    let judged = results.and_then(|results| {
        let complaints = check::check(&results)?;
        println!("  systemd-analyze security: {}", results.text("security")?);
        let tries = if results.text("start.status")? == "0" { Some(tries(&results)?) } else { None };
        Ok((complaints, tries))
    });
    let (complaints, tries) = judged.unwrap_or_else(|error| (vec![format!("{error:#}")], None));
    Outcome { kernel: row.kernel.name(), complaints, tries }
}

fn tries(results: &Results) -> anyhow::Result<(Try, Vec<Try>)> {
    let taken = results.taken()?;
    let without = taken.iter().map(|name| results.attempt(name)).collect::<anyhow::Result<_>>()?;
    Ok((results.attempt("unit")?, without))
}
