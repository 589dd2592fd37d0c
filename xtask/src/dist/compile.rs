//! Compiles what is packaged, so that the folders of the build leave no trace.

use super::facts::Facts;
use crate::run::{cargo, must, workspace};
use crate::stage::{plugins, target_folder};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    /// The agent's binary.
    pub(super) agent: PathBuf,
    /// The plugins' names and libraries.
    pub(super) plugins: Vec<(String, PathBuf)>,
    /// Manual pages and completions (`host/examples/pages`).
    pub(super) pages: PathBuf,
}

/// Compiles agent and plugins with a profile, and renders their pages.
///
/// The target is named, so that flags are not those of build scripts, and that this and what developers build in the
/// same target folder do not displace each other.
pub(super) fn compile(profile: &str, facts: &Facts) -> anyhow::Result<Built> {
    let rust = Rust::ask()?;
    let plugins = plugins()?;
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--profile", profile, "--target", &rust.target]);
    build.args(["--package", "stacksonde"]);
    for plugin in &plugins {
        build.arg("--package").arg(format!("stacksonde-{plugin}"));
    }
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", rust.flags()?);
    // Packages have no symbols but those that are linked to.
    let strip = format!("CARGO_PROFILE_{}_STRIP", profile.to_uppercase().replace('-', "_"));
    must(build.env(strip, "symbols"))?;

    let pages = super::empty(&target_folder().join("dist-work/pages"))?;
    let mut render = cargo();
    render.args(["run", "--quiet", "--locked", "--package", "stacksonde", "--example", "pages", "--"]);
    must(render.arg(&pages).env("SOURCE_DATE_EPOCH", facts.epoch.to_string()))?;

    let folder = target_folder().join(&rust.target).join(profile);
    let library = |plugin: &str| folder.join(format!("libstacksonde_{}.so", plugin.replace('-', "_")));
    let plugins = plugins.into_iter().map(|plugin| (plugin.clone(), library(&plugin))).collect();
    Ok(Built { agent: folder.join("stacksonde"), plugins, pages })
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

    /// Flags for cargo, which keeps them apart by a byte of its own. The names of folders get into messages of panics,
    /// and where they differ, so do the bytes.
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
            (home.join("registry/src"), "/usr/src/cargo".to_owned()),
            // What the standard library itself was compiled with.
            (sources, format!("/rustc/{}", self.commit)),
        ] {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        Ok(flags.join("\u{1f}"))
    }
}
