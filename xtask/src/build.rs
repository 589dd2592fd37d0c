//! Compiles the agent and its plugins, in one way for all who want them: the packages, the tests and the developer.
//!
//! The target is named and the folders of the build leave no trace, so that what the tests of one tier have built the next
//! finds, and that packages can be compared to the byte. What developers build by `cargo build` lies elsewhere.

use crate::run::{cargo, must, workspace};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's profile for what is wanted at once, by `cargo xtask profile` and by the tests: built and linked in little time,
/// with checks of arithmetic.
pub(crate) const QUICK: &str = "quick";
/// Cargo's profile for what is measured: optimised as a release, without the minutes of its linking.
pub(crate) const STAGE: &str = "stage";
/// Cargo's profile for what is given to others.
pub(crate) const RELEASE: &str = "release";

/// Programs and libraries that were built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The agent's binary.
    pub(crate) agent: PathBuf,
    /// The plugins' names and libraries.
    pub(crate) plugins: Vec<(String, PathBuf)>,
}

/// Compiles the agent and the named plugins with a cargo profile.
pub(crate) fn product(profile: &str, plugins: &[String]) -> anyhow::Result<Built> {
    let rust = Rust::ask()?;
    let mut build = rust.cargo(profile, "build")?;
    build.args(["--package", "stacksonde"]);
    for plugin in plugins {
        build.arg("--package").arg(format!("stacksonde-{plugin}"));
    }
    must(&mut build)?;
    let folder = rust.folder(profile);
    let library = |plugin: &str| folder.join(format!("libstacksonde_{}.so", plugin.replace('-', "_")));
    let plugins = plugins.iter().map(|plugin| (plugin.clone(), library(plugin))).collect();
    Ok(Built { agent: folder.join("stacksonde"), plugins })
}

/// Returns a command of cargo for a profile, to which packages are to be added.
pub(crate) fn cargo_in(profile: &str, subcommand: &str) -> anyhow::Result<Command> {
    Rust::ask()?.cargo(profile, subcommand)
}

/// Returns the folder into which cargo puts programs and libraries of a profile.
pub(crate) fn folder(profile: &str) -> anyhow::Result<PathBuf> {
    Ok(Rust::ask()?.folder(profile))
}

/// Returns the plugins of this repository, by the names of their folders.
pub(crate) fn plugins() -> anyhow::Result<Vec<String>> {
    let folder = workspace().join("plugins");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").exists());
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Returns the folder into which cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |folder| workspace().join(folder))
}

/// The compiler.
struct Rust {
    target: String,
    commit: String,
    sysroot: PathBuf,
}

impl Rust {
    fn ask() -> anyhow::Result<Self> {
        let rustc = || Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let said = |arguments: &[&str]| -> anyhow::Result<String> {
            let output = rustc().args(arguments).output().context("cannot run rustc")?;
            if !output.status.success() {
                bail!("rustc {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let version = said(&["-vV"])?;
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Ok(Self {
            target: field("host: ").context("rustc -vV names no host")?,
            commit: field("commit-hash: ").unwrap_or_default(),
            sysroot: PathBuf::from(said(&["--print", "sysroot"])?.trim()),
        })
    }

    /// Returns what [`cargo_in`] does.
    fn cargo(&self, profile: &str, subcommand: &str) -> anyhow::Result<Command> {
        let mut command = cargo();
        command.args([subcommand, "--locked", "--profile", profile, "--target", &self.target]);
        command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", self.flags()?);
        Ok(command)
    }

    /// Returns what [`folder`] does.
    fn folder(&self, profile: &str) -> PathBuf {
        target_folder().join(&self.target).join(profile)
    }

    /// Returns flags for cargo, which keeps them apart by a byte of its own. The names of folders get into messages of
    /// panics, and where they differ, so do the bytes.
    fn flags(&self) -> anyhow::Result<String> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let home = home.context("neither CARGO_HOME nor HOME says where crates are")?;
        let mut flags: Vec<String> = match std::env::var("CARGO_ENCODED_RUSTFLAGS") {
            Ok(flags) => flags.split('\u{1f}').map(str::to_owned).collect(),
            // A distribution's own, such as hardening.
            Err(_) => std::env::var("RUSTFLAGS").unwrap_or_default().split(' ').map(str::to_owned).collect(),
        };
        flags.retain(|flag| !flag.is_empty());
        let sources = self.sysroot.join("lib/rustlib/src/rust");
        for (from, to) in [
            (workspace(), "/usr/src/stacksonde".to_owned()),
            // Wherever it lies; of several that fit, rustc takes the last.
            (target_folder(), "/usr/src/stacksonde/target".to_owned()),
            (home.join("registry/src"), "/usr/src/cargo".to_owned()),
            // What the standard library itself was compiled with.
            (sources, format!("/rustc/{}", self.commit)),
        ] {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        Ok(flags.join("\u{1f}"))
    }
}
