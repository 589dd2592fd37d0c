//! The guide's commands run as they stand there, and it shows the fixture that the other tests load, word for word.

use super::is_root;
use stacksonde_tests::{agent, plugin};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn guide() -> String {
    fs::read_to_string(plugin::workspace().join("docs/writing-a-plugin.md")).unwrap()
}

/// Every block of `language`, in order.
fn blocks<'a>(guide: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = guide.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

#[test]
fn the_guide_shows_the_files_of_a_plugin_that_loads() {
    let guide = guide();
    for (language, file) in [("toml", "Cargo.toml"), ("json", "plugin.json"), ("rust", "src/lib.rs")] {
        let expected = fs::read_to_string(plugin::fixture("line-count").join(file)).unwrap();
        assert_eq!(blocks(&guide, language)[0], expected, "{file}");
    }
}

/// Puts a program in front of the ones that the guide calls.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    let guide = guide();
    let folder = tempfile::tempdir_in(std::env::temp_dir().canonicalize().unwrap()).unwrap();
    let folder = folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let plugins = plugin::Stage::new();
    let own = folder.join("bin");
    fs::create_dir(&own).unwrap();

    // The agent, told where the plugins of this test are, and that they may be ours.
    let config = folder.join("stage.toml");
    fs::write(&config, format!("[plugins]\ndirectories = [{:?}]\n", plugins.path())).unwrap();
    let trust = if is_root() { "" } else { "--trust-any-plugin-owner" };
    let (built, config) = (agent::built(), config.display());
    let script = format!(
        "case \"$1 $2\" in\n\"plugin new\"|\"batch \"*) exec {0} \"$@\";;\n\
         \"config check\") exec {0} config check {config} \"$3\" {trust};;\nesac\n\
         case \" $* \" in *' --trust-any-plugin-owner '*) exec {0} \"$@\" --config {config};; esac\n\
         exec {0} \"$@\" --config {config} {trust}\n",
        built.display()
    );
    program(&own, "stacksonde", &script);
    // Cargo, with the versions that the workspace has, and not building again what other tests have built.
    let shared = plugin::target().join("fixtures");
    let script = format!(
        "cp {0}/Cargo.lock .\n{1} \"$@\" --quiet --offline --config profile.dev.debug=false --target-dir {2} || exit 1\n\
         if [ \"$2\" = --release ]; then mkdir -p target/release && cp {2}/release/lib*.so target/release; fi\n",
        plugin::workspace().display(),
        std::env::var("CARGO").unwrap(),
        shared.display()
    );
    program(&own, "cargo", &script);

    let commands = blocks(&guide, "sh guide");
    let (places, commands) = commands.split_first().unwrap();
    assert!(places.starts_with("checkout=") && places.contains("\nplugins=") && places.lines().count() == 2);
    let mut script = format!(
        "set -eux\ncheckout={}\nplugins={}\n",
        plugin::workspace().display(),
        plugins.path().display()
    );
    for block in commands {
        script += block;
    }
    // What is checked there is the file that the guide shows.
    let shown = blocks(&guide, "config")[0];
    script = script.replace(
        "stacksonde config check",
        &format!("cat > sample-log.toml <<'END'\n{shown}END\nstacksonde config check"),
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder)
        .env("PATH", format!("{}:{}", own.display(), std::env::var("PATH").unwrap()))
        // The guide's own build takes its time to make a small library.
        .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")])
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "wrote sample-log",
        " 0 failed",
        "config         path",
        "sample-log.toml: ok",
        "kind           exporter",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert_eq!(said.matches(" passed, 0 failed\n").count(), 3, "{said}");
}
