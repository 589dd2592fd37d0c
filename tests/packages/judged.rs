//! The verdicts of the distributions' own judges.

use super::{packages, packages_tier, run};
use stacksonde_tests::{plugin, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The agent's package, unpacked into a folder.
fn unpacked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let packages = root::packages(&packages(), ".deb");
    let host = packages.iter().find(|path| path.to_str().unwrap().contains("/stacksonde_")).unwrap();
    run(Command::new("dpkg-deb").arg("-x").arg(host).arg(folder.path()));
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn lintian_finds_no_error_and_no_warning() {
    packages_tier!();
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).args(root::packages(&packages(), ".deb"));
    let said = run(&mut lintian);
    assert!(!said.contains("E: ") && !said.contains("W: "), "{said}");
}

#[test]
fn rpmlint_finds_no_error_and_no_warning() {
    packages_tier!();
    let config = plugin::workspace().join("packaging/rpm/rpmlint.toml");
    let mut rpmlint = Command::new("rpmlint");
    let said = run(rpmlint.arg("--config").arg(config).args(root::packages(&packages(), ".rpm")));
    assert!(said.contains(" 0 errors, 0 warnings"), "{said}");
}

#[test]
fn manual_pages_are_clean_and_there_is_one_for_each_command() {
    packages_tier!();
    let folder = unpacked();
    let man = folder.path().join("usr/share/man");
    let pages = [files(&man.join("man1")), files(&man.join("man5"))].concat();
    for page in &pages {
        let text = run(Command::new("gzip").arg("-dc").arg(page));
        let plain = folder.path().join(page.file_stem().unwrap());
        fs::write(&plain, text).unwrap();
        run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&plain));
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file", "-Tutf8", "--ditroff"]).arg(&plain);
        let output = man.env("MANROFFSEQ", "").output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let agent = folder.path().join("usr/bin/stacksonde");
    let help = run(Command::new(agent).arg("--help"));
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let page = man.join(format!("man1/stacksonde-{command}.1.gz"));
        assert!(pages.contains(&page), "no {}", page.display());
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    packages_tier!();
    let folder = unpacked();
    let script = folder.path().join("usr/share/bash-completion/completions/stacksonde");
    let complete = |line: &str| {
        let ask = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
             _stacksonde stacksonde \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        run(Command::new("bash").args(["-c", &ask])).trim().to_owned()
    };
    assert_eq!(complete("stacksonde doc"), "doctor");
    assert_eq!(complete("stacksonde record --deny-c"), "--deny-comm --deny-cgroup");
}
