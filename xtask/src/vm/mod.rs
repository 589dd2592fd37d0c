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
mod stock;
mod table;

use crate::build::{self, QUICK};
use crate::install;
use anyhow::bail;
use cache::Cache;
use check::Outcome;
use rows::{Kernel, ROWS, Row};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The arguments of the command.
#[derive(Debug, Default)]
struct Arguments {
    /// All rows, and the document is written anew.
    all: bool,
    /// These rows only.
    named: Vec<String>,
}

/// `cargo xtask vm [--all] [ROW]...`
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let arguments = parse(arguments)?;
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| arguments.chooses(row)).collect();
    let outcomes = boot_all(&rows)?;
    let passed = outcomes.iter().all(|outcome| outcome.complaints.is_empty());
    if arguments.all && passed {
        let document = crate::run::workspace().join(table::DOCUMENT);
        table::write(&document, &outcomes)?;
        println!("wrote {}", document.display());
    } else if arguments.all {
        println!("{} stays as it is: not every row is as expected", table::DOCUMENT);
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tier `vm` of `cargo xtask test`: the rows that CI has time for.
pub(crate) fn tier(_full: bool) -> anyhow::Result<bool> {
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| row.in_ci).collect();
    let outcomes = boot_all(&rows)?;
    let service = service::tier()?;
    Ok(service && outcomes.iter().all(|outcome| outcome.complaints.is_empty()))
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

/// Boots the rows one after the other and says of each how it went; in the end, the table.
fn boot_all(rows: &[&'static Row]) -> anyhow::Result<Vec<Outcome>> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the matrix is of x86-64 kernels, and the agent in it is the one built here");
    }
    install::ensure(install::VM)?;
    // The kernel tier has built it already.
    let built = build::product(QUICK, &build::plugins()?)?;
    let cache = Cache::open()?;
    let _lock = lock::Lock::take(&cache)?;
    let initramfs = initramfs::build(&built, &cache.folder("guest")?)?;
    let kernels = prepare(rows, &cache)?;
    let mut outcomes = Vec::new();
    for (row, kernel) in rows.iter().zip(kernels) {
        let start = Instant::now();
        println!("booting {}: {}, {}", row.name, row.kernel.name(), row.configuration);
        let outcome = boot(row, &kernel, &initramfs, &cache);
        println!("  ended after {} s", start.elapsed().as_secs());
        for complaint in &outcome.complaints {
            println!("  not as expected: {complaint}");
        }
        outcomes.push(outcome);
    }
    println!("\n{}", table::render(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.complaints.is_empty()).count();
    println!("kernels: {} as expected, {failed} not", outcomes.len() - failed);
    Ok(outcomes)
}

/// The image of each row's kernel; those that are missing are fetched or built.
fn prepare(rows: &[&Row], cache: &Cache) -> anyhow::Result<Vec<PathBuf>> {
    let archive = archive::Archive::open(cache)?;
    rows.iter()
        .map(|row| match &row.kernel {
            Kernel::Stock(stock) => stock::image(stock, &archive, cache),
            Kernel::Own(own) => own::image(own, row.name, &archive, cache),
        })
        .collect()
}

fn boot(row: &'static Row, kernel: &Path, initramfs: &Path, cache: &Cache) -> Outcome {
    let results = cache
        .empty_folder(&format!("results/{}", row.name))
        .and_then(|folder| qemu::boot(kernel, initramfs, row.guest, qemu::Size::SMALL, &folder))
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
