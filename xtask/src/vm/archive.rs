//! Debian's package archive, asked by apt with sources and lists of our own: whatever release the
//! machine runs, packages of all of them can be fetched, and none is installed.

use super::cache::Cache;
use crate::run::must;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Only lists of packages are wanted: `target` leaves out what else apt may be told to fetch.
const SOURCE: &str = "deb [arch=amd64 target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/";

/// Archive, suite, component.
const SUITES: [&str; 7] = [
    "debian bullseye main",
    "debian-security bullseye-security main",
    "debian bookworm main",
    "debian-security bookworm-security main",
    "debian trixie main",
    "debian-security trixie-security main",
    "debian sid main",
];

/// For how long the lists are not asked for again.
const FRESH: Duration = Duration::from_secs(6 * 60 * 60);

/// Names and sources of kernels, the only packages that are looked for.
const KERNELS: &str = "^linux-(image|binary)-[0-9].*-cloud-amd64$";

/// The archive, with lists of what is in it.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    kernels: Vec<String>,
}

impl Archive {
    /// Fetches the lists where they are older than some hours. If that fails, older lists serve.
    pub(super) fn open(cache: &Cache) -> anyhow::Result<Self> {
        let mut archive = Self { folder: cache.folder("apt")?, kernels: Vec::new() };
        for folder in ["lists/partial", "archives/partial"] {
            cache.folder(&format!("apt/{folder}"))?;
        }
        let list: String = SUITES.iter().map(|suite| format!("{SOURCE}{suite}\n")).collect();
        std::fs::write(archive.folder.join("sources.list"), list)
            .context("cannot write the list of sources")?;
        archive.refresh()?;
        let names = archive.ask("apt-cache", &["search", "--names-only", KERNELS])?;
        archive.kernels =
            names.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        Ok(archive)
    }

    /// The names of the packages that hold a kernel.
    pub(super) fn kernels(&self) -> &[String] {
        &self.kernels
    }

    /// The newest version of a package.
    pub(super) fn version(&self, package: &str) -> anyhow::Result<String> {
        let shown = self.ask("apt-cache", &["show", "--no-all-versions", package])?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).with_context(|| format!("the archive has no package {package}"))
    }

    /// Fetches a package and unpacks it, without installing it, into a folder. Modules are left out: nobody loads
    /// them, and they are most of a kernel's package.
    pub(super) fn unpack(&self, package: &str, folder: &Path) -> anyhow::Result<()> {
        println!("fetching {package}");
        must(self.apt("apt-get").args(["-qq", "download", package]).current_dir(folder))?;
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = entries.flatten().map(|entry| entry.path());
        let file = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let file = file.with_context(|| format!("apt-get download {package} left no file"))?;
        let unpack = "set -o pipefail; dpkg-deb --fsys-tarfile \"$0\" | tar -x --exclude='*.ko*' -C \"$1\"";
        must(Command::new("bash").arg("-c").arg(unpack).arg(&file).arg(folder))?;
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    fn refresh(&self) -> anyhow::Result<()> {
        let stamp = self.folder.join("updated");
        let age = std::fs::metadata(&stamp)
            .and_then(|file| file.modified())
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if age.as_ref().is_ok_and(|age| *age < FRESH) {
            return Ok(());
        }
        println!("fetching the lists of Debian's packages");
        match must(self.apt("apt-get").args(["-qq", "update", "--error-on=any"])) {
            Ok(()) => std::fs::write(&stamp, "").context("cannot note when the lists were fetched"),
            Err(error) if age.is_ok() => {
                println!("using older lists: {error:#}");
                Ok(())
            }
            Err(error) => Err(error.context("Debian's archive cannot be reached")),
        }
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
        command.args([
            option("Dir::Etc::sourcelist", &self.folder.join("sources.list")),
            option("Dir::Etc::sourceparts", Path::new("/dev/null")),
            option("Dir::State::lists", &self.folder.join("lists")),
            option("Dir::Cache", &self.folder),
            // Images for containers tell apt to keep no index, which each command would then make again for seconds.
            "-oDir::Cache::pkgcache=pkgcache.bin".into(),
            "-oDir::Cache::srcpkgcache=srcpkgcache.bin".into(),
            // Root's apt fetches as a user who may not write here.
            "-oAPT::Sandbox::User=root".into(),
        ]);
        command
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.apt(program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("{program} {} failed with {}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
