//! RPM packages, by rpmbuild.

use super::facts::Facts;
use super::{copy, fill_in};
use crate::run::{must, workspace};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Makes packages of `tree` in the empty folder `work`, and puts them into `out`.
pub(super) fn build(tree: &Path, work: &Path, facts: &Facts, out: &Path) -> anyhow::Result<()> {
    let source = work.join("tree");
    copy(tree, &source)?;
    let plugins = [("PLUGINS", "/usr/lib64/stacksonde/plugins-1")];
    fill_in(&source.join("stacksonde-plugin.pc.in"), &source.join("stacksonde-plugin.pc"), &plugins)?;
    let spec = work.join("stacksonde.spec");
    let release = facts.revision.to_string();
    let date = facts.date("+%a %b %d %Y")?;
    let words =
        [("VERSION", &*facts.version), ("RELEASE", &*release), ("ABI", &*facts.abi), ("DATE", &*date)];
    fill_in(&workspace().join("packaging/rpm/stacksonde.spec.in"), &spec, &words)?;

    let log = work.join("build.log");
    let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut package = Command::new("rpmbuild");
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let top = work.join("top");
    for define in [
        define("_topdir", &top.to_string_lossy()),
        define("tree", &source.to_string_lossy()),
        // Where another system than Fedora's family builds, its rpm has other folders in mind.
        define("_libdir", "/usr/lib64"),
        define("_mandir", "/usr/share/man"),
        define("_docdir", "/usr/share/doc"),
        define("_includedir", "/usr/include"),
        define("_sysconfdir", "/etc"),
        // Nothing of the machine or the moment.
        define("_buildhost", "reproducible"),
        define("use_source_date_epoch_as_buildtime", "1"),
        define("clamp_mtime_to_source_date_epoch", "1"),
        define("_binary_payload", "w19.zstdio"),
    ] {
        package.args(define);
    }
    package.arg("-bb").arg(&spec).stdin(Stdio::null());
    package.env("SOURCE_DATE_EPOCH", facts.epoch.to_string());
    let status = package.stdout(file.try_clone()?).stderr(file).status();
    if !status.context("cannot run rpmbuild")?.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("rpmbuild failed; it said:\n{said}");
    }
    for folder in entries(&top.join("RPMS"))? {
        for package in entries(&folder)? {
            must(Command::new("mv").arg("-t").arg(out).arg(package))?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}
