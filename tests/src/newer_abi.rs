//! The plugin ABI as a later minor version might be: 1.1, made of the present one by the three appends that
//! the rules allow. A host and a plugin are built with it, to meet those of today.
//!
//! It is made again from the sources each time, so it follows them.

use crate::plugin::{Build, build_crate, once, target, workspace};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File, the text after which something is appended, and what. Each text stands in its file exactly once.
const APPENDED: &[(&str, &str, &str)] = &[
    // A field of the root.
    (
        "sdk/abi/src/root.rs",
        "pub exporter: ROption<ExporterEntryRef>,\n",
        "    /// Since 1.1.\n    pub added: extern \"C\" fn() -> u32,\n",
    ),
    ("sdk/plugin/src/export.rs", "safety_check: RNone, exporter: RNone", ", added"),
    (
        "sdk/plugin/src/export.rs",
        "use stacksonde_abi::{Fault, HostRef, Plugin};\n",
        "\nextern \"C\" fn added() -> u32 {\n    11\n}\n",
    ),
    ("host/src/plugins/load.rs", "impl Plugin {\n", READS_ADDED),
    // A method of an object.
    (
        "sdk/abi/src/object.rs",
        "fn shutdown(&mut self) -> RResult<(), Fault>;\n\n    /// Drops what is behind this object.\n    \
         #[sabi(last_prefix_field)]\n    fn close(&mut self) -> RResult<(), Fault>;\n",
        "\n    /// Since 1.1.\n    fn added(&mut self) -> RResult<RString, Fault> {\n        \
         RResult::ROk(\"the default of 1.1\".into())\n    }\n",
    ),
    (
        "sdk/plugin/src/role/exporter.rs",
        "impl<E: Exporter> ExporterObject for Adapter<E> {\n",
        "    fn added(&mut self) -> RResult<RString, Fault> {\n        \
         self.0.call(\"added\", |_| Ok(\"a plugin of 1.1\".into()))\n    }\n",
    ),
    (
        "host/src/plugins/supervise/instance.rs",
        "    fn end(&mut self) {\n",
        "        if let Some(object) = &mut self.object {\n            \
         println!(\"method: {}\", object.added().unwrap());\n        }\n",
    ),
    // A callback of the host.
    (
        "sdk/abi/src/host.rs",
        "pub event: extern \"C\" fn(level: Level, target: RStr<'_>, instance: RStr<'_>, message: RStr<'_>),\n",
        "    /// Since 1.1.\n    pub added: extern \"C\" fn(message: RStr<'_>),\n",
    ),
    ("host/src/plugins/callbacks.rs", "Host { enabled, event", ", added"),
    (
        "host/src/plugins/callbacks.rs",
        "pub(super) const HOST: HostRef = HostRef(CALLBACKS.static_as_prefix());\n",
        "\nextern \"C\" fn added(message: RStr<'_>) {\n    println!(\"callback: {message}\");\n}\n",
    ),
    (
        "sdk/plugin/src/forward.rs",
        "if HOST.set(Host { callbacks, plugin }).is_ok() {\n",
        "        match callbacks.added() {\n            Some(added) => added(RStr::from(\"a plugin of 1.1\")),\n            \
         None => error(\"the host is older than 1.1\"),\n        }\n",
    ),
];

const READS_ADDED: &str = "    /// What the root says since 1.1.\n    \
     pub fn added(&self) -> Option<u32> {\n        let Root::Rust(root) = self.root else { return None };\n        root.added().map(|added| added())\n    }\n\n";

/// The name of the later version; the workspace that has it; the plugin that is built with it.
const REPLACED: &[(&str, &str, &str)] = &[
    ("sdk/abi/Cargo.toml", "version = \"1.0.0\"\n", "version = \"1.1.0\"\n"),
    ("line-count/Cargo.toml", "name = \"line-count\"", "name = \"newer-line-count\""),
    ("line-count/Cargo.toml", "../../../../sdk/plugin", "../../sdk/plugin"),
];

/// A plugin built with 1.1.
pub fn plugin() -> PathBuf {
    let copy = copy();
    once("a plugin of 1.1", || build_crate(&copy.join("newer/fixtures/line-count"), &[]))
}

/// The program of `tests/fixtures/newer-host`, built with the real host's sources and 1.1.
///
/// # Panics
///
/// If it does not build.
pub fn host() -> PathBuf {
    let copy = copy();
    once("a host of 1.1", || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = Build::of_this_program();
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--package", "newer-host"])
            .args(build.arguments)
            .current_dir(copy)
            // What the host depends on is there already.
            .env("CARGO_TARGET_DIR", target())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        build.folder.join("newer-host")
    })
}

/// The sources with the appends.
fn copy() -> PathBuf {
    once("the sources of 1.1", || {
        let root = target().join("abi-1.1");
        // Deeper than in the repository: cargo names what it builds by the path within the workspace, and what is
        // built here goes into the same folder.
        let to = root.join("newer");
        copy_tree(&workspace(), &root, Path::new("Cargo.toml"));
        copy_tree(&workspace(), &root, Path::new("Cargo.lock"));
        for part in ["sdk", "host", "ebpf"] {
            copy_tree(&workspace(), &to, Path::new(part));
        }
        let fixtures = workspace().join("tests/fixtures");
        copy_tree(&fixtures, &to, Path::new("newer-host"));
        copy_tree(&fixtures.join("plugins"), &to.join("fixtures"), Path::new("line-count"));
        root
    })
}

fn copy_tree(from: &Path, to: &Path, part: &Path) {
    let source = from.join(part);
    if !source.is_dir() {
        let text = fs::read(&source).unwrap();
        return write(&to.join(part), &changed(part, text));
    }
    let names = |entries: fs::ReadDir| -> BTreeSet<_> {
        entries.map(|entry| entry.unwrap().file_name()).filter(|name| name != "target").collect()
    };
    let wanted = names(fs::read_dir(&source).unwrap());
    let earlier = fs::read_dir(to.join(part)).map(names).unwrap_or_default();
    // A file of an earlier copy that is no longer there would be another module.
    for name in earlier.difference(&wanted) {
        let stale = to.join(part).join(name);
        if stale.is_dir() { fs::remove_dir_all(stale).unwrap() } else { fs::remove_file(stale).unwrap() }
    }
    for name in wanted {
        copy_tree(from, to, &part.join(name));
    }
}

fn changed(part: &Path, bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut text) = String::from_utf8(bytes.clone()) else { return bytes };
    let mut replace = |old: &str, new: &str| {
        assert_eq!(text.matches(old).count(), 1, "{} has changed: {old}", part.display());
        text = text.replace(old, new);
    };
    for (_, after, appended) in APPENDED.iter().filter(|(file, ..)| Path::new(file) == part) {
        replace(after, &format!("{after}{appended}"));
    }
    for (_, old, new) in REPLACED.iter().filter(|(file, ..)| Path::new(file) == part) {
        replace(old, new);
    }
    if part == Path::new("Cargo.toml") {
        let start = text.find("members = [").unwrap();
        let end = start + text[start..].find(']').unwrap();
        let members = ["host", "sdk/abi", "sdk/batch", "sdk/plugin", "ebpf", "newer-host"];
        let members: Vec<_> = members.iter().map(|member| format!("\"newer/{member}\"")).collect();
        text.replace_range(start..end, &format!("members = [{}", members.join(", ")));
        text = text.replace("path = \"", "path = \"newer/");
    }
    text.into_bytes()
}

/// Leaves a file that is right already alone, so that cargo does not build it again.
fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
