//! The built agent with its plugins installed, as `cargo xtask test` leaves them.

use crate::plugin;
use crate::wait::eventually;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

/// The agent as the tests' own profile builds it, for commands that need no rights.
///
/// # Panics
///
/// If it does not build.
pub fn built() -> PathBuf {
    plugin::once("the agent", || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = plugin::Build::of_this_program();
        // As part of the workspace, so that what it depends on is what the tests have built.
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bin", "stacksonde"])
            .args(build.arguments)
            .current_dir(plugin::workspace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        build.folder.join("stacksonde")
    })
}

/// Environment variable that names the agent's binary.
pub const AGENT: &str = "STACKSONDE_TEST_AGENT";
/// Environment variable that names a config file whose `plugins.directories` hold the plugins.
pub const CONFIG: &str = "STACKSONDE_TEST_CONFIG";

/// The paths of the agent and its config.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The binary.
    pub agent: PathBuf,
    /// The config file.
    pub config: PathBuf,
}

impl Installed {
    /// Reads [`AGENT`] and [`CONFIG`]; the error says what is missing.
    pub fn from_environment() -> Result<Self, String> {
        let path = |name| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.exists()).ok_or_else(|| {
                format!("{name} names no file; run `cargo xtask test`, which builds and installs")
            })
        };
        Ok(Self { agent: path(AGENT)?, config: path(CONFIG)? })
    }

    /// A command of the agent, with the test's config.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.agent);
        // Cargo sets it for the tests; the agent warns of it.
        command.env_remove("LD_LIBRARY_PATH");
        command.arg(subcommand).arg("--config").arg(&self.config);
        command
    }

    /// Runs doctor with `toml` on top of the test's config, and returns its JSON, by a command in front of the agent's
    /// (none if it is empty).
    ///
    /// # Panics
    ///
    /// If that is not JSON.
    pub fn doctor(&self, wrapper: &[&str], toml: &str, variables: &[(&str, &str)]) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        let config = config_in(folder.path(), toml);
        let doctor = [self.agent.as_os_str(), "doctor".as_ref(), "--json".as_ref()];
        let words: Vec<&std::ffi::OsStr> = wrapper.iter().map(AsRef::as_ref).chain(doctor).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--config").arg(&self.config).arg("--config").arg(config);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}{}", said(&output.stdout), said(&output.stderr));
        })
    }

    /// Records into `folder/profile.folded` and returns what the agent said and the stacks.
    ///
    /// # Panics
    ///
    /// If the agent fails.
    pub fn record(&self, folder: &Path, arguments: &[&str]) -> (Output, crate::folded::Stacks) {
        let file = folder.join("profile.folded");
        let output = self
            .command("record")
            .arg("-o")
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.agent.display()));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (output, crate::folded::Stacks::parse(&text))
    }

    /// Records as [`Installed::record`] does, from when sampling has begun until the condition holds.
    ///
    /// # Panics
    ///
    /// If the agent fails, or the condition never holds.
    pub fn record_until(
        &self,
        folder: &Path,
        arguments: &[&str],
        until: impl FnMut(u32) -> bool,
    ) -> (Output, crate::folded::Stacks) {
        let file = folder.join("profile.folded");
        let output = record_until(self.command("record").arg("-o").arg(&file).args(arguments), until);
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (output, crate::folded::Stacks::parse(&text))
    }
}

/// A flag of `record` for tests that count samples: only at a fixed period there are exactly as many as the rate says.
pub const FIXED: &str = "--period-spread=0";

/// Adds up the samples that were lost, by the summary of a recording.
pub fn lost(output: &Output) -> u64 {
    let said = said(&output.stdout);
    let count = |line: &str| {
        let (count, reason) = line.trim().split_once(' ')?;
        count.parse::<u64>().ok().filter(|_| reason.starts_with("samples_lost_"))
    };
    said.lines().filter_map(count).sum()
}

/// Finds the line with which an agent ends, and sees to it that nothing was lost within the agent itself; what the kernel
/// never ran, on a busy machine, is another matter.
///
/// # Panics
///
/// If there is no such line, or something was lost.
pub fn ended_without_loss(said: &str) -> &str {
    let end = said.lines().rfind(|line| line.contains("ended samples=")).unwrap_or_else(|| panic!("{said}"));
    for ours in ["ring_full", "no_ring", "no_scratch", "malformed", "stacks_full", "not_written"] {
        assert!(!end.contains(ours), "{end}");
    }
    end
}

/// Runs a command that is, or that starts, `stacksonde record`; once that says that it records, waits for the
/// condition, which is told the process that was started here, and interrupts the recording. It may also end by itself.
///
/// # Panics
///
/// If it fails, or the condition never holds.
pub fn record_until(command: &mut Command, mut until: impl FnMut(u32) -> bool) -> Output {
    // Cargo sets it for the tests; the agent warns of it.
    command.env_remove("LD_LIBRARY_PATH").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (begins, has_begun) = mpsc::channel();
    let stdout = std::thread::spawn(move || {
        let mut said = Vec::new();
        stdout.read_to_end(&mut said).unwrap();
        said
    });
    let stderr = std::thread::spawn(move || {
        let (mut said, mut stderr) = (Vec::new(), BufReader::new(stderr));
        loop {
            let length = said.len();
            if stderr.read_until(b'\n', &mut said).unwrap() == 0 {
                return said;
            }
            if said[length..].starts_with(b"recording at ") {
                // Who waits for it may have gone.
                let _told = begins.send(());
            }
        }
    });
    // It fails where there is no such line any more: then it has ended, and says why below.
    if has_begun.recv().is_ok() {
        eventually("the end of the recording", || child.try_wait().unwrap().is_some() || until(child.id()));
        let agent = crate::target::descendant(child.id(), "stacksonde");
        if let Some(agent) = agent.filter(|_| child.try_wait().unwrap().is_none()) {
            // SAFETY: plain numbers; its parent waits for it, or we do.
            unsafe { libc::kill(agent.cast_signed(), libc::SIGINT) };
        }
    }
    let status = child.wait().unwrap();
    let output = Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() };
    assert!(status.success(), "{command:?}: {status}: {}", said(&output.stderr));
    output
}

/// Writes a config file that only its owner can change.
///
/// # Panics
///
/// If it cannot be written.
pub fn config_in(folder: &Path, toml: &str) -> PathBuf {
    let path = folder.join("test.toml");
    std::fs::write(&path, toml).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
