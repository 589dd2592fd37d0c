//! The licences of the crates that are linked into each package's files. Most ask for their text to go with it.

use super::{facts, write};
use anyhow::Context;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Writes a file for each package: which crates are in it, and the texts that come with them, each once.
pub(super) fn fill(folder: &Path, plugins: &[&str]) -> anyhow::Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = facts::metadata(&["--filter-platform", &target])?;
    let names = plugins.iter().map(|plugin| format!("stacksonde-{plugin}"));
    for name in names.chain(["stacksonde".to_owned()]) {
        write(&folder.join(&name), &text(&metadata, &name)?)?;
    }
    Ok(())
}

fn text(metadata: &Value, name: &str) -> anyhow::Result<String> {
    let list = |key: &str| metadata[key].as_array().into_iter().flatten();
    let packages: BTreeMap<&str, &Value> =
        list("packages").filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let nodes: BTreeMap<&str, &Value> = nodes.filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let root = packages.iter().find(|(_, package)| package["name"] == name).map(|(id, _)| *id);
    let linked = linked(&nodes, root.with_context(|| format!("the workspace has no package {name}"))?);

    let mut crates: Vec<&Value> = linked.iter().filter_map(|id| packages.get(id).copied()).collect();
    // Our own, without a registry, are under the licence of the package.
    crates.retain(|package| package["source"].is_string());
    crates.sort_by_key(|package| (package["name"].as_str(), package["version"].as_str()));
    let mut head = format!("Libraries written in Rust that are linked into the files of {name}:\n\n");
    let mut texts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for package in crates {
        let field = |key: &str| package[key].as_str().unwrap_or_default();
        // Writing to a `String` cannot fail.
        let _ = writeln!(head, "{} {}: {}", field("name"), field("version"), field("license"));
        for text in licence_files(Path::new(field("manifest_path")))? {
            texts.entry(text).or_default().insert(field("name"));
        }
    }
    for (text, names) in texts {
        let names: Vec<&str> = names.into_iter().collect();
        let _ =
            write!(head, "\n{}\nComes with {}:\n\n{}\n", "-".repeat(78), names.join(", "), text.trim_end());
    }
    Ok(head)
}

/// A package and what is linked into it: neither what only its build or its tests need, nor macros.
fn linked<'a>(nodes: &BTreeMap<&'a str, &'a Value>, root: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            let is_normal = kinds.into_iter().any(|kind| kind["kind"].is_null());
            if let Some(id) = dependency["pkg"].as_str().filter(|_| is_normal)
                && found.insert(id)
            {
                open.push(id);
            }
        }
    }
    found
}

/// The texts beside a crate's manifest.
fn licence_files(manifest: &Path) -> anyhow::Result<Vec<String>> {
    let folder = manifest.parent().context("a manifest lies in a folder")?;
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file()
            && ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"]
                .iter()
                .any(|start| name.starts_with(start))
    });
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    };
    files.iter().map(read).collect()
}
