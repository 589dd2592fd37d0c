//! Builds the agent and its plugins, and installs the plugins where the agent accepts them.
//!
//! The agent loads no plugin that others than root could have changed, and a checkout usually
//! belongs to its developer. So plugins go into a folder of root's, with a config that names it;
//! no development override is needed.

use crate::build::{self, Built, STAGE};
use crate::install;
use crate::run::{as_root, must, workspace};
use anyhow::Context;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The paths of everything.
pub(crate) struct Stage {
    /// The agent's binary, in the target folder.
    pub(crate) agent: PathBuf,
    /// The config that names the installed plugins.
    pub(crate) config: PathBuf,
}

/// `cargo xtask stage`
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let stage = build(STAGE)?;
    println!("{} --config {}", stage.agent.display(), stage.config.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds agent and all plugins with a cargo profile and installs the plugins.
pub(crate) fn build(profile: &str) -> anyhow::Result<Stage> {
    install::ensure(install::BUILD)?;
    put(profile, &build::product(profile, &build::plugins()?)?)
}

/// Installs plugins that were built with a cargo profile; those of an earlier build go.
pub(crate) fn put(profile: &str, built: &Built) -> anyhow::Result<Stage> {
    let folder = folder(profile);
    let installed = folder.join("plugins-1");
    must(as_root("rm")?.arg("-rf").arg(&installed))?;
    must(
        as_root("install")?
            .args(["-d", "-m", "0755", "-o", "root", "-g", "root"])
            .arg(&folder)
            .arg(&installed),
    )?;
    for (plugin, library) in &built.plugins {
        replace(library, &installed.join(format!("{plugin}.so")))?;
    }
    let config = folder.join("stage.toml");
    let draft = built.agent.with_file_name("stage.toml");
    let text = format!("[plugins]\ndirectories = [\"{}\"]\n", installed.display());
    std::fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    replace(&draft, &config)?;
    Ok(Stage { agent: built.agent.clone(), config })
}

/// A file of root's that only root can change. It is replaced, not rewritten: an agent may have it loaded.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    must(as_root("install")?.args(["-m", "0644", "-o", "root", "-g", "root", "-T"]).arg(from).arg(to))
}

/// One folder a checkout and profile, so that two do not mix.
fn folder(profile: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (workspace(), profile).hash(&mut hasher);
    Path::new("/var/cache/stacksonde-dev").join(format!("{:016x}", hasher.finish()))
}
