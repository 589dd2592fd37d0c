//! Everything that is in packages, in one folder, by what it is; `packaging/` says where it goes.

use super::compile::Compiled;
use super::facts::Facts;
use super::{copy, licences, sdk};
use crate::run::workspace;
use std::path::Path;

/// Guides that packages have.
const GUIDES: [&str; 11] = [
    "doctor-json.md",
    "kernel-support.md",
    "operating.md",
    "otlp-export.md",
    "outputs.md",
    "packaging.md",
    "plugin-abi.md",
    "plugin-security.md",
    "security.md",
    "terminal.md",
    "writing-a-plugin.md",
];

/// Fills `tree`.
pub(super) fn fill(tree: &Path, compiled: &Compiled, facts: &Facts) -> anyhow::Result<()> {
    let source = workspace();
    copy(&compiled.stripped.agent, &tree.join("bin/stacksonde"))?;
    for (plugin, library) in &compiled.stripped.plugins {
        copy(library, &tree.join("plugins").join(plugin).with_extension("so"))?;
    }
    copy(&compiled.pages.join("man"), &tree.join("man"))?;
    let completions = compiled.pages.join("completions");
    // Each shell finds them by its own naming.
    for (from, to) in [
        ("stacksonde.bash", "stacksonde"),
        ("_stacksonde", "_stacksonde"),
        ("stacksonde.fish", "stacksonde.fish"),
    ] {
        copy(&completions.join(from), &tree.join("completions").join(to))?;
    }
    copy(&source.join("config"), &tree.join("config"))?;
    copy(&source.join("packaging/systemd"), &tree.join("systemd"))?;
    for guide in GUIDES {
        copy(&source.join("docs").join(guide), &tree.join("docs").join(guide))?;
    }
    for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "LICENSE-GPL-2.0"] {
        copy(&source.join(file), &tree.join(file))?;
    }
    sdk::fill(tree, facts)?;
    let plugins: Vec<&str> = compiled.stripped.plugins.iter().map(|(name, _)| name.as_str()).collect();
    licences::fill(&tree.join("licences"), &plugins)
}
