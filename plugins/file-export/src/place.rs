//! Bytes under a name: whole, or not at all.

use stacksonde_plugin::Failure;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that could not be written or removed; another try may succeed (a full disk, a lost mount).
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {cause}")]
pub(crate) struct PlaceError {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) cause: io::Error,
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        Self::Retryable { message: error.to_string(), after: None }
    }
}

/// Has `write` write under a name of its own beside `path` and renames it, so that a reader of `path`
/// sees the old file or the new one. A symbolic link at `path` is replaced, not followed.
///
/// Not synced to the disk: after a power cut the newest profile may be lost, and a profile is not
/// worth a disk flush every few seconds.
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), PlaceError> {
    let unfinished = unfinished(path);
    let written = create(&unfinished)
        .map(BufWriter::new)
        .and_then(|mut file| write(&mut file).and_then(|()| file.flush()))
        .and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|cause| {
        // It may never have come to be; the first error is the one that says why.
        let _ = fs::remove_file(&unfinished);
        PlaceError { what: "write", path: path.into(), cause }
    })
}

/// Makes a file in `directory` and removes it.
pub(crate) fn try_in(directory: &Path) -> io::Result<()> {
    // Two instances may try at once.
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let path = unfinished(&directory.join(format!("trial-{number}")));
    create(&path)?;
    fs::remove_file(&path)
}

/// A new file; one that an earlier process left there goes first. Never opens what is there: in a
/// directory that others can write to, that might be their link to somewhere else.
fn create(path: &Path) -> io::Result<File> {
    match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)
        }
        created => created,
    }
}

/// `.<name>.<pid>.unfinished` in the same directory: a rename does not cross file systems. A process
/// that is killed meanwhile leaves it behind.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.unfinished", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.svg");
        whole(&path, |file| file.write_all(b"old")).unwrap();
        whole(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a.svg"]);
    }

    #[test]
    fn a_failed_write_may_be_retried_names_the_path_and_leaves_nothing_behind() {
        // The rename fails: a file cannot take the place of a directory.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken.svg");
        fs::create_dir(&path).unwrap();
        let failure = Failure::from(whole(&path, |file| file.write_all(b"new")).unwrap_err());
        let Failure::Retryable { message, .. } = failure else { panic!("{failure:?}") };
        assert!(message.starts_with(&format!("cannot write {}: ", path.display())), "{message}");
        assert_eq!(names(directory.path()), ["taken.svg"]);
    }

    #[test]
    fn a_directory_is_tried_without_leaving_anything() {
        let directory = tempfile::tempdir().unwrap();
        try_in(directory.path()).unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        // Nobody makes files there, not even root.
        assert!(try_in(Path::new("/proc/self")).is_err());
    }

    #[test]
    fn does_not_write_through_a_link_that_someone_planted() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = directory.path().join("a.svg");
        symlink(&victim, unfinished(&path)).unwrap();
        symlink(&victim, &path).unwrap();
        whole(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!path.is_symlink());
    }
}
