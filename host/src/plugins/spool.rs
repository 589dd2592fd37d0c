//! Batches on disk, so that they outlive an agent that is killed: a file each, in one folder for each exporter.
//!
//! A file appears under its name only when it is whole and on the disk, and is removed when the exporter took its
//! batch; what a crash leaves in between is a batch that is handed over twice, or a draft that is thrown away.

mod file;

use file::{Damaged, decode, encode};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of a spool, and its largest size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder of all spools; each exporter has one below.
    pub directory: PathBuf,
    /// Bytes of all files of an exporter.
    pub max_bytes: u64,
}

impl SpoolSettings {
    /// Finds out whether exporter `name` could have its spool; makes and changes nothing.
    ///
    /// # Errors
    ///
    /// A sentence that names what is in the way.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let folder = self.directory.join(name);
        // What is not there yet is made below what is.
        let nearest = folder.ancestors().find(|path| path.symlink_metadata().is_ok());
        let nearest = nearest.unwrap_or(Path::new("/"));
        let failed = |error: io::Error| format!("{} cannot be written to: {error}", nearest.display());
        if !nearest.is_dir() {
            return Err(format!("{} is not a directory", nearest.display()));
        }
        let trial = nearest.join(format!(".stacksonde-{}", std::process::id()));
        fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)).map_err(failed)
    }
}

/// A batch in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its place in the order.
    pub(super) number: u64,
    /// Bytes on disk.
    pub(super) bytes: u64,
}

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    #[error("{path}: {error}")]
    Folder { path: PathBuf, error: io::Error },
    #[error("{0} is used by another agent; give each one a directory of its own")]
    Taken(PathBuf),
}

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// A file of a spool, and what follows its checksum whatever that is: for fuzzing.
pub(crate) fn read_file(bytes: &[u8]) {
    let _batch = decode(bytes);
    if let Some((_, rest)) = bytes.split_at_checked(16) {
        let _batch = file::unpack(rest);
    }
}

/// The folder of one exporter, which nobody else uses while this is there.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// Holds the lock.
    _lock: File,
    next: AtomicU64,
}

const BATCH: &str = "batch";
const DRAFT: &str = "draft";

