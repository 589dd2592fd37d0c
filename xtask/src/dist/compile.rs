//! Compiles what is packaged, strips it, and renders its pages.

use super::facts::Facts;
use crate::build::{self, Built, target_folder};
use crate::run::must;
use std::path::PathBuf;
use std::process::Command;

/// The compiled files that packages hold.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Agent and plugins, without symbols but those that are linked to.
    pub(super) stripped: Built,
    /// Manual pages and completions (`host/examples/pages`).
    pub(super) pages: PathBuf,
}

/// Compiles agent and plugins with a profile, and renders their pages.
pub(super) fn compile(profile: &str, facts: &Facts) -> anyhow::Result<Compiled> {
    let built = build::product(profile, &build::plugins()?)?;
    let folder = super::empty(&target_folder().join("dist-work/stripped"))?;
    // Stripped in a copy: tests of the same build profile the agent by its symbols.
    let strip = |file: PathBuf| -> anyhow::Result<PathBuf> {
        let to = file.file_name().map_or_else(|| folder.clone(), |name| folder.join(name));
        must(Command::new("strip").arg("--strip-all").arg("-o").arg(&to).arg(&file))?;
        Ok(to)
    };
    let plugins = built.plugins.into_iter().map(|(name, library)| Ok((name, strip(library)?)));
    let plugins = plugins.collect::<anyhow::Result<_>>()?;
    let stripped = Built { agent: strip(built.agent)?, plugins };

    let pages = super::empty(&target_folder().join("dist-work/pages"))?;
    let mut render = build::cargo_in(build::QUICK, "run")?;
    render.args(["--quiet", "--package", "stacksonde", "--example", "pages", "--"]);
    must(render.arg(&pages).env("SOURCE_DATE_EPOCH", facts.epoch.to_string()))?;
    Ok(Compiled { stripped, pages })
}
