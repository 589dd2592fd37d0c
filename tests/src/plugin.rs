//! Plugins for tests: fixtures built as a third party would, files made by hand, and the root-owned
//! directory that a host loads them from.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// Built fixtures by name.
static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

/// Returns the folder of the crate of fixture `name`: outside the workspace, as a third party's would be.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(name)
}

/// Builds the fixture `name`, once, and returns its shared library.
///
/// # Panics
///
/// If it does not build.
pub fn build(name: &str) -> PathBuf {
    once(name, || build_crate(&fixture(name), &[]))
}

/// Returns the path that `make` made when it was first asked for under this name.
pub(crate) fn once(name: &str, make: impl FnOnce() -> PathBuf) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_default().entry(name.into()).or_insert_with(make).clone()
}

/// This repository's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns the folder in which cargo puts what it builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The way in which this very program was built, so that what tests build of the workspace is not built twice.
#[derive(Debug)]
pub struct Build {
    /// Cargo's arguments.
    pub arguments: Vec<String>,
    /// The folder of the workspace's programs.
    pub folder: PathBuf,
}

impl Build {
    /// Tells it by the folder of this program: `target/[TRIPLE/]PROFILE/deps`.
    ///
    /// # Panics
    ///
    /// If cargo did not build this program.
    pub fn of_this_program() -> Self {
        let program = env::current_exe().unwrap();
        let folder = program.ancestors().find(|folder| !folder.ends_with("deps") && folder.is_dir()).unwrap();
        let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
        let profile = name(folder);
        let profile = if profile == "debug" { "dev" } else { &profile };
        let mut arguments = vec!["--profile".into(), profile.to_owned()];
        let triple = name(folder.parent().unwrap());
        if triple.contains("-linux-") {
            arguments.extend(["--target".into(), triple]);
        }
        Self { arguments, folder: folder.into() }
    }
}

/// A command of the cargo that runs the tests, for a crate outside of the workspace: in `folder`, with the
/// versions that the workspace has, so that nothing new is fetched and what is shared is built once.
///
/// # Panics
///
/// If the folder cannot be written to.
pub fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .args(["--quiet", "--config", "profile.dev.debug=false"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target().join("fixtures"))
        // What the workspace's own tests are built with is not this crate's.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Builds the crate in `folder`, with `environment` besides our own, and returns its shared library.
///
/// # Panics
///
/// If it does not build.
pub fn build_crate(folder: &Path, environment: &[(&str, &Path)]) -> PathBuf {
    let mut build = cargo(folder, &["build"]);
    let output = build
        .arg("--message-format=json-render-diagnostics")
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("cargo build in {}: {error}", folder.display()));
    assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut files = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?.clone();
        files.into_iter().find(|file| file.as_str().is_some_and(|file| file.ends_with(".so")))
    });
    // The last one is the crate's own; those before are macros.
    let file = files.next_back().unwrap_or_else(|| panic!("{} is not a cdylib", folder.display()));
    PathBuf::from(file.as_str().unwrap())
}

