//! Programs while they are profiled.

use anyhow::{Context, bail};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest time until a program is ready.
const READY: Duration = Duration::from_secs(60);

/// Running programs; the first one and its descendants are profiled. They end with this value.
pub(crate) struct Running(Vec<Child>);

impl Running {
    /// Starts a program whose output nobody wants.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut running = Self(Vec::new());
        running.and(command)?;
        Ok(running)
    }

    /// Starts another one: the first one's load.
    pub(super) fn and(&mut self, command: &mut Command) -> anyhow::Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.0.push(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// A shell's script.
    pub(super) fn shell(folder: &Path, script: &str) -> anyhow::Result<Self> {
        Self::start(Command::new("sh").args(["-c", script]).current_dir(folder))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.first().map_or(0, Child::id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            // Each is a process group, with what it started.
            let group = format!("-{}", child.id());
            let _killed = Command::new("kill").args(["-TERM", "--", &group]).status();
        }
        let until = Instant::now() + Duration::from_secs(5);
        for child in &mut self.0 {
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let group = format!("-{}", child.id());
            let _killed = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _status = child.wait();
        }
    }
}

/// Waits until something is the case.
pub(super) fn until(what: &str, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + READY;
    while !ready() {
        if Instant::now() > until {
            bail!("{what}: not within {} s", READY.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs a command to its end.
pub(super) fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
