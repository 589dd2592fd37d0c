//! A plugin of somebody else's: written and built with `stacksonde-dev`, packaged, dropped into a root.

use super::{packages, packages_tier, run};
use stacksonde_tests::plugin;
use stacksonde_tests::root::Root;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns a variable of pkg-config, as in a root that has the development package.
fn variable(root: &Path, name: &str) -> String {
    let pc = run(Command::new("find").arg(root.join("usr/lib")).args(["-name", "stacksonde-plugin.pc"]));
    let folder = Path::new(pc.trim()).parent().unwrap();
    let mut ask = Command::new("pkg-config");
    ask.env("PKG_CONFIG_PATH", folder).arg(format!("--variable={name}")).arg("stacksonde-plugin");
    run(&mut ask).trim().to_owned()
}

/// A package with one plugin, made by hand as the guide says.
fn package(root: &Path, library: &Path, folder: &Path) {
    let content = folder.join("content");
    let plugins = content.join(variable(root, "plugindir").trim_start_matches('/'));
    fs::create_dir_all(&plugins).unwrap();
    run(Command::new("install").args(["-m", "0644"]).arg(library).arg(plugins.join("third-party.so")));
    fs::create_dir_all(content.join("DEBIAN")).unwrap();
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    let control = format!(
        "Package: acme-stacksonde-third-party\nVersion: 1.0\nArchitecture: {}\nMaintainer: A. U. Thor <a@example.org>\n\
         Depends: stacksonde-plugin-abi-1 (>= {})\nDescription: a plugin of somebody else's\n",
        architecture.trim(),
        variable(root, "abi")
    );
    fs::write(content.join("DEBIAN/control"), control).unwrap();
    let mut build = Command::new("dpkg-deb");
    run(build.args(["--root-owner-group", "--build"]).arg(&content).arg(folder.join("third-party.deb")));
}

#[test]
fn a_package_of_somebody_elses_is_listed_and_changes_nothing_until_it_is_loaded() {
    packages_tier!();
    let root = Root::unpack(&packages());
    root.run(&["apt-get", "install", "--yes", "stacksonde", "stacksonde-dev"]);

    // Written by the packaged agent, from the packaged SDK, and built without a network.
    let folder = tempfile::tempdir().unwrap();
    let agent = root.path().join("usr/bin/stacksonde");
    let sdk = root.path().join(variable(root.path(), "sdkdir").trim_start_matches('/'));
    let mut new = Command::new(agent);
    run(new.current_dir(folder.path()).args(["plugin", "new", "third-party", "--sdk"]).arg(&sdk));
    let source = folder.path().join("third-party");
    run(plugin::cargo(&source, &["check"]).arg("--offline"));
    let library = plugin::build_crate(&source, &[]);
    package(root.path(), &library, folder.path());

    let list = |root: &Root| root.run(&["stacksonde", "plugin", "list"]);
    let doctor = |root: &Root| {
        let doctor = root.doctor();
        (doctor["plugins"].clone(), doctor["features"].clone(), doctor["level"].clone())
    };
    let before = (list(&root), doctor(&root));
    root.offer(&[folder.path().join("third-party.deb")]);
    root.run(&["apt-get", "install", "--yes", "acme-stacksonde-third-party"]);

    // Seen, and nothing else.
    let shown = list(&root);
    let (row, others): (Vec<&str>, Vec<&str>) =
        shown.lines().partition(|line| line.starts_with("third-party "));
    let cells: Vec<&str> = row.iter().flat_map(|row| row.split_whitespace()).collect();
    assert_eq!(cells[..4], ["third-party", "0.1.0", "exporter", "no"], "{shown}");
    let unspaced = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(unspaced(&others.join("\n")), unspaced(&before.0));
    assert_eq!(doctor(&root), before.1);

    // Until the configuration loads it.
    let drop_in = root.path().join("etc/stacksonde/conf.d/third-party.toml");
    fs::write(drop_in, "[plugins]\nload = [\"btf-offsets\", \"third-party\"]\n").unwrap();
    let shown = list(&root);
    assert!(shown.lines().any(|line| line.starts_with("third-party ") && line.contains(" yes ")), "{shown}");
    let loaded = doctor(&root).0["loaded"].to_string();
    assert!(loaded.contains("\"third-party\"") && !loaded.contains("file-export"), "{loaded}");

    // Gone with its package; what loads it still is a note.
    root.run(&["apt-get", "purge", "--yes", "acme-stacksonde-third-party"]);
    assert!(list(&root).contains("missing: no plugin `third-party`"));
}