/// Compiles a plugin in C, whose `plugin.json` lies beside it, with `flags` besides those that the guide names.
///
/// # Panics
///
/// If it does not compile without a warning.
pub fn build_c(source: &Path, flags: &[&str]) -> PathBuf {
    let folder = target().join("fixtures/c");
    fs::create_dir_all(&folder).unwrap();
    let name = source.file_stem().unwrap().to_str().unwrap();
    let library = folder.join(format!("{name}{}.so", flags.concat()));
    once(library.to_str().unwrap(), || {
        let output = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-std=c11", "-D_GNU_SOURCE", "-O1"])
            .args(["-shared", "-fPIC", "-fvisibility=hidden", "-I"])
            .arg(workspace().join("sdk/c"))
            .args(flags)
            .arg("-o")
            .args([&library, &PathBuf::from(source.file_name().unwrap())])
            .current_dir(source.parent().unwrap())
            .output()
            .unwrap_or_else(|error| panic!("cc {}: {error}", source.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library.clone()
    })
}

/// A directory that plugins are loaded from, removed with the test.
#[derive(Debug)]
pub struct Stage(tempfile::TempDir);

impl Stage {
    /// An empty one, mode 0755, owned by whoever runs the test.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new() -> Self {
        // No link on the way, as the host asks.
        let parent = env::temp_dir().canonicalize().unwrap();
        let folder = tempfile::Builder::new().prefix("stacksonde-plugins-").tempdir_in(parent).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Builds the fixture `name` and installs it as `<name>.so`, mode 0644.
    ///
    /// # Panics
    ///
    /// If it does not build.
    pub fn install(&self, name: &str) -> PathBuf {
        self.write(name, &fs::read(build(name)).unwrap())
    }

    /// Installs `bytes` as `<name>.so`, mode 0644.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(format!("{name}.so"));
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// A shared library without code: a manifest in its note, needed libraries, a search path.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Text of the manifest; no note if it is empty.
    pub manifest: String,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    /// `DT_RUNPATH`; none if it is empty.
    pub runpath: String,
}

impl File {
    /// A manifest that this host accepts, with `change` applied to it.
    pub fn with_manifest(change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut manifest = serde_json::json!({
            "schema": 1,
            "build": {
                "abi": "1.0", "target": stacksonde_plugin::manifest::TARGET, "panic": "unwind",
                "kinds": ["exporter"], "version": "0.1.0", "entry": "stacksonde_plugin_1_by_hand"
            },
            "plugin": { "name": "by-hand", "license": "MIT" }
        });
        change(&mut manifest);
        Self { manifest: manifest.to_string(), ..Self::default() }
    }

    /// The file: an ELF header, three segments, their content. One `PT_LOAD` maps all of it at address 0.
    pub fn bytes(&self) -> Vec<u8> {
        let note = self.note();
        let mut strings = vec![0u8];
        let mut dynamic = Vec::new();
        let tags = self
            .needed
            .iter()
            .map(|name| (1u64, name))
            .chain(Some((29, &self.runpath)).filter(|(_, path)| !path.is_empty()));
        for (tag, text) in tags {
            dynamic.extend([tag, strings.len() as u64]);
            strings.extend(text.bytes().chain([0]));
        }
        let note_at = 64 + 3 * 56;
        let dynamic_at = (note_at + note.len()).next_multiple_of(8);
        let strings_at = dynamic_at + (dynamic.len() + 4) * 8;
        dynamic.extend([5, strings_at as u64, 0, 0]);
        let size = strings_at + strings.len();

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        file.extend([3u16, machine].map(u16::to_le_bytes).concat());
        file.extend(1u32.to_le_bytes());
        file.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend([64u16, 56, 3, 0, 0, 0].map(u16::to_le_bytes).concat());
        for (kind, at, length) in
            [(1u32, 0, size), (4, note_at, note.len()), (2, dynamic_at, strings_at - dynamic_at)]
        {
            file.extend([kind, 4].map(u32::to_le_bytes).concat());
            let (at, length) = (at as u64, length as u64);
            file.extend([at, at, at, length, length, 4].map(u64::to_le_bytes).concat());
        }
        file.extend(note);
        file.resize(dynamic_at, 0);
        file.extend(dynamic.into_iter().flat_map(u64::to_le_bytes));
        file.extend(strings);
        file
    }

    fn note(&self) -> Vec<u8> {
        if self.manifest.is_empty() {
            return Vec::new();
        }
        let owner = stacksonde_plugin::manifest::OWNER;
        let sizes = [owner.len() + 1, self.manifest.len(), 1];
        let mut note: Vec<u8> =
            sizes.iter().flat_map(|size| u32::try_from(*size).unwrap().to_le_bytes()).collect();
        note.extend(owner.bytes().chain([0]));
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(self.manifest.bytes());
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }
}
