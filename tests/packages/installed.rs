//! A selection installed, configured, run, upgraded and purged, with systemd as process 1.

use super::{packages, packages_tier};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::root::{self, Booted, Root};
use stacksonde_tests::target::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

const CONFIG: &str = "etc/stacksonde/stacksonde.toml";

/// Installs without what is recommended.
fn install(booted: &Booted, names: &[&str]) -> String {
    let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
    booted.run(&[&install[..], names].concat())
}

/// Names of our packages that are installed.
fn installed(booted: &Booted) -> Vec<String> {
    let list = booted.run(&["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"]);
    let names = list.lines().filter_map(|line| line.strip_suffix(" installed"));
    names.filter(|name| name.starts_with("stacksonde")).map(str::to_owned).collect()
}

/// Names of the plugins that `plugin list` shows, each with whether it is loaded.
fn plugins(booted: &Booted) -> BTreeMap<String, bool> {
    let table = booted.run(&["stacksonde", "plugin", "list"]);
    let rows = table.lines().skip(1).filter(|line| line.contains(".so") && !line.contains(": "));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        (cells[0].to_owned(), cells[3] == "yes")
    };
    rows.map(row).collect()
}

fn is_active(booted: &Booted) -> bool {
    booted.service("ActiveState") == "active"
}

#[test]
fn a_selection_is_installed_runs_is_upgraded_and_purged() {
    packages_tier!();
    if let Err(why) = collector::program() {
        stacksonde_tests::skip::skip("a_selection_is_installed_runs_is_upgraded_and_purged", &why);
        return;
    }
    let root = Root::unpack(&packages());
    let booted = root.boot();
    let before = root.files();

    // Installed: just that, and nothing runs.
    install(&booted, &["stacksonde", "stacksonde-btf-offsets", "stacksonde-otlp-export"]);
    assert_eq!(installed(&booted), ["stacksonde", "stacksonde-btf-offsets", "stacksonde-otlp-export"]);
    assert_eq!(booted.service("UnitFileState"), "disabled");
    assert_eq!(booted.service("ActiveState"), "inactive");
    let user = booted.run(&["getent", "passwd", "stacksonde"]);
    assert!(user.trim_end().ends_with(":/var/lib/stacksonde:/usr/sbin/nologin"), "{user}");
    let selection = BTreeMap::from([("btf-offsets".into(), true), ("otlp-export".into(), true)]);
    assert_eq!(plugins(&booted), selection);
    let doctor = root.doctor();
    assert_ne!(doctor["level"], "cannot-run", "{doctor}");
    let loaded = doctor["plugins"]["loaded"].as_array().unwrap();
    let loaded: Vec<_> = loaded.iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    assert_eq!(loaded, ["btf-offsets", "otlp-export"]);

    // Recording into files needs the plugin that writes them, and says so.
    let record = ["stacksonde", "record", "-d", "1", "-o", "/tmp/out.folded"];
    let refused = booted.enter(&record).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("file-export"), "{said}");

    // One file edited, the service started: it exports.
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::new("packaged", "grpc");
    let _collector = collector::start(folder.path(), std::slice::from_ref(&receiver));
    let shipped = fs::read_to_string(root.path().join(CONFIG)).unwrap();
    let edited = shipped.replace("interval_seconds = 10", "interval_seconds = 1")
        + &format!(
            "\n[exporters.collector]\nplugin = \"otlp-export\"\n[exporters.collector.config]\n\
             endpoint = \"http://127.0.0.1:{}\"\n",
            receiver.port
        );
    assert_ne!(shipped.lines().count(), edited.lines().count());
    fs::write(root.path().join(CONFIG), &edited).unwrap();
    booted.run(&["stacksonde", "config", "check", "/etc/stacksonde/stacksonde.toml"]);
    // Something to sample, in the kernel, too: on an idle machine there is nothing.
    let _busy =
        Running::start(&mut booted.enter(&["sh", "-c", "while read -r line < /etc/passwd; do :; done"]));
    booted.run(&["systemctl", "enable", "--now", "stacksonde.service"]);
    let file = folder.path().join("packaged.otlp");
    let size = || fs::metadata(&file).map_or(0, |file| file.len());
    let received = || collector::received(folder.path(), "packaged");
    booted.eventually("samples in the Collector", || size() > 0 && received().samples() > 0);
    let received = received();
    assert!(received.problems().is_empty(), "{received:?}");
    let unit = root.path().join("lib/systemd/system/stacksonde.service");
    assert_eq!(capabilities(&booted), stated_capabilities(&fs::read_to_string(unit).unwrap()));

    // The configuration is reloaded without a restart.
    let process = booted.service("MainPID");
    let drop_in = root.path().join("etc/stacksonde/conf.d/50-site.toml");
    fs::write(&drop_in, "[filter]\ndeny_comm = [\"no-such-program\"]\n").unwrap();
    booted.run(&["systemctl", "reload", "stacksonde.service"]);
    booted.eventually("the configuration reloaded", || booted.log().contains("configuration reloaded"));
    assert_eq!(booted.service("MainPID"), process);

    // Another plugin: the daemon that runs is restarted and has it; recording works.
    install(&booted, &["stacksonde-file-export"]);
    booted.eventually("a restart", || is_active(&booted) && booted.service("MainPID") != process);
    assert_eq!(plugins(&booted).len(), 3);
    booted.run(&record);
    booted.run(&["grep", "-q", "_\\[k\\]", "/tmp/out.folded"]);

    // Upgraded: the configuration stays as it was edited, the daemon is the new one.
    let process = booted.service("MainPID");
    root.offer(&root::packages(&root::named_by(root::NEWER).unwrap(), ".deb"));
    booted.run(&["apt-get", "upgrade", "--yes"]);
    let version = booted.run(&["dpkg-query", "--show", "--showformat=${Version}", "stacksonde"]);
    assert!(version.ends_with("-2"), "{version}");
    assert_eq!(fs::read_to_string(root.path().join(CONFIG)).unwrap(), edited);
    booted.eventually("a restart", || is_active(&booted) && booted.service("MainPID") != process);
    let reached = size();
    booted.eventually("profiles of the new one", || size() > reached);

    // A daemon that was stopped is not started by another plugin.
    booted.run(&["systemctl", "stop", "stacksonde.service"]);
    install(&booted, &["stacksonde-selfprobe-offsets"]);
    assert_eq!(booted.service("ActiveState"), "inactive");

    // Removed while it runs, then purged: what is left is what apt and dpkg write down, and the user.
    booted.run(&["systemctl", "start", "stacksonde.service"]);
    fs::remove_file(&drop_in).unwrap();
    let process = format!("/proc/{}", booted.service("MainPID"));
    booted.run(&["test", "-e", &process]);
    booted.run(&["apt-get", "remove", "--yes", "stacksonde"]);
    booted.run(&["test", "!", "-e", &process]);
    assert!(root.path().join(CONFIG).exists() && root.path().join("var/lib/stacksonde").exists());
    booted.run(&["apt-get", "purge", "--yes", "?name(stacksonde)"]);
    assert_eq!(installed(&booted), [""; 0]);
    let after = root.files();
    let differ = |path: &PathBuf| before.get(path) != after.get(path);
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).filter(|path| differ(path)).collect();
    let left: Vec<_> = paths.into_iter().filter(|path| !is_bookkeeping(path)).collect();
    assert!(left.is_empty(), "left behind or changed: {left:?}");
}

