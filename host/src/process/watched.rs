//! Reading for parsers that do not tell an error of reading from damage in what was read.

use object::ReadRef;
use object::read::ReadCache;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A file that remembers whether reading it failed. That it ends early is not a failure, but its content.
#[derive(Debug)]
pub(crate) struct WatchedFile<'f> {
    file: &'f File,
    error: RefCell<Option<io::Error>>,
}

impl<'f> WatchedFile<'f> {
    pub(crate) fn new(file: &'f File) -> Self {
        Self { file, error: RefCell::new(None) }
    }

    /// Returns what a parser made of the file, if all that it read of it could be read.
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

/// The headers, notes and names of an ELF file, of which no more is read than any sound file has: what a header says of
/// sizes is anybody's word, and all that is read stays in memory.
#[derive(Debug)]
pub(crate) struct Headers<'f> {
    cache: ReadCache<&'f WatchedFile<'f>>,
    left: Cell<u64>,
}

impl<'f> Headers<'f> {
    /// Section headers of a file with fifteen thousand of them, which only object files have.
    const BYTES: u64 = 1 << 20;
    /// A name of a section.
    const NAME_BYTES: u64 = 4096;

    pub(crate) fn of(file: &'f WatchedFile<'f>) -> Self {
        Self { cache: ReadCache::new(file), left: Cell::new(Self::BYTES) }
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for &'a Headers<'_> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let end = range.end.min(range.start.saturating_add(Headers::NAME_BYTES));
        let read = self.cache.read_bytes_at_until(range.start..end, delimiter)?;
        self.take(read.len() as u64)?;
        Ok(read)
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
    #[test]
    fn what_a_header_says_of_sizes_takes_no_memory() {
        let file = tempfile::tempfile().unwrap();
        // As sparse as it is large: one program header, of notes, that has all of it.
        file.set_len(1 << 40).unwrap();
        let mut header = [0_u8; 64 + 56];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (header[32], header[54], header[56]) = (64, 56, 1);
        header[64] = 4;
        header[64 + 32..64 + 40].copy_from_slice(&(1_u64 << 39).to_le_bytes());
        file.write_all_at(&header, 0).unwrap();
        let watched = WatchedFile::new(&file);
        assert!(build_id_of(&Headers::of(&watched)).is_err());
    }

    #[test]
    fn an_error_of_reading_is_not_taken_for_content() {
        // A directory's bytes cannot be read.
        let unreadable = File::open("/").unwrap();
        let watched = WatchedFile::new(&unreadable);
        let parsed = segments(&Headers::of(&watched)).ok();
        assert!(watched.judge(parsed).is_err());
        let empty = tempfile::tempfile().unwrap();
        let watched = WatchedFile::new(&empty);
        let parsed = build_id_of(&Headers::of(&watched)).ok();
        assert_eq!(watched.judge(parsed).unwrap(), None, "an empty file can be read");
        assert!(!fill(&empty, &mut [0], 0).unwrap() && !fill(&empty, &mut [0], u64::MAX).unwrap());
        assert!(fill(&unreadable, &mut [0], 0).is_err());
    }
}
