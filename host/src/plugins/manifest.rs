//! The manifest of a plugin, read from its file.

use super::elf::{self, ElfError, SharedLibrary};
use object::ReadRef;
use stacksonde_plugin::manifest::{C_NOTE_KIND, NOTE_KIND, OWNER};
use std::fs::File;
use std::path::PathBuf;

pub use stacksonde_plugin::Manifest;

/// The largest manifest, in bytes. Most of one is the JSON Schema of the configuration.
const MAX_BYTES: usize = 256 << 10;

/// The way in: which of the two contracts a plugin is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `stacksonde-plugin`, the SDK for Rust.
    Rust,
    /// `stacksonde_plugin.h`.
    C,
}

/// A plugin that passed every check that needs none of its code to run.
#[derive(Debug)]
pub struct Inspected {
    /// The path at which it was found.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The ABI that it is built for.
    pub door: Door,
    /// The descriptor that was checked, and that is loaded.
    pub(super) file: File,
}

/// Reads of a file what it says before it is loaded.
pub(crate) fn read<'a>(file: impl ReadRef<'a>) -> Result<SharedLibrary<'a>, ElfError> {
    elf::read(file, OWNER, &[NOTE_KIND, C_NOTE_KIND])
}

/// Reads the text of a manifest; an error is a reason in words.
pub(crate) fn parse(text: &[u8]) -> Result<Manifest, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes, more than {MAX_BYTES}", text.len()));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_manifest_over_the_limit_before_reading_it() {
        let reason = parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err();
        assert!(reason.contains("more than 262144"), "{reason}");
    }

    #[test]
    fn names_the_key_that_is_missing() {
        let reason = parse(br#"{"schema":1,"build":{"abi":"1.0"}}"#).unwrap_err();
        assert!(reason.contains("`target`"), "{reason}");
    }
}
