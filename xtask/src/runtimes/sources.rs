//! Sources of runtimes. They are unpacked into the user's cache, outside of the checkout; what is there is complete.

use crate::npm;
use crate::run::{as_root, cache, must};
use anyhow::Context;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A way to have a runtime.
#[derive(Debug)]
pub(super) enum Source {
    /// A package of Debian's, with all that it depends on.
    Debian(Debian),
    /// A package of npm's that holds the program and needs nothing but the C library.
    Npm(npm::Package),
}

/// A package of a suite.
#[derive(Debug)]
pub(super) struct Debian {
    pub(super) suite: &'static str,
    pub(super) package: &'static str,
}

/// An unpacked source.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) folder: PathBuf,
    /// The folder is the root of a file system, in which the program finds its libraries.
    pub(super) is_root: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(Debian { suite, package }) => write!(f, "Debian {suite}, `{package}`"),
            Self::Npm(npm::Package { name, version, .. }) => write!(f, "npm, `{name}@{version}`"),
        }
    }
}

/// For how long a root of Debian's serves; suites get fixes, and sid other versions.
const FRESH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The folder of the unpacked sources; one process at a time has it.
#[derive(Debug)]
pub(super) struct Unpacker {
    folder: PathBuf,
    /// The lock, which the kernel takes back when this process ends in whatever way.
    _lock: File,
}

impl Unpacker {
    /// Waits until no other checkout uses the folder, and removes what killed runs left.
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = cache()?.join("runtimes");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        if flock(&lock, libc::LOCK_EX | libc::LOCK_NB).is_err() {
            println!("waiting for another run to release {}", path.display());
            flock(&lock, libc::LOCK_EX).with_context(|| format!("cannot lock {}", path.display()))?;
        }
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for draft in
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("draft-"))
        {
            remove(&draft.path())?;
        }
        Ok(Self { folder, _lock: lock })
    }

    /// Unpacks a source, unless that was done already.
    pub(super) fn unpack(&self, source: &Source) -> anyhow::Result<Unpacked> {
        match source {
            Source::Debian(debian) => Ok(Unpacked { folder: self.debian(debian)?, is_root: true }),
            Source::Npm(package) => Ok(Unpacked { folder: package.fetch(&self.folder)?, is_root: false }),
        }
    }

    fn debian(&self, Debian { suite, package }: &Debian) -> anyhow::Result<PathBuf> {
        let kept = self.folder.join(format!("{suite}-{package}"));
        if is_fresh(&kept) {
            return Ok(kept.join("root"));
        }
        println!("fetching {package} of Debian {suite}, once a month");
        let draft = self.folder.join(format!("draft-{suite}-{package}"));
        std::fs::create_dir(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
        if let Err(error) = extract(suite, package, &draft.join("root")) {
            if kept.exists() {
                println!("using an older one: {error:#}");
                return Ok(kept.join("root"));
            }
            return Err(error);
        }
        if kept.exists() {
            remove(&kept)?;
        }
        std::fs::rename(&draft, &kept).with_context(|| format!("cannot make {}", kept.display()))?;
        Ok(kept.join("root"))
    }
}

fn flock(file: &File, how: i32) -> std::io::Result<()> {
    // SAFETY: a descriptor of ours and no memory.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Unpacks a package and its dependencies without installing them; apt checks the archive's signature and all digests.
fn extract(suite: &str, package: &str, root: &Path) -> anyhow::Result<()> {
    let mut fetch = as_root("mmdebstrap")?;
    fetch.args(["--quiet", "--mode=root", "--variant=extract"]);
    // The folders and links at the root are of base-files.
    fetch.arg(format!("--include=base-files,{package}"));
    // A mirror may be behind for longer than sid's lists are meant to serve.
    fetch.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    // Root's apt fetches as a user who may not write here.
    fetch.arg("--aptopt=APT::Sandbox::User \"root\"");
    must(fetch.arg(suite).arg(root).arg("http://deb.debian.org/debian"))
}

/// Tells by when the folder was made.
fn is_fresh(kept: &Path) -> bool {
    let made = std::fs::metadata(kept).and_then(|folder| folder.modified()).ok();
    made.and_then(|time| SystemTime::now().duration_since(time).ok()).is_some_and(|age| age < FRESH)
}

/// Removes a folder that may hold files of root's.
fn remove(folder: &Path) -> anyhow::Result<()> {
    must(as_root("rm")?.args(["-rf", "--one-file-system"]).arg(folder))
}
