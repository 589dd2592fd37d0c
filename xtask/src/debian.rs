//! A minimal Debian for the tests of packages, fetched by apt and kept outside of the checkout.

use crate::install;
use crate::run::{as_root, cache, must};
use anyhow::Context;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// For how long an archive serves: no longer than what it was made of is Debian's newest, give or take.
const FRESH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An archive of the release that this machine runs, since the packages ask for a C library at least as new as ours:
/// apt, systemd and little else.
pub(crate) fn archive() -> anyhow::Result<PathBuf> {
    install::ensure(install::PACKAGES)?;
    let about = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let release = about.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let release =
        release.context("/etc/os-release names no release of Debian (VERSION_CODENAME)")?.trim_matches('"');
    let folder = cache()?.join("debian");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let archive = folder.join(format!("{release}.tar"));
    let age = std::fs::metadata(&archive).and_then(|file| file.modified()).ok();
    let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
    if age.is_some_and(|age| age < FRESH) {
        return Ok(archive);
    }
    println!("fetching a minimal Debian {release}, once a month");
    let draft = folder.join(format!("draft-{}.tar", std::process::id()));
    let mut fetch = as_root("mmdebstrap")?;
    fetch.args(["--quiet", "--mode=root", "--variant=minbase", "--include=systemd,systemd-sysv"]);
    must(fetch.arg(release).arg(&draft).arg("http://deb.debian.org/debian"))?;
    std::fs::rename(&draft, &archive).with_context(|| format!("cannot make {}", archive.display()))?;
    Ok(archive)
}
