//! From a checked file to a running plugin: dlopen, compare types, init.

use super::deadline::PluginError;
use super::entry::Entry;
use super::provider::OffsetProvider;
use super::{Door, Inspected, Manifest, Refusal, SafetyCheck, c, callbacks, layout};
use abi_stable::library::{AbiHeaderRef, LibHeader};
use abi_stable::std_types::RResult;
use libloading::os::unix::Library;
use stacksonde_abi::{PluginRef, abi_stable};
use std::fmt;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

/// A loaded plugin. It stays loaded until the process ends.
pub struct Plugin {
    path: PathBuf,
    manifest: Manifest,
    root: Root,
}

/// The root structure of a plugin, by its ABI.
enum Root {
    Rust(PluginRef),
    C(c::Exporter),
}

/// Loads what [`find`](super::find) or [`inspect`](super::inspect) returned. From here on the plugin's
/// code runs.
///
/// # Errors
///
/// The loader's own error; types that differ from this host's; a failure of the plugin's first function.
pub fn load(inspected: Inspected) -> Result<Plugin, Refusal> {
    let Inspected { path, manifest, door, file } = inspected;
    // Never closed: glibc identifies a library by the path it was opened by, and another file under the
    // same number would be taken for this one.
    let descriptor = file.into_raw_fd();
    let library = open(&path, descriptor)?;
    let root = match door {
        Door::Rust => {
            let header = header(&path, &library, &manifest.build.entry);
            // Never unloaded: the plugin's threads, statics and vtables are in use from here on.
            std::mem::forget(library);
            Root::Rust(start(&path, header?)?)
        }
        Door::C => {
            // SAFETY: a symbol of this name is the function that the header declares.
            let entry = unsafe { library.get::<c::EntryFunction>(c::SYMBOL.as_bytes()) };
            let entry = entry
                .map(|symbol| *symbol)
                .map_err(|error| Refusal::Loader { path: path.clone(), reason: loader_reason(&error) });
            std::mem::forget(library);
            // SAFETY: the library is never unloaded; that it is as the header says is the trust that loading
            // a plugin takes.
            Root::C(unsafe { c::Exporter::start(&path, entry?) }?)
        }
    };
    Ok(Plugin { path, manifest, root })
}

/// Compares types, and calls the plugin's first function.
fn start(path: &Path, header: &'static LibHeader) -> Result<PluginRef, Refusal> {
    let layout = header.layout().ok_or_else(|| Refusal::NoLayout { path: path.into() })?;
    layout::check(layout, header.version_strings())
        .map_err(|mismatch| Refusal::Layout { path: path.into(), mismatch })?;
    // SAFETY: `layout::check` has found that every type reachable from the root is the same on both sides,
    // or is a prefix type of which one side has more fields, all of them after the last field of the
    // other. Such fields are read through accessors that ask the plugin's own field count first.
    let root = unsafe { header.unchecked_layout::<PluginRef>() }
        .map_err(|error| Refusal::Init { path: path.into(), reason: error.to_string().trim().into() })?;
    match (root.init())(callbacks::HOST) {
        RResult::ROk(()) => Ok(root),
        RResult::RErr(fault) => Err(Refusal::Init { path: path.into(), reason: fault.message.into() }),
    }
}

fn open(path: &Path, descriptor: i32) -> Result<Library, Refusal> {
    let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: loading runs the library's initialisers. The file is root's alone and carries a manifest that
    // this host accepts; that is the trust that loading a plugin takes.
    unsafe { Library::open(Some(format!("/proc/self/fd/{descriptor}")), flags) }
        .map_err(|error| Refusal::Loader { path: path.into(), reason: loader_reason(&error) })
}

fn header(path: &Path, library: &Library, symbol: &str) -> Result<&'static LibHeader, Refusal> {
    let refuse = |reason: String| Refusal::Loader { path: path.into(), reason };
    // SAFETY: a symbol of this name is a `LibHeader`, which begins with an `AbiHeader`; `upgrade` compares
    // its magic text and version before it reads on. The library is never unloaded.
    let header = unsafe { library.get::<AbiHeaderRef>(symbol.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|error| refuse(loader_reason(&error)))?;
    header.upgrade().map_err(|_| refuse("it is built with another version of abi_stable".into()))
}

fn loader_reason(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Its name, as the configuration has it.
    pub fn name(&self) -> &str {
        &self.manifest.plugin.name
    }

    /// Returns the path that it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A new offset provider; `None` if the plugin is none.
    ///
    /// # Errors
    ///
    /// The provider's constructor failed, panicked or did not return in time.
    pub fn offset_provider(&self) -> Result<Option<OffsetProvider>, PluginError> {
        let Root::Rust(root) = self.root else { return Ok(None) };
        let entry = root.offset_provider().into_option();
        entry.map(|create| OffsetProvider::create(self.name(), create)).transpose()
    }

    /// A new safety check; `None` if the plugin is none.
    ///
    /// # Errors
    ///
    /// The check's constructor failed, panicked or did not return in time.
    pub fn safety_check(&self) -> Result<Option<SafetyCheck>, PluginError> {
        let Root::Rust(root) = self.root else { return Ok(None) };
        let entry = root.safety_check().into_option();
        entry.map(|create| SafetyCheck::create(self.name(), create)).transpose()
    }

    /// Tells whether the plugin is an exporter.
    pub fn is_exporter(&self) -> bool {
        self.exporter().is_some()
    }

    pub(super) fn exporter(&self) -> Option<Entry> {
        match self.root {
            Root::Rust(root) => root.exporter().into_option().map(Entry::Rust),
            Root::C(exporter) => Some(Entry::C(exporter)),
        }
    }
}
