//! The same sources give the same bytes, wherever they are built.

use super::{packages, packages_tier, run};
use stacksonde_tests::{plugin, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Environment variable that names the cargo profile of the packages.
const PROFILE: &str = "STACKSONDE_TEST_PACKAGES_PROFILE";

/// Packages' names and digests.
fn digests(folder: &Path) -> BTreeMap<String, String> {
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    sums.lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name.into(), sum.into()))
        .collect()
}

#[test]
fn two_builds_in_two_folders_have_the_same_bytes() {
    packages_tier!();
    let first = packages();
    let run_git =
        |arguments: &[&str]| run(Command::new("git").args(arguments).current_dir(plugin::workspace()));
    let epoch = run_git(&["log", "-1", "--format=%ct"]).trim().to_owned();

    // A folder of another length and depth, with its own target folder, without git.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("a/copy of the sources");
    fs::create_dir_all(&copy).unwrap();
    for file in run_git(&["ls-files", "--cached", "--others", "--exclude-standard"]).lines() {
        let (from, to) = (plugin::workspace().join(file), copy.join(file));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    let second = folder.path().join("packages");
    let mut dist = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    dist.args(["xtask", "dist", "--profile", &std::env::var(PROFILE).unwrap(), "--out"]).arg(&second);
    dist.current_dir(&copy).env("CARGO_TARGET_DIR", folder.path().join("target"));
    // No network, and not what the test's own cargo sets.
    dist.env_remove("CARGO_ENCODED_RUSTFLAGS");
    dist.env("CARGO_NET_OFFLINE", "true").env("SOURCE_DATE_EPOCH", epoch).env_remove("CARGO_MANIFEST_DIR");
    run(&mut dist);
    assert_eq!(digests(&first), digests(&second));
    assert_eq!(
        digests(&first).len(),
        root::packages(&first, ".deb").len() + root::packages(&first, ".rpm").len()
    );
}
