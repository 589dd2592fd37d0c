//! Reading for parsers that do not tell an error of reading from damage in what was read.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A file that remembers whether reading it failed. That it ends early is no failure, but its content.
#[derive(Debug)]
pub(crate) struct WatchedFile<'f> {
    file: &'f File,
    error: RefCell<Option<io::Error>>,
}

impl<'f> WatchedFile<'f> {
    pub(crate) fn new(file: &'f File) -> Self {
        Self { file, error: RefCell::new(None) }
    }

    /// What a parser made of the file, if all that it read of it could be read.
    pub(crate) fn judge<T>(&self, parsed: T) -> io::Result<T> {
        self.error.take().map_or(Ok(parsed), Err)
    }

    /// Remembers an error of reading it otherwise.
    pub(crate) fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        // A place that makes no sense comes from the file's content.
        let is_content = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
            )
        };
        if let Err(error) = &result
            && !is_content(error)
        {
            let noted =
                error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            self.error.replace(Some(noted));
        }
        result
    }
}

impl Read for &WatchedFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file;
        self.note(file.read(buffer))
    }
}

impl Seek for &WatchedFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut file = self.file;
        self.note(file.seek(to))
    }
}

/// Fills the buffer from a place in a file; false if the file has not that much there.
pub(crate) fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    if i64::try_from(offset).is_err() {
        return Ok(false);
    }
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{build_id_of, segments};
    use super::*;
    use object::read::ReadCache;

    #[test]
    fn an_error_of_reading_is_not_taken_for_content() {
        // A directory's bytes cannot be read.
        let unreadable = File::open("/").unwrap();
        let watched = WatchedFile::new(&unreadable);
        let parsed = segments(&ReadCache::new(&watched)).ok();
        assert!(watched.judge(parsed).is_err());
        let empty = tempfile::tempfile().unwrap();
        let watched = WatchedFile::new(&empty);
        let parsed = build_id_of(&ReadCache::new(&watched)).ok();
        assert_eq!(watched.judge(parsed).unwrap(), None, "an empty file can be read");
        assert!(!fill(&empty, &mut [0], 0).unwrap() && !fill(&empty, &mut [0], u64::MAX).unwrap());
        assert!(fill(&unreadable, &mut [0], 0).is_err());
    }
}
