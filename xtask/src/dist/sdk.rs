//! The SDK for plugins: its crates as a workspace of their own, headers, an example.

use super::facts::Facts;
use super::{copy, fill_in, write};
use crate::run::workspace;
use anyhow::Context;
use std::path::Path;

/// The crates, by their folders below `sdk/`.
const CRATES: [&str; 3] = ["abi", "batch", "plugin"];

pub(super) fn fill(tree: &Path, facts: &Facts) -> anyhow::Result<()> {
    let source = workspace();
    let to = tree.join("sdk");
    let mut needs = Vec::new();
    for name in CRATES {
        let manifest = source.join("sdk").join(name).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        needs.extend(
            text.lines().filter_map(|line| line.split_once(".workspace")).map(|(key, _)| key.to_owned()),
        );
        copy(&manifest, &to.join("sdk").join(name).join("Cargo.toml"))?;
        copy(&source.join("sdk").join(name).join("src"), &to.join("sdk").join(name).join("src"))?;
    }
    let root = std::fs::read_to_string(source.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    write(&to.join("Cargo.toml"), &manifest(&root, &needs))?;
    for file in ["LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&source.join(file), &to.join(file))?;
    }
    for header in ["stacksonde_batch.h", "stacksonde_plugin.h"] {
        copy(&source.join("sdk/c").join(header), &tree.join("include").join(header))?;
    }
    copy(&source.join("sdk/c/example"), &tree.join("example"))?;
    // Where plugins are is the distribution's word; it stands until then.
    let template = source.join("packaging/pkg-config/stacksonde-plugin.pc.in");
    fill_in(&template, &tree.join("stacksonde-plugin.pc.in"), &[("ABI", &facts.abi)])
}

/// The root manifest with the SDK's crates alone and what they need.
fn manifest(root: &str, needs: &[String]) -> String {
    let mut section = "";
    let mut is_in_list = false;
    let mut text = String::new();
    for line in root.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        }
        let key = line.split_once([' ', '=']).map_or(line, |(key, _)| key);
        let is_wanted = match section {
            "workspace" => {
                if key == "members" {
                    let members = CRATES.map(|name| format!("\"sdk/{name}\"")).join(", ");
                    text += &format!("members = [{members}]\n");
                }
                let was_in_list = is_in_list;
                is_in_list = (is_in_list || key == "members") && line != "]";
                !was_in_list && key != "members"
            }
            "workspace.dependencies" => line.starts_with('[') || needs.iter().any(|need| need == key),
            "workspace.package" => true,
            // Which warnings our own code must not have concerns nobody else; crates state that they inherit it.
            "workspace.lints.rust" => line.starts_with('['),
            _ => false,
        };
        if is_wanted && !line.is_empty() {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_sdk_and_what_it_needs_alone() {
        let root = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
        let text = manifest(&root, &["serde".into(), "stacksonde-abi".into()]);
        let table: Vec<&str> = text.lines().collect();
        assert_eq!(
            table[..3],
            ["[workspace]", "resolver = \"3\"", "members = [\"sdk/abi\", \"sdk/batch\", \"sdk/plugin\"]"]
        );
        assert!(text.contains("[workspace.package]\nversion = "), "{text}");
        assert!(
            text.contains("\nserde = ") && text.contains("\nstacksonde-abi = { path = \"sdk/abi\""),
            "{text}"
        );
        assert!(!text.contains("clap") && !text.contains("profile") && !text.contains("otlp"), "{text}");
    }
}
