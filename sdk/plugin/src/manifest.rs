//! The manifest of a plugin: read before any of its code runs.

use serde::{Deserialize, Serialize};

pub use crate::note::TARGET;

/// Owner of the ELF note that carries a manifest.
pub const OWNER: &str = "Stacksonde";
/// Type of that note: JSON for a plugin written with this SDK.
pub const NOTE_KIND: u32 = 1;
/// Type of that note for a plugin through the C door: the same JSON.
pub const C_NOTE_KIND: u32 = 2;
/// Version of the shape of a manifest.
pub const SCHEMA: &str = "1";

/// A plugin's manifest: facts of its build, and what its author states in `plugin.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this shape: 1.
    pub schema: u32,
    /// The part that the compiler states.
    pub build: Build,
    /// The part that the author states.
    pub plugin: Stated,
}

impl Manifest {
    /// The plugin's version: as stated, or else its crate's.
    pub fn version(&self) -> &str {
        self.plugin.version.as_deref().unwrap_or(&self.build.version)
    }
}

/// Facts of the build, filled in by `export_plugin!`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// ABI that it was built against, major and minor: `"1.0"`.
    pub abi: String,
    /// Target: `"x86_64-linux-gnu"`.
    pub target: String,
    /// The effect of a panic: `"unwind"`.
    pub panic: String,
    /// Roles: `"exporter"`, `"offset-provider"`, `"safety-check"`.
    pub kinds: Vec<String>,
    /// Version of the plugin's crate.
    pub version: String,
    /// The symbol that the host looks up.
    pub entry: String,
}

/// The part that the author states in `plugin.json`. Unknown keys are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stated {
    /// Name, as the configuration and the file name have it: `"file-export"`.
    pub name: String,
    /// Version; the crate's if it is not stated.
    #[serde(default)]
    pub version: Option<String>,
    /// Licence, as an SPDX expression.
    #[serde(alias = "licence")]
    pub license: String,
    /// One sentence on what it does.
    #[serde(default)]
    pub description: String,
    /// Facts or hazards that it can answer for.
    #[serde(default)]
    pub provides: Vec<String>,
    /// Capabilities without which it need not be loaded.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Batch formats that it reads, best first; none for a plugin that is not an exporter.
    #[serde(default)]
    pub batch_formats: Vec<String>,
    /// JSON Schema of an instance's configuration; `None` for a plugin without one.
    #[serde(default)]
    pub config_schema: Option<serde_json::Value>,
}
