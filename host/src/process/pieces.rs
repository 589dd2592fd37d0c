//! Reading of files that are not mapped: what is truncated meanwhile is an error instead of a SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that one reading of a file brings at least: neighbours are wanted next.
const READ_BYTES: usize = 8192;

/// Reads a file in pieces, and remembers the last one.
pub(crate) struct Pieces<'f> {
    file: &'f File,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'f> Pieces<'f> {
    pub(crate) fn of(file: &'f File) -> Self {
        Self { file, offset: 0, bytes: Vec::new() }
    }

    /// `length` bytes at `offset`; fewer where the file ends.
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let inside = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let at = match inside.filter(|at| at.saturating_add(length) <= self.bytes.len()) {
            Some(at) => at,
            None => {
                self.bytes.resize(length.max(READ_BYTES), 0);
                self.offset = offset;
                let mut filled = 0;
                while filled < self.bytes.len() {
                    match self.file.read_at(&mut self.bytes[filled..], offset.saturating_add(filled as u64)) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => {
                            self.bytes.clear();
                            return Err(error);
                        }
                    }
                }
                self.bytes.truncate(filled);
                0
            }
        };
        Ok(&self.bytes[at..self.bytes.len().min(at + length)])
    }
}
