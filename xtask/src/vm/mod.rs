//! `cargo xtask vm`: other kernels, each booted under QEMU with the agent in it.
//!
//! Kernels come from Debian's packages and from Debian's source (`stock`, `own`), a guest is busybox,
//! the agent and its plugins (`initramfs`, `guest-init.sh`), what is to come out of it stands in
//! `rows`, and `check` compares. No part of it needs root, nor a CPU with virtualization.

mod archive;
mod cache;
mod check;
mod initramfs;
mod lock;
mod own;
mod qemu;
mod results;
mod rows;
pub(crate) mod service;
mod side_by_side;
mod stock;
mod table;

use crate::build::{self, Built, QUICK};
use crate::install;
use anyhow::bail;
use cache::Cache;
use check::Outcome;
use lock::Lock;
use rows::{Kernel, ROWS, Row};
use side_by_side::Job;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread::ScopedJoinHandle;

/// The arguments of the command.
#[derive(Debug, Default)]
struct Arguments {
    /// All rows, and the document is written again.
    all: bool,
    /// These rows only.
    named: Vec<String>,
}

/// `cargo xtask vm [--all] [ROW]...`
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let arguments = parse(arguments)?;
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| arguments.chooses(row)).collect();
    let setup = Setup::new()?;
    let matrix = Matrix::new(rows, &setup)?;
    side_by_side::boot(matrix.jobs(&setup.cache).collect())?;
    let passed = matrix.report(arguments.all)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fetches and builds what the tier `vm` boots and what does not depend on the checkout: kernels, and a root of Debian.
/// It needs neither the agent nor root, and can run beside other tiers: it compiles at a low priority.
pub(crate) fn prepare_for_ci() -> anyhow::Result<()> {
    install::ensure(install::VM)?;
    let cache = Cache::open()?;
    let _lock = Lock::take(&cache)?;
    prepare(&in_ci(), true, &cache).map(drop)
}

/// The tier `vm` of `cargo xtask test`: the rows that CI boots, or all of them, and the service.
pub(crate) fn tier(full: bool) -> anyhow::Result<bool> {
    prepare_for_ci()?;
    let setup = Setup::new()?;
    let service = service::Service::new(&setup)?;
    let matrix = Matrix::new(if full { ROWS.iter().collect() } else { in_ci() }, &setup)?;
    // Those that take longest come first.
    side_by_side::boot(service.jobs(&setup.cache).chain(matrix.jobs(&setup.cache)).collect())?;
    let service = service.report(false);
    Ok(matrix.report(full)? && service)
}

fn in_ci() -> Vec<&'static Row> {
    ROWS.iter().filter(|row| row.in_ci).collect()
}

impl Arguments {
    fn chooses(&self, row: &Row) -> bool {
        if self.named.is_empty() { self.all || row.in_ci } else { self.named.iter().any(|n| n == row.name) }
    }
}

fn parse(arguments: &[String]) -> anyhow::Result<Arguments> {
    let mut parsed = Arguments::default();
    for argument in arguments {
        if argument == "--all" {
            parsed.all = true;
        } else if ROWS.iter().any(|row| row.name == argument) {
            parsed.named.push(argument.clone());
        } else {
            let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            bail!("`{argument}` is not an argument of vm; it takes --all, or rows: {}", names.join(", "));
        }
    }
    if parsed.all && !parsed.named.is_empty() {
        bail!("--all is all rows: name none besides");
    }
    Ok(parsed)
}

/// The parts that all guests share.
struct Setup {
    built: Built,
    cache: Cache,
    _lock: Lock,
}

impl Setup {
    fn new() -> anyhow::Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("the guests are x86-64, and the agent in them is the one built here");
        }
        install::ensure(install::VM)?;
        // The kernel tier has built it already.
        let built = build::product(QUICK, &build::plugins()?)?;
        let cache = Cache::open()?;
        let lock = Lock::take(&cache)?;
        Ok(Self { built, cache, _lock: lock })
    }
}

/// Rows that are booted, and what comes out.
struct Matrix {
    rows: Vec<&'static Row>,
    kernels: Vec<PathBuf>,
    initramfs: PathBuf,
    outcomes: Vec<OnceLock<Outcome>>,
}

