//! One guest from its boot to its end.

use anyhow::{Context, anyhow, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A guest that is booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// They go onto the kernel's command line.
    pub(super) words: &'a [&'a str],
    /// Memory, in MiB.
    pub(super) memory_mib: u64,
}

/// A guest that says nothing for as long is taken to hang. It says something every few seconds where it has a core for
/// itself; how long it takes in all depends on what else the machine does.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Lines of the console that are shown of a guest that failed.
const SHOWN: usize = 60;

/// Boots, waits for the end and returns the folder with what the guest sent. The console is kept in `folder`.
pub(super) fn boot(guest: &Guest, folder: &Path) -> anyhow::Result<PathBuf> {
    let (console, sent) = (folder.join("console"), folder.join("sent.tar"));
    let mut qemu = Command::new("qemu-system-x86_64");
    // Kernels without ACPI see one CPU a socket.
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2,sockets=2"]);
    qemu.arg("-m").arg(guest.memory_mib.to_string());
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(guest.kernel).arg("-initrd").arg(guest.initramfs);
    // At boot a kernel counts the timer's interrupts against a loop, and panics where a busy machine let too few of
    // them through; `no_timer_check` trusts the timer.
    qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 no_timer_check {}", guest.words.join(" ")));
    for port in [&console, &sent] {
        qemu.arg("-serial").arg(format!("file:{}", port.display()));
    }
    ended(qemu.stdin(Stdio::null()), &[&console, &sent], SILENCE)
        .and_then(|()| unpack(&sent, folder))
        .map_err(|error| anyhow!("{error:#}; the end of {}:\n{}", console.display(), end_of(&console)))
}

/// Runs to the end, or until none of the files grows for too long.
fn ended(command: &mut Command, files: &[&Path], silence: Duration) -> anyhow::Result<()> {
    let written =
        || files.iter().map(|file| std::fs::metadata(file).map_or(0, |file| file.len())).sum::<u64>();
    let mut child = command.spawn().context("cannot run qemu-system-x86_64")?;
    let (mut last, mut length) = (Instant::now(), 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let now = written();
        if now != length {
            (last, length) = (Instant::now(), now);
        }
        if last.elapsed() > silence {
            child.kill().and_then(|()| child.wait()).context("cannot end QEMU")?;
            bail!("the guest had said nothing for {} s and was ended", silence.as_secs());
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
    fn a_guest_that_hangs_is_ended_and_said_to_be_so() {
        let second = Duration::from_secs(1);
        let error = ended(Command::new("sleep").arg("600"), &[], second).unwrap_err();
        assert!(error.to_string().contains("said nothing"), "{error}");
        ended(&mut Command::new("true"), &[], SILENCE).unwrap();
        assert!(ended(&mut Command::new("false"), &[], SILENCE).is_err());
    }

    #[test]
    fn a_guest_that_goes_on_is_not_ended_however_long_it_takes() {
        let console = std::env::temp_dir().join(format!("stacksonde-console-{}", std::process::id()));
        let mut slow = Command::new("sh");
        slow.args(["-c", "for n in 1 2 3 4 5 6 7 8 9; do echo $n; sleep 0.5; done > \"$0\""]).arg(&console);
        ended(&mut slow, &[&console], Duration::from_secs(4)).unwrap();
        std::fs::remove_file(&console).unwrap();
    }
}
