//! A minimal Debian to install packages in, from an archive that `cargo xtask test` makes: commands in it, and systemd
//! as process 1 of it, in namespaces of their own.

use crate::target::Running;
use crate::wait::LONG;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

/// Environment variable that names the archive of the root.
pub const ROOT: &str = "STACKSONDE_TEST_ROOT";
/// Environment variable that names a folder of packages.
pub const PACKAGES: &str = "STACKSONDE_TEST_PACKAGES";
/// Environment variable that names a folder of the same packages with a higher version.
pub const NEWER: &str = "STACKSONDE_TEST_PACKAGES_NEWER";

/// Returns the path that a variable names; the error says what is missing.
pub fn named_by(variable: &str) -> Result<PathBuf, String> {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    path.ok_or_else(|| {
        format!("{variable} names nothing; run `cargo xtask test --tier packages`, which makes it")
    })
}

/// Returns a description of what the tests of packages lack here, if anything.
pub fn lacking() -> Option<String> {
    let named = || [ROOT, PACKAGES, NEWER].iter().try_for_each(|name| named_by(name).map(drop));
    crate::skip::root_is_lacking().or_else(|| named().err())
}

/// Packages in a folder whose names end so, by name.
///
/// # Panics
///
/// If the folder cannot be read.
pub fn packages(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut packages: Vec<_> =
        entries.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect();
    packages.sort();
    assert!(!packages.is_empty(), "no packages *{ending} in {}", folder.display());
    packages
}

