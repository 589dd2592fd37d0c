//! The stated Rust version is the one that the dependencies demand.

use std::process::Command;

/// `1.88`, `1.88.0` -> (1, 88, 0).
fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[test]
fn the_stated_rust_version_is_the_highest_of_the_dependencies() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked"];
    let platform = ["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)];
    let output = Command::new(cargo).args(arguments).args(platform).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    let (ours, theirs): (Vec<_>, Vec<_>) = packages
        .iter()
        .filter(|package| used.contains(&package["id"].as_str().unwrap()))
        .partition(|package| package["source"].is_null());
    let (highest, by) = theirs
        .iter()
        .filter_map(|package| Some((version(package["rust_version"].as_str()?), package["name"].as_str()?)))
        .max()
        .unwrap();
    for package in ours {
        let stated = version(package["rust_version"].as_str().unwrap());
        assert_eq!(stated, highest, "{} states another version than `{by}` demands", package["name"]);
    }
}
