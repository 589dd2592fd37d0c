//! Packages of npm, each a version whose archive was looked at once.

use crate::install;
use crate::run::must;
use anyhow::{Context, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A version of a package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Of the archive, in hexadecimal digits: npm's `dist.integrity`, which is in base64.
    pub(crate) sha512: &'static str,
}

impl Package {
    /// Fetches and unpacks the package, unless that was done already, and returns its folder in `place`. The folder is
    /// there with all that is in it, or not at all.
    pub(crate) fn fetch(&self, place: &Path) -> anyhow::Result<PathBuf> {
        let Self { name, version, sha512 } = self;
        let kept = place.join(format!("{name}-{version}"));
        let package = kept.join("package");
        if package.exists() {
            return Ok(package);
        }
        install::ensure(install::NPM)?;
        println!("fetching {name} {version} from npm, once");
        let draft = place.join(format!("draft-{name}-{version}-{}", std::process::id()));
        std::fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", &format!("{name}@{version}")]).stdout(Stdio::null());
        must(pack.current_dir(&draft))?;
        let archive = format!("{name}-{version}.tgz");
        let mut check = Command::new("sha512sum");
        check.current_dir(&draft).args(["--check", "--quiet"]).stdin(Stdio::piped());
        let mut child = check.spawn().context("cannot run sha512sum")?;
        if let Some(mut to) = child.stdin.take() {
            writeln!(to, "{sha512}  {archive}")?;
        }
        ensure!(
            child.wait()?.success(),
            "{archive} of npm is not the archive that was looked at: {}",
            draft.display()
        );
        must(Command::new("tar").current_dir(&draft).args(["-xzf", &archive]))?;
        let archive = draft.join(archive);
        std::fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        std::fs::rename(&draft, &kept).with_context(|| format!("cannot make {}", kept.display()))?;
        Ok(package)
    }
}
