//! One guest from its boot to its end.

use anyhow::{Context, anyhow, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a guest is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Memory, in MiB.
    pub(super) memory_mib: u32,
    /// After this it is ended.
    pub(super) limit: Duration,
}

impl Size {
    /// Of a guest that is busybox and the agent. It takes some twenty seconds; the limit is what a busy machine
    /// may make of it.
    pub(super) const SMALL: Self = Self { memory_mib: 512, limit: Duration::from_secs(900) };
}

/// Lines of the console that are shown of a guest that failed.
const SHOWN: usize = 60;

/// Boots, waits for the end and returns the folder with what the guest sent. `words` go onto the
/// kernel's command line. The console is kept in `folder`.
pub(super) fn boot(
    kernel: &Path,
    initramfs: &Path,
    words: &[&str],
    size: Size,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let (console, sent) = (folder.join("console"), folder.join("sent.tar"));
    let mut qemu = Command::new("qemu-system-x86_64");
    // Kernels without ACPI see one CPU a socket.
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2,sockets=2"]);
    qemu.arg("-m").arg(size.memory_mib.to_string());
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 {}", words.join(" ")));
    for port in [&console, &sent] {
        qemu.arg("-serial").arg(format!("file:{}", port.display()));
    }
    ended(qemu.stdin(Stdio::null()), size.limit)
        .and_then(|()| unpack(&sent, folder))
        .map_err(|error| anyhow!("{error:#}; the end of {}:\n{}", console.display(), end_of(&console)))
}

/// Runs to the end, or to the limit.
fn ended(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let mut child = command.spawn().context("cannot run qemu-system-x86_64")?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().and_then(|()| child.wait()).context("cannot end QEMU")?;
            bail!("the guest was still running after {} s and was ended", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    ensure!(status.success(), "QEMU failed with {status}");
    Ok(())
}

fn unpack(sent: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let results = folder.join("guest");
    std::fs::create_dir_all(&results)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(sent).arg("-C").arg(&results).stdin(Stdio::null()).stderr(Stdio::null());
    let whole = std::fs::metadata(sent).is_ok_and(|file| file.len() > 0) && tar.status()?.success();
    ensure!(whole, "the guest ended before it had sent its results");
    Ok(results)
}

/// The last lines of a console, without what terminals take for commands.
fn end_of(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text: String =
        String::from_utf8_lossy(&text).chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_does_not_end_is_ended_and_said_to_be_so() {
        let error = ended(Command::new("sleep").arg("600"), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("still running"), "{error}");
        ended(&mut Command::new("true"), Size::SMALL.limit).unwrap();
        assert!(ended(&mut Command::new("false"), Size::SMALL.limit).is_err());
    }
}