impl Spool {
    /// Opens the folder of exporter `name` or makes it, and finds what an earlier run left, oldest first.
    pub(super) fn open(directory: &Path, name: &str) -> Result<(Self, Vec<Kept>), SpoolError> {
        let folder = directory.join(name);
        let failed = |error| SpoolError::Folder { path: folder.clone(), error };
        // What was sampled is nobody's business but root's.
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.map_err(failed)?;
        // SAFETY: takes numbers; the descriptor is open.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Err(match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => SpoolError::Taken(folder),
                error => failed(error),
            });
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            match (extension, number) {
                (Some(DRAFT), _) => fs::remove_file(&path).map_err(failed)?,
                (Some(BATCH), Some(number)) => {
                    found.push(Kept { number, bytes: entry.metadata().map_err(failed)?.len() });
                }
                _ => {}
            }
        }
        found.sort_by_key(|kept| kept.number);
        let next = found.last().map_or(0, |last| last.number.saturating_add(1)).into();
        Ok((Self { folder, _lock: lock, next }, found))
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes a batch of another spool over; there it is no more.
    pub(super) fn take_over(&self, from: &Self, kept: &Kept) -> io::Result<Kept> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match fs::rename(from.path(kept.number, BATCH), self.path(number, BATCH)) {
            Ok(()) => {
                File::open(&self.folder)?.sync_data()?;
                Ok(Kept { number, bytes: kept.bytes })
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let packed = fs::read(from.path(kept.number, BATCH))?;
                let taken = self.write(&packed)?;
                from.remove(kept);
                Ok(taken)
            }
            Err(error) => Err(error),
        }
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        // As many digits as the largest number has, so that names sort as numbers do.
        self.folder.join(format!("{number:020}.{extension}"))
    }

    /// Returns the form of a batch on disk.
    pub(super) fn pack(batch: &[u8]) -> io::Result<Vec<u8>> {
        encode(batch)
    }

    /// Writes what [`Spool::pack`] made; on return it is on the disk.
    pub(super) fn write(&self, packed: &[u8]) -> io::Result<Kept> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let draft = self.path(number, DRAFT);
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(packed)?;
            file.sync_data()?;
            fs::rename(&draft, self.path(number, BATCH))?;
            File::open(&self.folder)?.sync_data()
        });
        if let Err(error) = written {
            // Neither may be there; then there is nothing to remove.
            let _draft = fs::remove_file(&draft);
            let _whole = fs::remove_file(self.path(number, BATCH));
            return Err(error);
        }
        Ok(Kept { number, bytes: packed.len() as u64 })
    }

    /// The batch of a file.
    pub(super) fn read(&self, kept: &Kept) -> Result<Arc<[u8]>, ReadError> {
        Ok(decode(&fs::read(self.path(kept.number, BATCH))?)?.into())
    }

    /// Removes a file.
    pub(super) fn remove(&self, kept: &Kept) {
        let path = self.path(kept.number, BATCH);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("{} stays, and its batch will be handed over again: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(spool: &Spool, batch: &[u8]) -> Kept {
        spool.write(&Spool::pack(batch).unwrap()).unwrap()
    }

    #[test]
    fn what_was_written_is_found_in_order_by_the_next_run() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, found) = Spool::open(directory.path(), "otel").unwrap();
        assert_eq!(found, []);
        let kept: Vec<Kept> = (0..12_u8).map(|number| written(&spool, &[number; 100])).collect();
        spool.remove(&kept[3]);
        drop(spool);
        let (spool, found) = Spool::open(directory.path(), "otel").unwrap();
        assert_eq!(found, [&kept[..3], &kept[4..]].concat());
        assert_eq!(*spool.read(&found[3]).unwrap(), [4; 100]);
        assert_eq!(written(&spool, b"x").number, kept[11].number + 1);
    }

    #[test]
    fn a_draft_of_a_run_that_was_killed_is_thrown_away() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), "otel").unwrap();
        let draft = spool.path(7, DRAFT);
        fs::write(&draft, b"half").unwrap();
        drop(spool);
        let (_, found) = Spool::open(directory.path(), "otel").unwrap();
        assert!(found.is_empty() && !draft.exists());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_batch() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), "otel").unwrap();
        let kept = written(&spool, &[5; 1000]);
        let path = spool.path(kept.number, BATCH);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(spool.read(&kept), Err(ReadError::Damaged(_))));
        fs::write(&path, b"").unwrap();
        assert!(matches!(spool.read(&kept), Err(ReadError::Damaged(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(spool.read(&kept), Err(ReadError::File(_))));
    }

    #[test]
    fn a_batch_moves_to_another_spool_also_on_another_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let (old, _) = Spool::open(directory.path(), "old").unwrap();
        let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
        for parent in [directory.path(), elsewhere.path()] {
            let (new, _) = Spool::open(parent, "new").unwrap();
            written(&new, b"another");
            let kept = written(&old, b"batch");
            let taken = new.take_over(&old, &kept).unwrap();
            assert_eq!((taken.bytes, &*new.read(&taken).unwrap()), (kept.bytes, &b"batch"[..]));
            assert!(matches!(old.read(&kept), Err(ReadError::File(_))));
        }
    }

    #[test]
    fn two_agents_do_not_share_a_spool() {
        let directory = tempfile::tempdir().unwrap();
        let _spool = Spool::open(directory.path(), "otel").unwrap();
        let error = Spool::open(directory.path(), "otel").unwrap_err();
        assert!(error.to_string().contains("is used by another agent"), "{error}");
        assert!(Spool::open(directory.path(), "other").is_ok());
    }
}
