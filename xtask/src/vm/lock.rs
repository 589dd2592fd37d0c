//! One run at a time: the trees of sources and results are shared by all checkouts.

use super::cache::Cache;
use anyhow::Context;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Held until it is dropped; what a killed run left behind counts for nothing.
#[derive(Debug)]
pub(super) struct Lock(PathBuf);

impl Lock {
    /// Waits for other runs to end.
    pub(super) fn take(cache: &Cache) -> anyhow::Result<Self> {
        let path = cache.path("lock");
        let mut said = false;
        while let Some(holder) = holder(&path)? {
            if !said && holder == std::process::id() {
                println!("waiting for kernels that are still being fetched and built");
            } else if !said {
                println!(
                    "waiting for process {holder}, which is in the same cache (lock: {})",
                    path.display()
                );
            }
            said = true;
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(Self(path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it stays, the next run finds its process gone.
        let _removed = std::fs::remove_file(&self.0);
    }
}

/// The process that holds the lock; none, if it is ours now. The lock is a link to a process's
/// number: it is made with what it says, at once or not at all.
fn holder(path: &Path) -> anyhow::Result<Option<u32>> {
    let ours = std::process::id().to_string();
    match std::os::unix::fs::symlink(&ours, path) {
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
    let target = std::fs::read_link(path).unwrap_or_default();
    let process = target.to_str().and_then(|text| text.parse().ok());
    match process.filter(|process: &u32| Path::new(&format!("/proc/{process}")).exists()) {
        Some(process) => Ok(Some(process)),
        None => {
            // Its process is gone. Two that find this at the very same moment could both go on, which
            // a file that outlives its process cannot exclude.
            let _removed = std::fs::remove_file(path);
            holder(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_held_by_a_living_process_and_taken_from_a_dead_one() {
        let path = std::env::temp_dir().join(format!("stacksonde-lock-{}", std::process::id()));
        std::os::unix::fs::symlink("1", &path).unwrap();
        assert_eq!(holder(&path).unwrap(), Some(1));
        std::fs::remove_file(&path).unwrap();
        // Above the highest process number that Linux gives.
        std::os::unix::fs::symlink("4194305", &path).unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        drop(Lock(path.clone()));
        assert!(!path.exists() && std::fs::read_link(&path).is_err());
    }
}
