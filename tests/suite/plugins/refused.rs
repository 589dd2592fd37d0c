//! Refused before any of its code runs, in one sentence with the file, the reason and the remedy.

use super::{config, is_root, load, rules};
use stacksonde::plugins::{self, FileRules, Refusal};
use stacksonde_tests::plugin::{File, Stage};
use stacksonde_tests::skip::skip;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

/// Inspects a file that must be refused, and returns the sentence.
fn sentence(path: &Path) -> String {
    sentence_of(plugins::inspect(path, &rules()).unwrap_err(), path)
}

fn sentence_of(refusal: Refusal, path: &Path) -> String {
    let sentence = refusal.to_string();
    assert!(sentence.starts_with(path.to_str().unwrap()), "does not name the file: {sentence}");
    assert!(!sentence.contains('\n') && sentence.len() < 1000, "is not a sentence: {sentence}");
    sentence
}

fn by_hand(file: &File) -> (Stage, std::path::PathBuf) {
    let stage = Stage::new();
    let path = stage.write("by-hand", &file.bytes());
    (stage, path)
}

/// Leaves a test out that needs files of root.
macro_rules! as_root {
    () => {
        if !is_root() {
            skip(concat!(module_path!(), ":", line!()), "only root can own files as root does");
            return;
        }
    };
}

#[test]
fn accepts_the_file_that_the_other_tests_spoil() {
    let (_stage, path) = by_hand(&File::with_manifest(|_| {}));
    assert_eq!(plugins::inspect(&path, &rules()).unwrap().manifest.plugin.name, "by-hand");
}

#[test]
fn refuses_a_plugin_that_others_can_write_to() {
    as_root!();
    let (_stage, path) = by_hand(&File::with_manifest(|_| {}));
    fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
    let sentence = sentence(&path);
    assert!(sentence.contains("mode 0664") && sentence.contains("chmod go-w"), "{sentence}");
}

#[test]
fn refuses_a_plugin_in_a_world_writable_directory() {
    as_root!();
    let (stage, path) = by_hand(&File::with_manifest(|_| {}));
    fs::set_permissions(stage.path(), Permissions::from_mode(0o777)).unwrap();
    let sentence = sentence(&path);
    let directory = format!("{} can be written to", stage.path().display());
    assert!(sentence.contains(&directory) && sentence.contains("chmod go-w"), "{sentence}");
}

#[test]
fn refuses_a_plugin_of_another_owner() {
    as_root!();
    let (_stage, path) = by_hand(&File::with_manifest(|_| {}));
    chown(&path, Some(4711), None).unwrap();
    let sentence = sentence(&path);
    assert!(sentence.contains("user 4711") && sentence.contains("chown root:root"), "{sentence}");
}

#[test]
fn the_development_override_accepts_any_owner_and_mode() {
    as_root!();
    let (_stage, path) = by_hand(&File::with_manifest(|_| {}));
    chown(&path, Some(4711), None).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    plugins::inspect(&path, &FileRules { trust_any_owner: true, ..FileRules::default() }).unwrap();
}

#[test]
fn refuses_a_symbolic_link_as_the_file_or_on_the_way_to_it() {
    let (stage, path) = by_hand(&File::with_manifest(|_| {}));
    let link = stage.path().join("link.so");
    symlink(&path, &link).unwrap();
    assert!(sentence(&link).contains("link.so is a symbolic link"));
    let elsewhere = Stage::new();
    symlink(stage.path(), elsewhere.path().join("way")).unwrap();
    let through = elsewhere.path().join("way/by-hand.so");
    assert!(sentence(&through).contains("way is a symbolic link"));
}

#[test]
fn refuses_a_fifo_without_waiting_for_a_writer() {
    let stage = Stage::new();
    let path = stage.path().join("pipe.so");
    let made = std::process::Command::new("mkfifo").args(["-m", "0600"]).arg(&path).status().unwrap();
    assert!(made.success());
    assert!(sentence(&path).contains("not a regular file"));
}

#[test]
fn refuses_a_library_without_a_manifest() {
    let stage = Stage::new();
    let path = stage.install("no-manifest");
    assert!(sentence(&path).contains("no Stacksonde manifest"));
}

