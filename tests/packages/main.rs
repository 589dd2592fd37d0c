//! The tier of packages: what `cargo xtask dist` makes, installed in a clean Debian. Needs root, and nothing of the
//! machine but its kernel.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod documented;
mod installed;
mod judged;
mod reproduced;
mod rpm;
mod third_party;

/// Leaves a test out where packages, or a place to install them, are missing.
macro_rules! packages_tier {
    () => {
        if let Some(why) = stacksonde_tests::root::lacking() {
            stacksonde_tests::skip::skip(concat!(module_path!(), ":", line!()), &why);
            return;
        }
    };
}
use packages_tier;

use std::path::PathBuf;
use std::process::Command;

/// The packages' folder.
fn packages() -> PathBuf {
    stacksonde_tests::root::named_by(stacksonde_tests::root::PACKAGES).unwrap()
}

/// Runs a command, which must succeed; returns what it said, on both outputs.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?} failed with {}: {said}", output.status);
    said
}
