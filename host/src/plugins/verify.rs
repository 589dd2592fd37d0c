//! Is this file root's alone? Loading a plugin runs it as root, so the file, and every directory on the
//! way to it, must be writable by root only.
//!
//! The walk starts at `/` and takes one component at a time from the descriptor of the one before,
//! without following symbolic links: what was checked is what is opened, and the descriptor of the file
//! is what is loaded. A directory that others can write to is accepted if it is sticky (`/tmp`, a Nix
//! store): there they can neither rename nor remove what is root's, and the next step must be.

use super::Refusal;
use crate::config;
use crate::system_call::opened;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The largest plugin, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The requirements on a plugin's file; the default is strict.
#[derive(Clone, Debug, Default)]
pub struct FileRules {
    /// Accept files and directories of any owner and mode. For developers, and set by a command-line
    /// flag only: with it, whoever can write to the file is root.
    pub trust_any_owner: bool,
    /// Libraries that a plugin may need beside those that every Rust plugin does: `libcurl.so.4`.
    pub allow_needed: Vec<String>,
    /// SHA-256 of a plugin's file by the plugin's name, in hexadecimal digits.
    pub pins: BTreeMap<String, String>,
}

impl FileRules {
    /// Returns the requirements by `config`; `trust_any_owner` comes from a flag, never from a file.
    pub fn new(config: &config::Plugins, trust_any_owner: bool) -> Self {
        Self { trust_any_owner, allow_needed: config.allow_needed.clone(), pins: config.pins.clone() }
    }

    /// The pin of the file at `path`, which is named for its plugin.
    pub(super) fn pin(&self, path: &Path) -> Option<&str> {
        self.pins.get(path.file_stem()?.to_str()?).map(String::as_str)
    }
}

/// Walks to `path` and opens it for reading.
///
/// # Errors
///
/// The [`Refusal`] names the first component that breaks a rule.
pub(super) fn open(path: &Path, rules: &FileRules) -> Result<File, Refusal> {
    let names = components(path)?;
    let mut at = PathBuf::from("/");
    let mut step = open_root().map_err(|error| unreadable(path, &at, error))?;
    check_owner(path, &at, &step, rules)?;
    for (index, name) in names.iter().enumerate() {
        let is_last = index + 1 == names.len();
        at.push(name);
        let flags = if is_last { libc::O_RDONLY | libc::O_NONBLOCK } else { libc::O_PATH };
        let next = open_at(&step, name.as_bytes(), flags).map_err(|error| {
            if is_symlink(&at) {
                Refusal::Symlink { path: path.into(), at: at.clone() }
            } else {
                unreadable(path, &at, error)
            }
        })?;
        let kind = metadata(path, &at, &next)?.file_type();
        if kind.is_symlink() {
            return Err(Refusal::Symlink { path: path.into(), at });
        }
        if is_last && !kind.is_file() {
            return Err(Refusal::NotRegular { path: path.into() });
        }
        check_owner(path, &at, &next, rules)?;
        step = next;
    }
    let bytes = step.metadata().map_err(|error| unreadable(path, &at, error))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(Refusal::TooLarge { path: path.into(), bytes, limit: MAX_FILE_BYTES });
    }
    Ok(step)
}

fn components(path: &Path) -> Result<Vec<&std::ffi::OsStr>, Refusal> {
    let refusal = || Refusal::NotAbsolute { path: path.into() };
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(refusal());
    }
    let names: Option<Vec<_>> = components
        .map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    names.filter(|names| !names.is_empty()).ok_or_else(refusal)
}

fn check_owner(path: &Path, at: &Path, file: &File, rules: &FileRules) -> Result<(), Refusal> {
    let metadata = metadata(path, at, file)?;
    if rules.trust_any_owner {
        return Ok(());
    }
    if metadata.uid() != 0 {
        return Err(Refusal::ForeignOwner { path: path.into(), at: at.into(), uid: metadata.uid() });
    }
    let sticky = metadata.is_dir() && metadata.mode() & libc::S_ISVTX != 0;
    if metadata.mode() & 0o022 != 0 && !sticky {
        return Err(Refusal::Writable { path: path.into(), at: at.into(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

fn metadata(path: &Path, at: &Path, file: &File) -> Result<std::fs::Metadata, Refusal> {
    file.metadata().map_err(|error| unreadable(path, at, error))
}

fn unreadable(path: &Path, at: &Path, error: io::Error) -> Refusal {
    Refusal::Unreadable { path: path.into(), at: at.into(), error }
}

/// Only to choose the words of a refusal.
fn is_symlink(at: &Path) -> bool {
    at.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

fn open_root() -> io::Result<File> {
    open_at_raw(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY)
}

fn open_at(directory: &File, name: &[u8], flags: i32) -> io::Result<File> {
    open_at_raw(directory.as_raw_fd(), &CString::new(name)?, flags | libc::O_NOFOLLOW)
}

fn open_at_raw(directory: i32, name: &std::ffi::CStr, flags: i32) -> io::Result<File> {
    // SAFETY: `name` is NUL-terminated and lives through the call; no mode is read without O_CREAT. The descriptor is new.
    unsafe { opened(libc::openat(directory, name.as_ptr(), flags | libc::O_CLOEXEC)) }.map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_path_that_is_not_absolute_or_climbs() {
        for path in ["file.so", "./file.so", "/", "/usr/../file.so", ""] {
            let refusal = open(Path::new(path), &FileRules::default()).unwrap_err();
            assert!(matches!(refusal, Refusal::NotAbsolute { .. }), "{path}: {refusal}");
        }
    }

    #[test]
    fn names_the_step_that_does_not_exist() {
        let refusal = open(Path::new("/usr/no-such-folder/x.so"), &FileRules::default()).unwrap_err();
        assert!(refusal.to_string().contains("cannot open /usr/no-such-folder:"), "{refusal}");
    }

    #[test]
    fn refuses_a_device() {
        let refusal = open(Path::new("/dev/null"), &FileRules::default()).unwrap_err();
        assert!(matches!(refusal, Refusal::NotRegular { .. }), "{refusal}");
    }
}
