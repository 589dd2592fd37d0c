//! Reading of files that are not mapped: what is truncated meanwhile is an error instead of a SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that one reading of a file brings at least: neighbours are wanted next.
const READ_BYTES: usize = 8192;
/// Pieces that are remembered: what is read in turns lies in as many places, such as a table, descriptions and what
/// they have in common.
const PIECES: usize = 4;

/// Reads a file in pieces, and remembers the last ones.
pub(crate) struct Pieces<'f> {
    file: &'f File,
    /// Used last first.
    known: Vec<Piece>,
}

struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// Returns the place at which a range begins in it, if it holds all of the range.
    fn holds(&self, offset: u64, length: usize) -> Option<usize> {
        let at = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (at.saturating_add(length) <= self.bytes.len()).then_some(at)
    }
}

impl<'f> Pieces<'f> {
    pub(crate) fn of(file: &'f File) -> Self {
        Self { file, known: Vec::with_capacity(PIECES) }
    }

    /// The file that is read.
    pub(crate) fn file(&self) -> &'f File {
        self.file
    }

    /// `N` bytes at `offset`, whose neighbours are not wanted next; `None` where the file ends before.
    pub(crate) fn probe<const N: usize>(&self, offset: u64) -> io::Result<Option<[u8; N]>> {
        let known = self.known.iter().find_map(|piece| piece.bytes.get(piece.holds(offset, N)?..));
        if let Some(bytes) = known.and_then(|bytes| bytes.first_chunk()) {
            return Ok(Some(*bytes));
        }
        let mut bytes = [0; N];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `length` bytes at `offset`; fewer where the file ends.
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let known = self.known.iter().position(|piece| piece.holds(offset, length).is_some());
        let piece = match known {
            Some(index) => self.known.remove(index),
            None => {
                let oldest = if self.known.len() < PIECES { None } else { self.known.pop() };
                let bytes = oldest.map_or_else(Vec::new, |piece| piece.bytes);
                self.read(Piece { offset, bytes }, length.max(READ_BYTES))?
            }
        };
        self.known.insert(0, piece);
        let piece = &self.known[0];
        let at = piece.holds(offset, length).unwrap_or(0);
        Ok(&piece.bytes[at..piece.bytes.len().min(at.saturating_add(length))])
    }

    fn read(&self, mut piece: Piece, length: usize) -> io::Result<Piece> {
        piece.bytes.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut piece.bytes[filled..], piece.offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.bytes.truncate(filled);
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn gives_what_the_file_has_from_whichever_piece() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| (number / 7).to_le_bytes()[0]).collect();
        file.write_all(&bytes).unwrap();
        let mut pieces = Pieces::of(&file);
        for round in 0..3 {
            for offset in [0, 90_000, 8_190, 50_000, 20_000, 99_995, 8_000, 60_000, 0] {
                for length in [0, 1, 300, 20_000] {
                    let end = (offset + length).min(bytes.len());
                    let got = pieces.get(offset as u64, length).unwrap();
                    assert_eq!(got, &bytes[offset..end], "{round} {offset} {length}");
                }
                let probed = pieces.probe::<8>(offset as u64).unwrap();
                assert_eq!(probed.as_ref().map(<[u8; 8]>::as_slice), bytes.get(offset..offset + 8));
            }
        }
        assert!(pieces.known.len() <= PIECES);
        assert_eq!(pieces.get(u64::MAX, 8).map(<[u8]>::len).unwrap_or(0), 0, "far beyond the end");
    }
}
