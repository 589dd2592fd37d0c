//! `cargo xtask dist`: Debian and RPM packages of the agent, of each plugin, and of what plugins are written with.
//!
//! Everything is compiled and put into one tree of files first; then the distributions' own tools (debhelper,
//! rpmbuild) make packages of it, by what is written in `packaging/`. None of it needs root. Two builds of the same
//! sources give the same bytes, wherever they are done.

mod compile;
mod deb;
mod facts;
mod licences;
mod rpm;
mod sdk;
mod tree;

use crate::install;
use crate::run::must;
use anyhow::{Context, bail};
use facts::Facts;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The options of a build of packages.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Cargo's profile; `release` for what is given to others.
    pub(crate) profile: String,
    /// Counts packages of one version: Debian's revision, RPM's release.
    pub(crate) revision: u32,
    /// The folder for packages; those that are there already are replaced.
    pub(crate) folder: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: crate::build::RELEASE.into(),
            revision: 1,
            folder: crate::build::target_folder().join("dist"),
        }
    }
}

/// `cargo xtask dist`
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = parse(arguments)?;
    for package in build(&options)? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag} takes a value"));
        match flag.as_str() {
            "--profile" => value?.clone_into(&mut options.profile),
            "--out" => options.folder = std::path::absolute(value?)?,
            "--revision" => {
                let value = value?;
                options.revision =
                    value.parse().with_context(|| format!("--revision takes a number, not `{value}`"))?;
            }
            other => bail!("`{other}` is not an argument of dist; it takes --profile, --revision and --out"),
        }
    }
    Ok(options)
}

/// Builds all packages, and returns their files.
pub(crate) fn build(options: &Options) -> anyhow::Result<Vec<PathBuf>> {
    install::ensure(install::BUILD)?;
    install::ensure(install::DIST)?;
    let facts = Facts::gather(options.revision)?;
    let compiled = compile::compile(&options.profile, &facts)?;
    std::fs::create_dir_all(&options.folder)
        .with_context(|| format!("cannot make {}", options.folder.display()))?;
    remove_packages(&options.folder)?;
    let work = crate::build::target_folder().join("dist-work");
    let tree = empty(&work.join("tree"))?;
    tree::fill(&tree, &compiled, &facts)?;
    deb::build(&tree, &empty(&work.join("deb"))?, &facts, &options.folder)?;
    rpm::build(&tree, &empty(&work.join("rpm"))?, &facts, &options.folder)?;
    let packages = packages(&options.folder)?;
    let names: Vec<_> = packages.iter().filter_map(|package| package.file_name()).collect();
    let sums = Command::new("sha256sum").current_dir(&options.folder).args(&names).output();
    let sums = sums.context("cannot run sha256sum")?;
    std::fs::write(options.folder.join("SHA256SUMS"), sums.stdout).context("cannot write SHA256SUMS")?;
    Ok(packages)
}

/// The packages in a folder, by name.
pub(crate) fn packages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut packages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    packages.retain(|path| path.extension().is_some_and(|kind| kind == "deb" || kind == "rpm"));
    packages.sort();
    Ok(packages)
}

fn remove_packages(folder: &Path) -> anyhow::Result<()> {
    for package in packages(folder)? {
        std::fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
    }
    Ok(())
}

/// A folder with nothing in it.
fn empty(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// Copies a file, or a folder with all that is in it; folders on the way are made.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    must(Command::new("cp").args(["-rT", "--"]).arg(from).arg(to))
}

/// Reads a text, puts what is known into the place of `@WORDS@`, and writes it.
fn fill_in(from: &Path, to: &Path, words: &[(&str, &str)]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let text = words.iter().fold(text, |text, (word, value)| text.replace(&format!("@{word}@"), value));
    write(to, &text)
}

fn write(to: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))
}

/// Returns the output of a command.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
