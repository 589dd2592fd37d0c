//! A running daemon that writes what it sees into a folder.

use crate::agent::Installed;
use crate::folded::Stacks;
use crate::wait::eventually;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// A daemon that writes folded stacks of every interval into a folder; it is killed when the test drops it.
#[derive(Debug)]
pub struct Daemon {
    /// Its process.
    pub child: Child,
    folder: tempfile::TempDir,
    interval_seconds: u32,
}

impl Daemon {
    /// Starts it with intervals of this length and `toml` on top of the test's config.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(interval_seconds: u32, toml: &str) -> Self {
        let installed = Installed::from_environment().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("profiles")).unwrap();
        write_config(&folder, interval_seconds, toml);
        let log = std::fs::File::create(folder.path().join("daemon.log")).unwrap();
        let child = installed
            .command("run")
            .arg("--config")
            .arg(folder.path().join("daemon.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder, interval_seconds }
    }

    /// Gives it another `toml` and sends SIGHUP.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn reload(&self, toml: &str) {
        write_config(&self.folder, self.interval_seconds, toml);
        self.signal(libc::SIGHUP);
    }

    /// Returns the profiles that it wrote so far, oldest first.
    ///
    /// # Panics
    ///
    /// If a file cannot be read.
    pub fn profiles(&self) -> Vec<Stacks> {
        let files = std::fs::read_dir(self.folder.path().join("profiles")).unwrap();
        // One that is being written has a name that begins with a dot.
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "folded"));
        files.sort();
        files.iter().map(|file| Stacks::parse(&std::fs::read_to_string(file).unwrap())).collect()
    }

    /// Waits until the condition holds of what it wrote, and returns that.
    ///
    /// # Panics
    ///
    /// If it never does.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&[Stacks]) -> bool) -> Vec<Stacks> {
        let mut profiles = Vec::new();
        eventually(what, || {
            profiles = self.profiles();
            holds(&profiles)
        });
        profiles
    }

    /// Waits until it wrote so many profiles, and returns all of them.
    ///
    /// # Panics
    ///
    /// If it never does.
    pub fn wait_for(&self, profiles: usize) -> Vec<Stacks> {
        self.wait_until(&format!("profile {profiles}"), |written| written.len() >= profiles)
    }

    /// Reads its log so far.
    ///
    /// # Panics
    ///
    /// If that cannot be read.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap()
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// If it cannot be sent.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), signal) }, 0);
    }

    /// Sends SIGTERM, waits for the end, and returns what the daemon had said.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn terminate(&mut self) -> String {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().unwrap();
        let said = self.said();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

fn write_config(folder: &tempfile::TempDir, interval_seconds: u32, toml: &str) {
    let profiles = folder.path().join("profiles");
    let text = format!(
        "[sampling]\nfrequency_hz = 99\ninterval_seconds = {interval_seconds}\n\
         [exporters.files]\nplugin = \"file-export\"\n\
         config = {{ directory = {profiles:?}, formats = [\"folded\"] }}\n{toml}"
    );
    std::fs::write(folder.path().join("daemon.toml"), text).unwrap();
}