/// Tells whether a path is a log of apt, dpkg or systemd, a file of the users, or was put there by the test itself.
fn is_bookkeeping(path: &std::path::Path) -> bool {
    const PLACES: [&str; 12] = [
        "/srv/packages",
        "/var/cache/apt",
        "/var/lib/apt",
        "/var/lib/dpkg",
        "/var/log",
        "/var/tmp",
        "/tmp",
        "/run",
        "/var/lib/systemd",
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
    ];
    const USERS: [&str; 5] = ["/etc/gshadow", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"];
    let is_in = |place: &&str| path.starts_with(place);
    PLACES.iter().chain(&USERS).any(is_in) || path == std::path::Path::new("/etc/.pwd.lock")
}

/// The capabilities that the service's process has, as a mask.
fn capabilities(booted: &Booted) -> u64 {
    let status = booted.run(&["cat", &format!("/proc/{}/status", booted.service("MainPID"))]);
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// Those that the unit states, by the numbers of include/uapi/linux/capability.h; without CAP_SYS_ADMIN, which is
/// dropped by the time that sampling begins.
fn stated_capabilities(unit: &str) -> u64 {
    const NUMBERS: [(&str, u32); 6] = [
        ("CAP_DAC_READ_SEARCH", 2),
        ("CAP_SYS_PTRACE", 19),
        ("CAP_SYSLOG", 34),
        ("CAP_PERFMON", 38),
        ("CAP_BPF", 39),
        ("CAP_CHECKPOINT_RESTORE", 40),
    ];
    let line = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let number = |name: &str| NUMBERS.iter().find(|(known, _)| *known == name).unwrap().1;
    let kept = line.split_whitespace().filter(|name| *name != "CAP_SYS_ADMIN");
    kept.map(|name| 1 << number(name)).sum()
}

#[test]
fn what_is_recommended_comes_with_the_agent() {
    packages_tier!();
    let root = Root::unpack(&packages());
    root.run(&["apt-get", "install", "--yes", "stacksonde"]);
    let list = root.run(&["dpkg-query", "--show", "--showformat=${Package}\n"]);
    let ours: Vec<&str> = list.lines().filter(|name| name.starts_with("stacksonde")).collect();
    assert_eq!(
        ours,
        [
            "stacksonde",
            "stacksonde-btf-offsets",
            "stacksonde-file-export",
            "stacksonde-probe-read-safety",
            "stacksonde-selfprobe-offsets"
        ]
    );
    // Without systemd as process 1 nothing is restarted, and recording works.
    root.run(&["sh", "-c", "stacksonde record -d 1 -o /tmp/x.svg -o /tmp/x.pb.gz && test -s /tmp/x.svg"]);
}