/// Mounts what programs expect, in a mount namespace of its own, and goes there. `$1` is the root; the rest is run.
const ENTER: &str = r#"
set -e
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
for place in run tmp; do mount -t tmpfs tmpfs $place; done
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
if [ "$1" = /lib/systemd/systemd ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; fi
mkdir -p mnt/old
pivot_root . mnt/old
umount -l mnt/old
rmdir mnt/old
exec env -i container=stacksonde-test DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"#;

/// An unpacked root; it is removed with the test.
#[derive(Debug)]
pub struct Root(tempfile::TempDir);

impl Root {
    /// Unpacks the archive, with a package source that has what is in `folder`.
    ///
    /// # Panics
    ///
    /// If it cannot be unpacked.
    pub fn unpack(folder: &Path) -> Self {
        let temporary = env::temp_dir().canonicalize().unwrap();
        let root = Self(tempfile::Builder::new().prefix("stacksonde-root-").tempdir_in(temporary).unwrap());
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(root.path()).args(["--exclude=./dev/*", "-xf"]).arg(named_by(ROOT).unwrap());
        assert!(tar.status().unwrap().success());
        for list in fs::read_dir(root.path().join("etc/apt/sources.list.d")).unwrap() {
            fs::remove_file(list.unwrap().path()).unwrap();
        }
        fs::write(root.path().join("etc/apt/sources.list"), "deb [trusted=yes] file:/srv/packages ./\n")
            .unwrap();
        root.offer(&packages(folder, ".deb"));
        root
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds packages to the package source, and has apt look at it.
    ///
    /// # Panics
    ///
    /// If the packages cannot be copied.
    pub fn offer(&self, packages: &[PathBuf]) {
        let source = self.path().join("srv/packages");
        fs::create_dir_all(&source).unwrap();
        for package in packages {
            fs::copy(package, source.join(package.file_name().unwrap())).unwrap();
        }
        let scan = Command::new("dpkg-scanpackages").args(["-m", "."]).current_dir(&source).output().unwrap();
        assert!(scan.status.success(), "{}", String::from_utf8_lossy(&scan.stderr));
        fs::write(source.join("Packages"), scan.stdout).unwrap();
        self.run(&["apt-get", "update"]);
    }

    /// Returns the output of doctor in it.
    ///
    /// # Panics
    ///
    /// If that is not JSON.
    pub fn doctor(&self) -> serde_json::Value {
        // Its status tells the level.
        let output = self.enter(&["stacksonde", "doctor", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Runs a command in it, without systemd; it must succeed. Returns what it said on standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> String {
        succeeded(words, self.enter(words).output().unwrap())
    }

    /// A command in it, without systemd.
    pub fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        command.args(["sh", "-c", ENTER, "enter"]).arg(self.path()).args(words).stdin(Stdio::null());
        command
    }

    /// Starts systemd in it, and waits until that is done with starting.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn boot(&self) -> Booted {
        let log = self.path().with_extension("log");
        let file = fs::File::create(&log).unwrap();
        let group = Group::new();
        // The command joins the group before it makes a cgroup namespace, of which the group is then the top.
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.path().join("cgroup.procs"));
        command.args(["unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]);
        command.args(["--propagation", "private", "sh", "-c", ENTER, "enter"]).arg(self.path());
        command.args([
            "/lib/systemd/systemd",
            "--system",
            "--log-target=console",
            "--unit=multi-user.target",
        ]);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let outer = Running::start(&mut command);
        let mut booted = Booted { init: 0, _outer: outer, _group: group };
        let start = Instant::now();
        loop {
            assert!(
                start.elapsed() < LONG,
                "systemd did not come up: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(200));
            let Some(init) = only_child(booted._outer.0.id()) else { continue };
            booted.init = init;
            let state = booted.enter(&["systemctl", "is-system-running"]).output().unwrap();
            if state.stdout.starts_with(b"running") {
                let _removed = fs::remove_file(&log);
                return booted;
            }
        }
    }

    /// Everything that is in it: kind, mode, owner, and for files the size and for links where they lead.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::symlink_metadata(&path).unwrap();
                let what = if about.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else if about.is_file() {
                    about.len().to_string()
                } else {
                    String::new()
                };
                let text = format!("{:o} {}:{} {what}", about.mode(), about.uid(), about.gid());
                files.insert(Path::new("/").join(path.strip_prefix(self.path()).unwrap()), text);
                if about.is_dir() {
                    open.push(path);
                }
            }
        }
        files
    }
}

/// A root with systemd as process 1; everything in it is killed when the test drops it.
#[derive(Debug)]
pub struct Booted {
    /// Process 1, by its id outside.
    init: u32,
    _outer: Running,
    _group: Group,
}

impl Booted {
    /// A command in it.
    pub fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--pid", "--ipc", "--uts", "--cgroup"]);
        command.args(["env", "-i", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "RUNLEVEL="]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command in it, which must succeed. Returns what it said on standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> String {
        succeeded(words, self.enter(words).output().unwrap())
    }

    /// Returns a property of the service from systemd.
    ///
    /// # Panics
    ///
    /// If it says nothing.
    pub fn service(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, "stacksonde.service"])
            .trim()
            .to_owned()
    }

    /// Waits until the condition holds.
    ///
    /// # Panics
    ///
    /// If it never does; with what the service said.
    pub fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            if start.elapsed() > LONG {
                panic!("never seen: {what}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Returns the log of the service.
    ///
    /// # Panics
    ///
    /// If there is no journal.
    pub fn log(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit=stacksonde.service"])
    }
}

/// A control group for everything in a root.
#[derive(Debug)]
struct Group(tempfile::TempDir, PathBuf);

impl Group {
    fn new() -> Self {
        // Wherever the machine has it mounted, or not.
        let mounted = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "cgroup2", "cgroup2"]).arg(mounted.path()).status().unwrap();
        assert!(mount.success(), "no cgroups of version 2 here");
        let path = mounted.path().join(format!("stacksonde-test-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(mounted, path)
    }

    fn path(&self) -> &Path {
        &self.1
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What is in it ends with process 1; groups go from the bottom, once they are empty.
        for _ in 0..600 {
            let mut find = Command::new("find");
            find.arg(&self.1).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            let _ended = find.stderr(Stdio::null()).status();
            if !self.1.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// The child of the process, if it has one.
fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn succeeded(words: &[impl AsRef<OsStr>], output: Output) -> String {
    let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{}` failed with {}: {said}{wrong}", words.join(" "), output.status);
    said.into_owned()
}
