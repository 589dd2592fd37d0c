//! The guest's file system: a Debian without anything that is not essential but systemd, and the agent where its
//! packages put it.

use crate::build::Built;
use crate::run::{must, workspace};
use crate::vm::cache::Cache;
use crate::vm::initramfs::{Root, installed, targets};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The release whose systemd and libraries the guests have.
const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";
/// Files that are not read in a guest.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/i18n/*"];
/// After this time it is made again.
const FRESH: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The folder in which packages put plugins.
const PLUGINS: &str = "usr/lib/x86_64-linux-gnu/stacksonde/plugins-1";
/// The folder of the tests.
const TESTS: &str = "usr/lib/stacksonde-test";

/// Packs it; the archive in it that unpacks into Debian's root comes last.
pub(super) fn build(built: &Built, cache: &Cache) -> anyhow::Result<PathBuf> {
    let debian = debian(cache)?;
    let folder = cache.empty_folder("service/packing")?;
    let added = Root(folder.join("added"));
    added.copy(&built.agent, "usr/bin/stacksonde")?;
    for (name, library) in &built.plugins {
        added.copy(library, format!("{PLUGINS}/{name}.so"))?;
    }
    let packaging = workspace().join("packaging/systemd");
    added.copy(&packaging.join("stacksonde.service"), "usr/lib/systemd/system/stacksonde.service")?;
    added.copy(&packaging.join("stacksonde.sysusers"), "usr/lib/sysusers.d/stacksonde.conf")?;
    added.write("etc/stacksonde/stacksonde.toml", include_str!("stacksonde.toml"), 0o644)?;
    added.write(
        "etc/stacksonde/conf.d/README",
        "Files of this folder are read after stacksonde.toml.\n",
        0o644,
    )?;
    // Without one it is the machine's first boot, and systemd begins by enabling all units that there are.
    added.write("etc/machine-id", "57ac50deba5e4f0c8a1d5e7ed0c0ffee\n", 0o444)?;
    added.write(&format!("{TESTS}/test"), include_str!("test.sh"), 0o755)?;
    added.write(&format!("{TESTS}/try"), include_str!("try.sh"), 0o755)?;
    added.write("etc/systemd/system/stacksonde-test.service", include_str!("test.service"), 0o644)?;
    targets(&added.0.join(TESTS))?;

    let initial = Root(folder.join("initial"));
    initial.write("init", include_str!("init.sh"), 0o755)?;
    initial.copy(&installed("busybox", "busybox-static")?, "bin/busybox")?;
    initial.copy(&debian, "debian.tar")?;
    // In the archive all is root's, as the agent demands of its plugins.
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--create", "--file"]).arg(initial.0.join("added.tar"));
    must(tar.arg("--directory").arg(&added.0).arg("."))?;
    let packed = folder.join("initramfs");
    let pack = "set -o pipefail; find . | cpio --quiet --create --format=newc --owner=0:0 > \"$0\"";
    must(Command::new("bash").arg("-c").arg(pack).arg(&packed).current_dir(&initial.0))?;
    Ok(packed)
}

/// Debian as mmdebstrap makes it, as root or as a user who may map ids. If a new one cannot be had, an older serves.
pub(in crate::vm) fn debian(cache: &Cache) -> anyhow::Result<PathBuf> {
    let name = format!("service/{SUITE}.tar");
    let made = cache.path(&name);
    let age = std::fs::metadata(&made)
        .and_then(|file| file.modified())
        .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
    if age.as_ref().is_ok_and(|age| *age < FRESH) {
        return Ok(made);
    }
    println!("making a root of Debian {SUITE}");
    let draft = cache.folder("service")?.join("draft.tar");
    match must(mmdebstrap(&draft)?.arg(SUITE).arg(&draft).arg(MIRROR)) {
        Ok(()) => {
            let kept = cache.keep(&draft, &name)?;
            std::fs::remove_file(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
            Ok(kept)
        }
        Err(error) if age.is_ok() => {
            println!("using an older one: {error:#}");
            Ok(made)
        }
        Err(error) => Err(error.context(format!("no root of Debian {SUITE} could be made"))),
    }
}

fn mmdebstrap(draft: &Path) -> anyhow::Result<Command> {
    if draft.exists() {
        std::fs::remove_file(draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=essential", "--include=systemd-sysv"]);
    // It is packed at once: what a loss of power would do to it does not matter.
    command.arg("--dpkgopt=force-unsafe-io");
    command.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    Ok(command)
}
