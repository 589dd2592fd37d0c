//! Facts that packages state: versions, from the manifests that have them, and the time of the sources.

use crate::run::{cargo, workspace};
use anyhow::{Context, bail};
use serde_json::Value;
use std::process::Command;

/// Facts that packages state.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Version of the workspace: `0.1.0`.
    pub(super) version: String,
    /// Debian's revision, RPM's release.
    pub(super) revision: u32,
    /// Version of the plugin ABI: `1.0`.
    pub(super) abi: String,
    /// Time of the sources, in seconds since 1970: nothing in a package is younger.
    pub(super) epoch: i64,
}

impl Facts {
    /// From cargo's manifests, and git or `SOURCE_DATE_EPOCH`.
    pub(super) fn gather(revision: u32) -> anyhow::Result<Self> {
        let metadata = metadata(&["--no-deps"])?;
        let abi = version_of(&metadata, "stacksonde-abi")?;
        let (abi, _patch) = abi.rsplit_once('.').context("the version of stacksonde-abi has three parts")?;
        if !abi.starts_with("1.") {
            bail!(
                "the plugin ABI is {abi} now, and names on disk and of packages say 1 (plugins-1, \
                 stacksonde-plugin-abi-1): change packaging/ and the host's default folder first"
            );
        }
        Ok(Self {
            version: version_of(&metadata, "stacksonde")?,
            revision,
            abi: abi.into(),
            epoch: source_date()?,
        })
    }

    /// The time of the sources, by a format of `date`.
    pub(super) fn date(&self, format: &str) -> anyhow::Result<String> {
        let time = format!("@{}", self.epoch);
        super::said(Command::new("date").args(["-u", "-d", &time, format]).env("LC_ALL", "C"))
    }
}

/// Returns the output of `cargo metadata`.
pub(super) fn metadata(arguments: &[&str]) -> anyhow::Result<Value> {
    let mut ask = cargo();
    ask.args(["metadata", "--format-version", "1", "--locked"]).args(arguments);
    let output = ask.output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")
}

fn version_of(metadata: &Value, name: &str) -> anyhow::Result<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.into_iter().find(|package| package["name"] == name);
    let version = package.and_then(|package| package["version"].as_str());
    version.map(str::to_owned).with_context(|| format!("the workspace has no package {name}"))
}

/// `SOURCE_DATE_EPOCH` if it is set, as reproducible-builds.org has it, else the time of the last commit.
fn source_date() -> anyhow::Result<i64> {
    const HINT: &str = "set SOURCE_DATE_EPOCH to the time of the sources, in seconds since 1970";
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) {
        let text = text.to_string_lossy();
        return text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`: {HINT}"));
    }
    let mut git = Command::new("git");
    let output = git.current_dir(workspace()).args(["log", "-1", "--format=%ct"]).output();
    let output = output.with_context(|| format!("cannot ask git when the last commit was made: {HINT}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("git does not say when the last commit was made ({}): {HINT}", said.trim())
    })
}
