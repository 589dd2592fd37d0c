//! Builds the agent and its plugins, and installs the plugins where the agent accepts them.
//!
//! The agent loads no plugin that others than root could have changed, and a checkout usually
//! belongs to its developer. So plugins go into a folder of root's, with a config that names it;
//! no development override is needed.

use crate::install;
use crate::run::{as_root, cargo, must, workspace};
use anyhow::Context;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where everything is.
pub(crate) struct Stage {
    /// The agent's binary, in the target folder.
    pub(crate) agent: PathBuf,
    /// The config that names the installed plugins.
    pub(crate) config: PathBuf,
}

/// `cargo xtask stage`
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let stage = build("release")?;
    println!("{} --config {}", stage.agent.display(), stage.config.display());
    Ok(ExitCode::SUCCESS)
}

/// What was built, in the target folder.
pub(crate) struct Built {
    /// The agent's binary.
    pub(crate) agent: PathBuf,
    /// The plugins' names and libraries.
    pub(crate) plugins: Vec<(String, PathBuf)>,
}

/// Builds agent and plugins with a cargo profile.
pub(crate) fn compile(profile: &str) -> anyhow::Result<Built> {
    install::ensure(install::BUILD)?;
    let plugins = plugins()?;
    let mut build = cargo();
    build.args(["build", "--quiet", "--profile", profile, "--package", "stacksonde"]);
    for plugin in &plugins {
        build.arg("--package").arg(format!("stacksonde-{plugin}"));
    }
    must(&mut build)?;
    let folder = target_folder().join(profile);
    let library = |plugin: &str| folder.join(format!("libstacksonde_{}.so", plugin.replace('-', "_")));
    let plugins = plugins.into_iter().map(|plugin| (plugin.clone(), library(&plugin))).collect();
    Ok(Built { agent: folder.join("stacksonde"), plugins })
}

/// Builds with a cargo profile and installs the plugins.
pub(crate) fn build(profile: &str) -> anyhow::Result<Stage> {
    let built = compile(profile)?;
    let folder = folder(profile);
    let installed = folder.join("plugins-1");
    must(
        as_root("install")?
            .args(["-d", "-m", "0755", "-o", "root", "-g", "root"])
            .arg(&folder)
            .arg(&installed),
    )?;
    for (plugin, library) in &built.plugins {
        put(library, &installed.join(format!("{plugin}.so")))?;
    }
    let config = folder.join("stage.toml");
    let draft = built.agent.with_file_name("stage.toml");
    let text = format!("[plugins]\ndirectories = [\"{}\"]\n", installed.display());
    std::fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    put(&draft, &config)?;
    Ok(Stage { agent: built.agent, config })
}

/// A file of root's that only root can change. It is replaced, not rewritten: an agent may have it loaded.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    must(as_root("install")?.args(["-m", "0644", "-o", "root", "-g", "root", "-T"]).arg(from).arg(to))
}

/// The plugins of this repository, by the names of their folders.
pub(crate) fn plugins() -> anyhow::Result<Vec<String>> {
    let folder = workspace().join("plugins");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").exists());
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |folder| workspace().join(folder))
}

/// One folder a checkout and profile, so that two do not mix.
fn folder(profile: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (workspace(), profile).hash(&mut hasher);
    Path::new("/var/cache/stacksonde-dev").join(format!("{:016x}", hasher.finish()))
}
