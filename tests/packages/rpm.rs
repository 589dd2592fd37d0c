//! RPM packages: what they state, and their files in a root.

use super::{packages, packages_tier, run};
use stacksonde_tests::root::{self, Root};
use std::path::PathBuf;
use std::process::Command;

fn package(name: &str) -> PathBuf {
    let start = format!("stacksonde{name}-0");
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&start);
    root::packages(&packages(), ".rpm").into_iter().find(is_it).unwrap()
}

fn ask(name: &str, question: &str) -> Vec<String> {
    let said = run(Command::new("rpm").args(["-qp", question]).arg(package(name)));
    said.lines().map(str::to_owned).collect()
}

#[test]
fn rpms_state_the_plugin_abi_and_keep_the_configuration() {
    packages_tier!();
    let provided = ask("", "--provides");
    let abi = provided.iter().find_map(|line| line.strip_prefix("stacksonde(plugin-abi) = ")).unwrap();
    assert_eq!(ask("", "--configfiles"), ["/etc/stacksonde/stacksonde.toml"]);
    let plugins = [
        "btf-offsets",
        "selfprobe-offsets",
        "tracepoint-offsets",
        "probe-read-safety",
        "file-export",
        "otlp-export",
    ];
    for plugin in plugins {
        let required = ask(&format!("-{plugin}"), "--requires");
        assert!(required.contains(&format!("stacksonde(plugin-abi) >= {abi}")), "{required:?}");
        assert!(required.iter().any(|line| line.starts_with("libc.so.6(")), "{required:?}");
        let file = format!("/usr/lib64/stacksonde/plugins-1/{plugin}.so");
        assert!(ask(&format!("-{plugin}"), "--list").contains(&file), "{plugin}");
    }
    let recommended = ask("", "--recommends");
    assert_eq!(recommended.len(), 4, "{recommended:?}");
}

#[test]
fn rpms_are_installed_into_a_root_and_work_there() {
    packages_tier!();
    let root = Root::unpack(&packages());
    let rpm = || {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(root.path());
        rpm
    };
    run(rpm().arg("--initdb"));
    // A plugin alone lacks its host, and says so in our words.
    let alone = rpm().args(["--test", "-i"]).arg(package("-btf-offsets")).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && said.contains("stacksonde(plugin-abi) >= 1."), "{said}");

    // Debian's files are not known to rpm, so of its dependencies only ours can be satisfied.
    let before = root.files();
    let chosen = ["", "-btf-offsets", "-file-export"].map(package);
    run(rpm().args(["--nodeps", "-i"]).args(&chosen));
    let list = root.run(&["stacksonde", "plugin", "list"]);
    let names: Vec<&str> =
        list.lines().filter(|line| line.contains("/usr/lib64/stacksonde/plugins-1/")).collect();
    assert!(
        names.len() >= 2 && names[0].starts_with("btf-offsets ") && names[1].starts_with("file-export "),
        "{list}"
    );
    root.run(&["stacksonde", "record", "-q", "-d", "1", "-o", "/tmp/out.svg"]);
    root.run(&["getent", "passwd", "stacksonde"]);
    root.run(&["test", "!", "-e", "/etc/systemd/system/multi-user.target.wants/stacksonde.service"]);
    run(rpm().args(["--nodeps", "-e", "stacksonde-btf-offsets", "stacksonde-file-export", "stacksonde"]));
    let after = root.files();
    let left: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    let ours = |path: &&&PathBuf| path.to_str().unwrap().contains("stacksonde");
    assert_eq!(left.iter().filter(ours).count(), 0, "{left:?}");
}
