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
use super::rows::{ROWS, Row};
use super::side_by_side::{self, Job};
use super::{Setup, prepare, qemu};
use anyhow::bail;
use results::{Results, Try};
pub(super) use root::debian;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Kernels, by the rows of the matrix.
const KERNELS: [&str; 2] = ["stock-5.10", "stock-sid"];

/// Debian lies in the guest's memory.
const MEMORY_MIB: u64 = 1280;

/// Words for systemd: units that it starts besides, or leaves out. Fewer messages: an emulated serial port is slow.
const WORDS: [&str; 5] = [
    "systemd.wants=stacksonde-test.service",
    "systemd.mask=serial-getty@ttyS0.service",
    // Nothing was updated: indexes are as the packages made them.
    "systemd.condition_needs_update=no",
    "systemd.show_status=no",
    "loglevel=4",
];

/// The results on one kernel.
struct Outcome {
    kernel: &'static str,
    complaints: Vec<String>,
    /// The attempt with all of the unit's rights, and those without each.
    tries: Option<(Try, Vec<Try>)>,
}

/// `cargo xtask systemd [--write]`
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let write = match arguments {
        [] => false,
        [flag] if flag == "--write" => true,
        other => bail!("`{}` is not an argument of systemd; it takes --write", other.join(" ")),
    };
    let setup = Setup::new()?;
    let service = Service::new(&setup)?;
    side_by_side::boot(service.jobs(&setup.cache).collect())?;
    Ok(if service.report(write) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The guests, and what comes out.
pub(super) struct Service {
    rows: Vec<&'static Row>,
    kernels: Vec<PathBuf>,
    initramfs: PathBuf,
    outcomes: Vec<OnceLock<Outcome>>,
}

impl Service {
    pub(super) fn new(setup: &Setup) -> anyhow::Result<Self> {
        let rows: Vec<_> =
            KERNELS.iter().filter_map(|name| ROWS.iter().find(|row| row.name == *name)).collect();
        let kernels = prepare(&rows, true, &setup.cache)?;
        let initramfs = root::build(&setup.built, &setup.cache)?;
        let outcomes = rows.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { rows, kernels, initramfs, outcomes })
    }

    pub(super) fn jobs<'a>(&'a self, cache: &'a Cache) -> impl Iterator<Item = Job<'a>> {
        let each = self.rows.iter().zip(&self.kernels).zip(&self.outcomes);
        each.map(move |((row, kernel), outcome)| Job {
            title: format!("Debian with the service: {}", row.kernel.name()),
            memory_mib: MEMORY_MIB,
            boot: Box::new(move || {
                let booted = boot(row, kernel, &self.initramfs, cache);
                outcome.get_or_init(|| booted).complaints.clone()
            }),
        })
    }

    /// Prints the table, and writes the document or compares with it; returns whether all is as expected.
    pub(super) fn report(self, write: bool) -> bool {
        let outcomes: Vec<_> = self.outcomes.into_iter().filter_map(OnceLock::into_inner).collect();
        let mut passed = outcomes.iter().all(|outcome| outcome.complaints.is_empty());
        let tries: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.tries.as_ref()).collect();
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
            super::say_complaints(outcome.kernel, &outcome.complaints);
        }
        passed
    }
}

fn boot(row: &Row, kernel: &Path, initramfs: &Path, cache: &Cache) -> Outcome {
    let guest = qemu::Guest { kernel, initramfs, words: &WORDS, memory_mib: MEMORY_MIB };
    let results = cache
        .empty_folder(&format!("results/service-{}", row.name))
        .and_then(|folder| qemu::boot(&guest, &folder))
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
