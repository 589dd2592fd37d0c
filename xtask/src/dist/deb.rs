//! Debian packages, by debhelper.

use super::facts::Facts;
use super::{copy, fill_in, write};
use crate::run::{must, workspace};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes packages of `tree` in the empty folder `work`, and puts them into `out`.
pub(super) fn build(tree: &Path, work: &Path, facts: &Facts, out: &Path) -> anyhow::Result<()> {
    let build = work.join("stacksonde");
    let debian = build.join("debian");
    copy(&workspace().join("packaging/debian"), &debian)?;
    copy(tree, &build.join("tree"))?;
    // debhelper finds these by their names.
    copy(&tree.join("CHANGELOG.md"), &build.join("CHANGELOG.md"))?;
    for (from, to) in [
        ("stacksonde.service", "stacksonde.service"),
        ("stacksonde.sysusers", "stacksonde.sysusers"),
        ("stacksonde.tmpfiles", "stacksonde.tmpfiles"),
    ] {
        let from = tree.join("systemd").join(from);
        if from.exists() {
            copy(&from, &debian.join(to))?;
        }
    }
    let control = std::fs::read_to_string(debian.join("control")).context("cannot read debian/control")?;
    for package in control.lines().filter_map(|line| line.strip_prefix("Package: ")) {
        licences(tree, &build, package)?;
        copy(&debian.join("lintian-overrides"), &debian.join(format!("{package}.lintian-overrides")))?;
    }
    let rules = debian.join("rules");
    fill_in(&rules, &rules, &[("ABI", &facts.abi)])?;
    write(&debian.join("changelog"), &changelog(&control, facts)?)?;
    let triplet = super::said(Command::new("dpkg-architecture").arg("-qDEB_HOST_MULTIARCH"))?;
    let plugins = format!("/usr/lib/{triplet}/stacksonde/plugins-1");
    fill_in(
        &tree.join("stacksonde-plugin.pc.in"),
        &build.join("tree/stacksonde-plugin.pc"),
        &[("PLUGINS", &plugins)],
    )?;

    let log = work.join("build.log");
    let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut package = Command::new("dpkg-buildpackage");
    package.args(["-b", "-uc", "-us"]).current_dir(&build).stdin(Stdio::null());
    // Symbols are stripped before, so there is nothing for packages of them.
    package.env("DEB_BUILD_OPTIONS", "noautodbgsym").env("SOURCE_DATE_EPOCH", facts.epoch.to_string());
    let status = package.stdout(file.try_clone()?).stderr(file).status();
    if !status.context("cannot run dpkg-buildpackage")?.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("dpkg-buildpackage failed; it said:\n{said}");
    }
    let entries = std::fs::read_dir(work)?.flatten().map(|entry| entry.path());
    for package in entries.filter(|path| path.extension().is_some_and(|kind| kind == "deb")) {
        must(Command::new("mv").arg("-t").arg(out).arg(package))?;
    }
    Ok(())
}

/// The licences of what is linked into a package's files, if there are any.
fn licences(tree: &Path, build: &Path, package: &str) -> anyhow::Result<()> {
    let from = tree.join("licences").join(package);
    if !from.exists() {
        return Ok(());
    }
    let folder = format!("tree/third-party/{package}");
    copy(&from, &build.join(&folder).join("third-party-licences.txt"))?;
    let list = build.join("debian").join(format!("{package}.docs"));
    let before = std::fs::read_to_string(&list).unwrap_or_default();
    write(&list, &format!("{before}{folder}/third-party-licences.txt\n"))
}

fn changelog(control: &str, facts: &Facts) -> anyhow::Result<String> {
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let maintainer = maintainer.context("debian/control names no maintainer")?;
    let date = facts.date("-R")?;
    Ok(format!(
        "stacksonde ({}-{}) unstable; urgency=medium\n\n  * Packages of this version; changelog.gz beside this file \
         says what is new.\n\n -- {maintainer}  {date}\n",
        facts.version, facts.revision
    ))
}