#[test]
fn refuses_a_manifest_over_the_limit() {
    let file =
        File::with_manifest(|manifest| manifest["plugin"]["description"] = "x".repeat(300 << 10).into());
    let (_stage, path) = by_hand(&file);
    assert!(sentence(&path).contains("more than 262144"));
}

#[test]
fn refuses_a_manifest_that_lacks_a_key_and_names_the_key() {
    let file = File::with_manifest(|manifest| {
        manifest["plugin"].as_object_mut().unwrap().remove("license");
    });
    let (_stage, path) = by_hand(&file);
    assert!(sentence(&path).contains("`license`"));
}

#[test]
fn refuses_what_was_built_for_something_else() {
    for (key, value, expected) in [
        ("abi", "2.0", "plugin ABI 2.0"),
        ("target", "riscv64-linux-gnu", "riscv64-linux-gnu"),
        ("panic", "abort", "panic = \"abort\""),
    ] {
        let (_stage, path) = by_hand(&File::with_manifest(|manifest| manifest["build"][key] = value.into()));
        let sentence = sentence(&path);
        assert!(sentence.contains(expected), "{key}: {sentence}");
    }
}

#[test]
fn refuses_a_search_path_and_libraries_of_its_own() {
    let sound = File::with_manifest(|_| {});
    let (_stage, path) = by_hand(&File { runpath: "$ORIGIN/../lib".into(), ..sound.clone() });
    assert!(sentence(&path).contains("$ORIGIN/../lib"));
    let file = File { needed: vec!["libc.so.6".into(), "libcurl.so.4".into()], ..sound };
    let (_stage, path) = by_hand(&file);
    assert!(sentence(&path).contains("libcurl.so.4"));
    let allowed = FileRules { allow_needed: vec!["libcurl.so.4".into()], ..rules() };
    plugins::inspect(&path, &allowed).unwrap();
}

#[test]
fn refuses_a_file_that_is_cut_short() {
    let whole = File { needed: vec!["libc.so.6".into()], ..File::with_manifest(|_| {}) }.bytes();
    let stage = Stage::new();
    for length in [0, 3, 40, 100, 230, whole.len() - 40, whole.len() - 1] {
        sentence(&stage.write("by-hand", &whole[..length]));
    }
}

#[test]
fn refuses_a_file_that_is_named_for_another_plugin() {
    let stage = Stage::new();
    let path = stage.write("other", &File::with_manifest(|_| {}).bytes());
    let refusal = plugins::find("other", &config(&stage), &rules()).unwrap_err();
    assert!(sentence_of(refusal, &path).contains("is the plugin `by-hand`"));
}

#[test]
fn says_where_it_looked_for_a_plugin_that_is_not_there() {
    let (stage, other) = (Stage::new(), Stage::new());
    let mut config = config(&stage);
    config.directories.push(other.path().into());
    let refusal = plugins::find("absent", &config, &rules()).unwrap_err();
    assert!(refusal.is_not_found());
    for stage in [&stage, &other] {
        assert!(refusal.to_string().contains(stage.path().join("absent.so").to_str().unwrap()), "{refusal}");
    }
}

#[test]
fn a_name_cannot_leave_the_configured_directories() {
    let stage = Stage::new();
    for name in ["../by-hand", "a/b", "", "a.so"] {
        let refusal = plugins::find(name, &config(&stage), &rules()).unwrap_err();
        assert!(matches!(refusal, Refusal::BadName { .. }), "{name}: {refusal}");
    }
}

#[test]
fn refuses_a_plugin_whose_types_have_another_layout() {
    // Its root would end this process if it were called.
    let stage = Stage::new();
    let path = stage.install("wrong-layout");
    let inspected = plugins::inspect(&path, &rules()).unwrap();
    let sentence = sentence_of(plugins::load(inspected).unwrap_err(), &path);
    assert!(sentence.contains("types do not match"), "{sentence}");
}

#[test]
fn refuses_a_plugin_that_states_no_layout() {
    let refusal = load("no-layout").unwrap_err();
    assert!(matches!(refusal, Refusal::NoLayout { .. }), "{refusal}");
}
