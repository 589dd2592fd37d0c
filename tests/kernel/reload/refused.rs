//! The faults of a new configuration are reported, and nothing of it is applied.

use super::{Daemon, counter, misbehaving};
use stacksonde_tests::kernel_tier;
use stacksonde_tests::wait::LONG;
use std::fs;
use std::os::unix::net::UnixDatagram;

#[test]
fn a_bad_configuration_is_refused_with_its_error_and_the_old_one_stays() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    // The next of its lines that is of this kind.
    let told = |kind: &str| loop {
        let mut buffer = [0; 1024];
        let count = manager.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if text.starts_with(kind) {
            return text;
        }
    };
    let good = misbehaving("good", "file = \"STAGE/good.log\", sequence = \"STAGE/good.seq\"");
    let changed = good.replace("good.log\"", "good.log\", round = \"1\"");
    let daemon = Daemon::start(&["misbehaves"], &good, &[("NOTIFY_SOCKET", folder.path().join("notify"))]);
    told("READY=1");

    let lines = "[exporters.lines]\nplugin = \"line-count\"\nconfig.path = \"STAGE/lines\"\n";
    let refusals = [
        (format!("[samplin]\nfrequency_hz = 9\n{changed}"), "unknown key `samplin"),
        (
            format!("{changed}[exporters.lines]\nplugin = \"line-count\"\n"),
            "exporter `lines`: no plugin `line-count`",
        ),
        (
            changed.replace("STAGE/good.log\"", "STAGE/good.log\", panic = \"create\""),
            "create was asked to panic",
        ),
        (format!("{changed}{}", misbehaving("other", "interval = \"soon\"")), "`other`: "),
        (
            format!("{changed}[exporters.files]\nplugin = \"file-export\"\nconfig.directory = 7\n"),
            "exporters.files.config.directory",
        ),
        (format!("{changed}[exporters.files]\nplugin = \"tracepoint-offsets\"\n"), "`tracepoint-offsets`"),
    ];
    for (toml, why) in &refusals {
        let (code, said) = daemon.reload(toml);
        assert!(code == Some(1) && said.contains(why), "{code:?}, and not {why}: {said}");
        // A file that cannot be read as a configuration is refused before the daemon is asked; SIGHUP asks it.
        if said.contains("the daemon was not asked") {
            // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
            assert_eq!(unsafe { libc::kill(daemon.child.id().cast_signed(), libc::SIGHUP) }, 0);
        } else {
            assert!(said.contains("the daemon goes on as before"), "{said}");
        }
        let reloading = told("RELOADING=1");
        assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(told("READY=1"), "READY=1\nSTATUS=sampling; the last reload was refused");
    }
    let said = daemon.said();
    assert_eq!(said.matches("the configuration before stays: ").count(), refusals.len(), "{said}");
    let creates = || daemon.lines("good.log").iter().filter(|line| *line == "create").count();
    let profiles = daemon.lines("good.seq").len();
    daemon.eventually("profiles", |daemon| daemon.lines("good.seq").len() > profiles + 1);
    // Those that failed in `create` after this instance of another was made have told of it in the same file.
    let before = creates();

    // What was missing is installed, and loaded now; what cannot be applied is told.
    daemon.stage.install("line-count");
    let said = daemon.renew(&format!("{good}{lines}[memory]\nmax = 80000000\n"));
    let expected = "applied: exporters (lines added)\nwaits until stacksonde is restarted: memory\n";
    assert_eq!(said, expected);
    daemon.eventually("lines", |daemon| !daemon.lines("lines").is_empty());
    let said = daemon.renew(&format!("{good}{lines}"));
    assert_eq!(said, "nothing to apply has changed\n", "it is again what runs");
    assert_eq!(creates(), before);

    // Code that is loaded is not replaced, whatever lies in its place.
    let file = daemon.path("misbehaves.so");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "no library").unwrap();
    let said = daemon.renew(&format!("{changed}{lines}"));
    assert_eq!(said, "applied: exporters (good replaced)\n");
    assert_eq!(creates(), before + 1);
    let profiles = daemon.lines("good.seq").len();
    daemon.eventually("profiles", |daemon| daemon.lines("good.seq").len() > profiles);
    let control = daemon.path("control.sock");
    let (stage, said) = daemon.end();
    let sequence = fs::read_to_string(stage.path().join("good.seq")).unwrap();
    let sequence: Vec<usize> = sequence.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(sequence, (0..sequence.len()).collect::<Vec<_>>(), "{said}");
    assert_eq!(counter(&said, "good", "delivered"), sequence.len() as u64);
    assert!(!control.exists(), "the socket is gone");
}

#[test]
fn without_a_daemon_reload_says_so() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let installed = stacksonde_tests::agent::Installed::from_environment().unwrap();
    let output =
        std::process::Command::new(installed.agent).arg("reload").arg("--socket").arg(&socket).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("no daemon answers at {}", socket.display())), "{said}");
}
