//! From a name to a plugin that may be loaded, without running any of it.

use super::elf::SharedLibrary;
use super::verify::{self, FileRules};
use super::{Door, Inspected, Refusal, manifest, pin, policy};
use crate::config;
use object::read::ReadCache;
use stacksonde_plugin::manifest::C_NOTE_KIND;
use std::io;
use std::path::{Path, PathBuf};

/// Libraries that every Rust plugin may need: the C library, its parts and the unwinder.
const NEEDED: [&str; 7] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libc.so"];
/// The same, where names vary with the machine.
const NEEDED_PREFIXES: [&str; 3] = ["ld-linux-", "ld-musl-", "libc.musl-"];

/// Finds `name` in the first of the configured directories that has it, and inspects it.
///
/// # Errors
///
/// [`Refusal::NotFound`] if none has; else why it may not be loaded. A later directory does not stand in
/// for a file that is refused.
pub fn find(name: &str, config: &config::Plugins, rules: &FileRules) -> Result<Inspected, Refusal> {
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_') {
        return Err(Refusal::BadName { name: name.into() });
    }
    let mut looked = Vec::new();
    for directory in &config.directories {
        let path = directory.join(format!("{name}.so"));
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            looked.push(path);
            continue;
        }
        let inspected = inspect(&path, rules)?;
        if inspected.manifest.plugin.name != name {
            return Err(Refusal::WrongName { path, stated: inspected.manifest.plugin.name });
        }
        return Ok(inspected);
    }
    Err(Refusal::NotFound { name: name.into(), looked })
}

/// Every `*.so` in the configured directories, in order, inspected.
pub fn list(config: &config::Plugins, rules: &FileRules) -> Vec<(PathBuf, Result<Inspected, Refusal>)> {
    let mut plugins = Vec::new();
    for directory in &config.directories {
        let Ok(entries) = directory.read_dir() else { continue };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "so"));
        paths.sort();
        plugins.extend(paths.into_iter().map(|path| {
            let inspected = inspect(&path, rules);
            (path, inspected)
        }));
    }
    plugins
}

/// Verifies the file at `path` and reads its manifest.
///
/// # Errors
///
/// The first rule that the file breaks.
pub fn inspect(path: &Path, rules: &FileRules) -> Result<Inspected, Refusal> {
    let mut file = verify::open(path, rules)?;
    if let Some(pin) = rules.pin(path) {
        file = pin::seal(path, &mut file, pin)?;
    }
    let content = ReadCache::new(&file);
    let library = manifest::read(&content).map_err(|error| Refusal::Elf { path: path.into(), error })?;
    check_libraries(path, &library, rules)?;
    let (kind, note) = library.note.ok_or_else(|| Refusal::NoManifest { path: path.into() })?;
    let door = if kind == C_NOTE_KIND { Door::C } else { Door::Rust };
    let manifest =
        manifest::parse(note).map_err(|reason| Refusal::BadManifest { path: path.into(), reason })?;
    policy::check(path, &manifest, door)?;
    Ok(Inspected { path: path.into(), manifest, door, file })
}

fn check_libraries(path: &Path, library: &SharedLibrary<'_>, rules: &FileRules) -> Result<(), Refusal> {
    if let Some(entry) = library.search_paths.first() {
        return Err(Refusal::SearchPath { path: path.into(), entry: (*entry).into() });
    }
    let allowed = |name: &&str| {
        NEEDED.contains(name)
            || NEEDED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || rules.allow_needed.iter().any(|allowed| allowed == name)
    };
    match library.needed.iter().find(|name| !allowed(name)) {
        Some(library) => Err(Refusal::Library { path: path.into(), library: (*library).into() }),
        None => Ok(()),
    }
}
