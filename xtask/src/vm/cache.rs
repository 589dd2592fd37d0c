//! Kernels, sources and results, outside of the checkout: they outlive it and are shared by all.

use anyhow::Context;
use std::path::{Path, PathBuf};

/// A folder of the user's cache.
#[derive(Clone, Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// `$XDG_CACHE_HOME/stacksonde-dev/kernels`, by default below `~/.cache`.
    pub(super) fn open() -> anyhow::Result<Self> {
        let cache = Self(crate::run::cache()?.join("kernels"));
        cache.folder("")?;
        Ok(cache)
    }

    /// Returns the path of a file, whether it is there or not.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder below, made if it is missing.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// The same without what was in it.
    pub(super) fn empty_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.path(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        self.folder(name)
    }

    /// Keeps a file under a name; whoever finds the name finds the whole file.
    pub(super) fn keep(&self, from: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let to = self.path(name);
        let draft = to.with_extension(format!("draft-{}", std::process::id()));
        let place = to.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(place)
            .and_then(|()| std::fs::copy(from, &draft))
            .and_then(|_| std::fs::rename(&draft, &to))
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(to)
    }
}