impl Matrix {
    fn new(rows: Vec<&'static Row>, setup: &Setup) -> anyhow::Result<Self> {
        let kernels = prepare(&rows, false, &setup.cache)?;
        let initramfs = initramfs::build(&setup.built, &setup.cache.folder("guest")?)?;
        let outcomes = rows.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { rows, kernels, initramfs, outcomes })
    }

    fn jobs<'a>(&'a self, cache: &'a Cache) -> impl Iterator<Item = Job<'a>> {
        let each = self.rows.iter().zip(&self.kernels).zip(&self.outcomes);
        each.map(move |((row, kernel), outcome)| Job {
            title: format!("{}: {}, {}", row.name, row.kernel.name(), row.configuration),
            memory_mib: MEMORY_MIB,
            boot: Box::new(move || {
                let booted = boot(row, kernel, &self.initramfs, cache);
                outcome.get_or_init(|| booted).complaints.clone()
            }),
        })
    }

    /// Prints the table, and tells by whether every row is as expected. Of all rows the document is written, too.
    fn report(self, all: bool) -> anyhow::Result<bool> {
        let outcomes: Vec<_> = self.outcomes.into_iter().filter_map(OnceLock::into_inner).collect();
        println!("\n{}", table::render(&outcomes));
        let failed = outcomes.iter().filter(|outcome| !outcome.complaints.is_empty()).count();
        for outcome in &outcomes {
            say_complaints(outcome.row.name, &outcome.complaints);
        }
        println!("kernels: {} as expected, {failed} not", outcomes.len() - failed);
        if all && failed == 0 {
            println!("wrote {}", table::write(&outcomes)?.display());
        } else if all {
            println!("{} stays as it is: not every row is as expected", table::DOCUMENT);
        }
        Ok(failed == 0)
    }
}

/// The image of each row's kernel, and a root of Debian where it is wanted; those that are missing are fetched or built,
/// at the same time: some wait for the network, others for the compiler.
fn prepare(rows: &[&Row], debian: bool, cache: &Cache) -> anyhow::Result<Vec<PathBuf>> {
    std::thread::scope(|scope| {
        let debian = debian.then(|| scope.spawn(|| service::debian(cache)));
        let images = images(rows, cache);
        debian.map(joined).transpose()?;
        images
    })
}

fn images(rows: &[&Row], cache: &Cache) -> anyhow::Result<Vec<PathBuf>> {
    let archive = archive::Archive::open(cache)?;
    let stock = |row: &&Row| match &row.kernel {
        Kernel::Stock(stock) => stock::image(stock, &archive, cache).map(Some),
        Kernel::Own(_) => Ok(None),
    };
    let own = |row: &&Row| match &row.kernel {
        Kernel::Own(own) => own::image(own, row.name, &archive, cache).map(Some),
        Kernel::Stock(_) => Ok(None),
    };
    std::thread::scope(|scope| {
        let stock = scope.spawn(|| rows.iter().map(stock).collect::<anyhow::Result<Vec<_>>>());
        let own = rows.iter().map(own).collect::<anyhow::Result<Vec<_>>>();
        Ok(joined(stock)?.into_iter().zip(own?).filter_map(|(stock, own)| stock.or(own)).collect())
    })
}

/// Says the first lines of complaints once more, at the end, where whoever looks for what failed looks first.
fn say_complaints(guest: &str, complaints: &[String]) {
    for complaint in complaints.iter().filter_map(|complaint| complaint.lines().next()) {
        println!("not as expected: {guest}: {complaint}");
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Of a guest that is busybox and the agent.
const MEMORY_MIB: u64 = 512;

fn boot(row: &'static Row, kernel: &Path, initramfs: &Path, cache: &Cache) -> Outcome {
    let guest = qemu::Guest { kernel, initramfs, words: row.guest, memory_mib: MEMORY_MIB };
    let results = cache
        .empty_folder(&format!("results/{}", row.name))
        .and_then(|folder| qemu::boot(&guest, &folder))
        .and_then(|guest| results::read(&guest));
    match results {
        Ok(results) => check::check(row, results),
        Err(error) => Outcome { row, results: None, complaints: vec![format!("{error:#}")] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_rows_by_name_and_names_those_that_there_are() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let one = parse(&words(&["stock-6.1"])).unwrap();
        assert_eq!(ROWS.iter().filter(|row| one.chooses(row)).count(), 1);
        let none = parse(&[]).unwrap();
        assert!(ROWS.iter().all(|row| none.chooses(row) == row.in_ci));
        let error = parse(&words(&["stock"])).unwrap_err().to_string();
        assert!(error.contains("stock-6.1"), "{error}");
        assert!(parse(&words(&["--all", "stock-6.1"])).is_err());
    }
}
