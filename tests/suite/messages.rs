//! Output of commands: nothing of what others wrote acts on a terminal, and no cause is told twice.

use crate::prose::files;
use stacksonde_tests::{agent, plugin};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Sets a title, colours, moves, hides and turns round, breaks lines; the last byte is not UTF-8.
const HOSTILE: &[u8] = b"a\x1b]0;pwned\x07\x1b[31mred\xc2\x9b2J\xe2\x80\xaeb\x7f\r\nstacksonde: fine\xff";

fn stacksonde<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(agent::built()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Returns what was said, after it was seen that none of it acts.
fn harmless(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let acts = |it: char| {
        (it.is_control() && it != '\n') || matches!(it, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}')
    };
    assert!(!said.chars().any(acts), "{said:?}");
    assert!(!said.contains("\nstacksonde: fine"), "{said}");
    said
}

/// A file of this name, which is followed by `ending`, and content.
fn file(folder: &Path, name: &[u8], ending: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(OsStr::from_bytes(&[name, ending.as_bytes()].concat()));
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn what_files_hold_and_how_they_are_called_does_not_reach_the_terminal_raw() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (plain, hostile) = (&b"x"[..], HOSTILE);
    let content = [b"a;\x1b]0;pwned\x07\x1b[31mred b\n", hostile].concat();
    let toml = |text: &[u8]| [b"[sampling]\nfrequency_hz = \"", text, b"\"\n"].concat();
    let files: Vec<(&str, PathBuf)> = vec![
        ("view", file(folder, plain, ".folded", &content)),
        ("view", file(folder, hostile, ".folded", &content)),
        ("view", file(folder, hostile, ".pb.gz", b"\x08")),
        ("view", file(folder, hostile, ".json", b"{}")),
        ("view", folder.join(OsStr::from_bytes(&[hostile, b"-absent"].concat()))),
        ("batch", file(folder, hostile, ".batch", &content)),
        ("config", file(folder, plain, ".toml", &toml(b"a\xc2\x9b2J\xe2\x80\xaeb"))),
        ("config", file(folder, b"y", ".toml", &content)),
        (
            "config",
            file(
                folder,
                b"z",
                ".toml",
                b"[exporters.\"a\\u001b]0;x\\u0007\\u009b\"]\nplugin = \"\\u001b[2J\\u202e\"\n",
            ),
        ),
        ("config", file(folder, hostile, ".toml", &toml(b"9"))),
        ("plugin", file(folder, hostile, ".so", &content)),
    ];
    for (command, path) in files {
        let arguments: Vec<OsString> = match command {
            "config" => ["config".into(), "check".into(), path.clone().into()].into(),
            "plugin" => ["plugin".into(), "info".into(), path.clone().into()].into(),
            command => [command.into(), path.clone().into()].into(),
        };
        let output = stacksonde(arguments);
        assert_eq!(output.status.code(), Some(2), "{command} {path:?}: {output:?}");
        assert!(!harmless(&output).is_empty(), "{command} {path:?}");
    }
    // A directory of plugins with such a file, and the names of others.
    fs::write(folder.join("plugins.toml"), format!("[plugins]\ndirectories = [{folder:?}]\n")).unwrap();
    let list = stacksonde([
        OsStr::new("plugin"),
        OsStr::new("list"),
        OsStr::new("--config"),
        folder.join("plugins.toml").as_os_str(),
    ]);
    assert!(harmless(&list).contains("refused: "), "{list:?}");
    // An argument that is the name of somebody's file.
    let argument = [b"--", HOSTILE].concat();
    let output = stacksonde([OsStr::new("view"), OsStr::from_bytes(&argument)]);
    assert_eq!(output.status.code(), Some(2));
    harmless(&output);
}

#[test]
fn a_cause_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let absent = folder.join("absent");
    let config = folder.join("x.toml");
    fs::write(&config, "[plugins]\ndirectories = [\"/dev/null/x\"]\nload = [\"a\"]\nrequired = [\"a\"]\n")
        .unwrap();
    let (absent, config) = (absent.to_str().unwrap(), config.to_str().unwrap());
    for arguments in [
        &["view", absent][..],
        &["batch", absent],
        &["config", "check", absent],
        &["config", "check", config],
        &["doctor", "--config", absent],
        &["doctor", "--config", config],
        &["plugin", "info", absent],
        &["reload", "--socket", absent],
    ] {
        let said = harmless(&stacksonde(arguments));
        let causes = said.matches("(os error ").count();
        assert_eq!(
            causes,
            said.lines().filter(|line| line.contains("(os error ")).count(),
            "{arguments:?}: {said}"
        );
    }
}

/// Texts of errors are shown by themselves and with their sources: what holds its cause must not name it as one, too.
#[test]
fn no_error_has_its_cause_in_its_text_and_as_its_source() {
    let mut looked_at = 0;
    for folder in ["host/src", "sdk", "plugins", "ebpf/src"] {
        for path in files(&plugin::workspace().join(folder), &["rs"]) {
            let text = fs::read_to_string(&path).unwrap();
            for error in text.split("#[error(").skip(1) {
                looked_at += 1;
                let end = error.find("\n}").unwrap_or(error.len());
                let names_source =
                    ["#[source]", "#[from]", " source:"].iter().any(|it| error[..end].contains(it));
                assert!(
                    !names_source || error.starts_with("transparent"),
                    "{}: #[error({}",
                    path.display(),
                    &error[..end]
                );
            }
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}
