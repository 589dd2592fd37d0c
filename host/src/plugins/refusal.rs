//! Why a plugin is not loaded: one sentence with the file, the reason and the remedy.

use super::ElfError;
use std::io;
use std::path::PathBuf;

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No configured directory has it.
    #[error(
        "no plugin `{name}` in {}: install the package that ships it, or add its directory to plugins.directories",
        places(.looked)
    )]
    NotFound {
        /// The plugin's name.
        name: String,
        /// The files that were looked for.
        looked: Vec<PathBuf>,
    },
    /// A name that is not one.
    #[error("`{name}` is not a plugin's name: use letters, digits, `-` and `_`, or give an absolute path")]
    BadName {
        /// The name.
        name: String,
    },
    /// A relative path.
    #[error("{}: is not absolute: write the path from `/`, without `..`", .path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A step on the way to the file cannot be taken.
    #[error("{}: cannot open {}: {error}; check that it exists and that you may read it", .path.display(), .at.display())]
    Unreadable {
        /// The plugin's file.
        path: PathBuf,
        /// The step.
        at: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// A symbolic link on the way to the file.
    #[error("{}: {} is a symbolic link, which others may turn: write the path that it leads to", .path.display(), .at.display())]
    Symlink {
        /// The plugin's file.
        path: PathBuf,
        /// The link.
        at: PathBuf,
    },
    /// A step, or the file, that is not root's.
    #[error("{}: {} belongs to user {uid}, who could replace the plugin: `chown root:root` it", .path.display(), .at.display())]
    ForeignOwner {
        /// The plugin's file.
        path: PathBuf,
        /// The file or folder with the wrong owner.
        at: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// A step, or the file, that others can write to.
    #[error("{}: {} can be written to by others than root (mode {mode:04o}): `chmod go-w` it", .path.display(), .at.display())]
    Writable {
        /// The plugin's file.
        path: PathBuf,
        /// The file or folder that is writable.
        at: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a FIFO, a device.
    #[error("{}: is not a regular file: install the plugin's shared library there", .path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// Larger than any plugin.
    #[error("{}: has {bytes} bytes, more than the {limit} that a plugin may have: strip it", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Another file than the one that is pinned.
    #[error("{}: has the SHA-256 {found}, and plugins.pins says {pin}: install the file that was pinned, or pin this one", .path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The configured one.
        pin: String,
    },
    /// Not a shared library that this machine could load.
    #[error("{}: {error}: install a build for this machine", .path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// The fault in it.
        error: ElfError,
    },
    /// It brings its own search path for libraries.
    #[error("{}: asks the loader to search `{entry}` (RPATH or RUNPATH): build it without, or `patchelf --remove-rpath` it", .path.display())]
    SearchPath {
        /// The file.
        path: PathBuf,
        /// The search path.
        entry: String,
    },
    /// It needs a library that is not expected in a plugin.
    #[error("{}: needs the library `{library}`, which is not allowed: link it statically, or add it to plugins.allow_needed", .path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// The library's name.
        library: String,
    },
    /// No manifest.
    #[error("{}: carries no Stacksonde manifest: is it a plugin, built with `export_plugin!`?", .path.display())]
    NoManifest {
        /// The file.
        path: PathBuf,
    },
    /// A manifest that cannot be used.
    #[error("{}: its manifest cannot be read: {reason}; build it again with a `plugin.json` that follows the documentation", .path.display())]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The file is named for another plugin.
    #[error("{}: is the plugin `{stated}`: rename the file to `{stated}.so`, or load `{stated}`", .path.display())]
    WrongName {
        /// The file.
        path: PathBuf,
        /// The name in the manifest.
        stated: String,
    },
    /// The manifest says that this host cannot run it.
    #[error("{}: {reason}: {remedy}", .path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// The part that does not fit.
        reason: String,
        /// The part that would fit.
        remedy: &'static str,
    },
    /// A capability that the plugin needs and the system does not offer.
    #[error("plugin `{plugin}` needs the capability `{capability}`: {reason}")]
    Needs {
        /// The plugin's name.
        plugin: String,
        /// The capability's name.
        capability: String,
        /// Why it is not there, and what would change that.
        reason: String,
    },
    /// An instance's keys are not what the plugin takes.
    #[error("plugin `{plugin}`: {}; `stacksonde plugin info {plugin}` lists its keys", .problems.join("; "))]
    Config {
        /// The plugin's name.
        plugin: String,
        /// The faults, a sentence each.
        problems: Vec<String>,
    },
    /// The loader refused it.
    #[error("{}: cannot be loaded: {reason}; install a build for this system", .path.display())]
    Loader {
        /// The file.
        path: PathBuf,
        /// The loader's message.
        reason: String,
    },
    /// Types differ between host and plugin.
    #[error("{}: its types do not match this host's: {mismatch}; build it against the `stacksonde-plugin` of this release", .path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The part in which they differ.
        mismatch: String,
    },
    /// No layout to compare.
    #[error("{}: does not state the layout of its types: build it with `export_plugin!`", .path.display())]
    NoLayout {
        /// The file.
        path: PathBuf,
    },
    /// Its first function failed.
    #[error("{}: failed to start: {reason}; report it to the plugin's author", .path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// The plugin's message.
        reason: String,
    },
}

impl Refusal {
    /// Tells whether there is no such plugin at all, as opposed to one that is refused.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

fn places(looked: &[PathBuf]) -> String {
    let mut places: Vec<_> = looked.iter().map(|place| place.display().to_string()).collect();
    match places.pop() {
        None => "plugins.directories, which is empty".into(),
        Some(only) if places.is_empty() => only,
        Some(last) => format!("{} or {last}", places.join(", ")),
    }
}
