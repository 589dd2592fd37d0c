//! Sections of debug information, read as they are needed and never mapped: a file of any size takes the same memory,
//! and one that is truncated meanwhile is an error instead of a SIGBUS.

use super::super::elf::Bytes;
use super::work::Work;
use gimli::{Error, LittleEndian, Reader, ReaderOffsetId, Result};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

const PAGE_BYTES: usize = 8 << 10;
/// Pages of a section that are remembered, each in the place that its number says.
const PAGES: usize = 8;
/// A name or a path is longer only in damaged files.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The bytes of one section.
pub(super) struct SectionBytes<'f> {
    source: Source<'f>,
    length: usize,
    pages: RefCell<[Page; PAGES]>,
    work: &'f Work,
}

enum Source<'f> {
    /// In the file, from there on.
    File(&'f dyn Bytes, u64),
    /// It was compressed.
    Memory(Vec<u8>),
}

#[derive(Default)]
struct Page {
    /// Its number, from 1; 0 if there is none.
    number: usize,
    bytes: Vec<u8>,
}

impl<'f> SectionBytes<'f> {
    pub(super) fn in_file(file: &'f dyn Bytes, offset: u64, bytes: u64, work: &'f Work) -> Self {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { source: Source::File(file, offset), length, pages: RefCell::default(), work }
    }

    pub(super) fn in_memory(bytes: Vec<u8>, work: &'f Work) -> Self {
        let length = bytes.len();
        Self { source: Source::Memory(bytes), length, pages: RefCell::default(), work }
    }

    /// All of it.
    pub(super) fn reader(&self) -> Section<'_> {
        Section { bytes: self, at: 0, end: self.length }
    }

    /// Fills a buffer from `at` on.
    fn read(&self, mut at: usize, mut buffer: &mut [u8]) -> Result<()> {
        self.work.spend(1)?;
        while !buffer.is_empty() {
            let count = self.with_piece(at, |piece| {
                let count = piece.len().min(buffer.len());
                buffer[..count].copy_from_slice(&piece[..count]);
                count
            })?;
            buffer = &mut buffer[count..];
            at += count;
        }
        Ok(())
    }

    /// Shows what is at `at` and, up to some limit, after it; an error if there is nothing.
    fn with_piece<T>(&self, at: usize, show: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let end = || Error::UnexpectedEof(ReaderOffsetId(at as u64));
        let (file, offset) = match &self.source {
            Source::Memory(bytes) => {
                let piece = bytes.get(at..).filter(|piece| !piece.is_empty()).ok_or_else(end)?;
                return Ok(show(&piece[..piece.len().min(PAGE_BYTES)]));
            }
            Source::File(file, offset) => (file, offset),
        };
        let index = at / PAGE_BYTES;
        let mut pages = self.pages.borrow_mut();
        let page = &mut pages[index % PAGES];
        if page.number != index + 1 {
            page.number = 0;
            page.bytes.resize(PAGE_BYTES, 0);
            let mut filled = 0;
            while filled < PAGE_BYTES {
                let from = offset.saturating_add((index * PAGE_BYTES + filled) as u64);
                match file.some(&mut page.bytes[filled..], from) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.work.fail(error);
                        return Err(Error::Io);
                    }
                }
            }
            page.bytes.truncate(filled);
            page.number = index + 1;
            self.work.spend(PAGE_BYTES as u64 / 64)?;
        }
        let piece = page.bytes.get(at % PAGE_BYTES..).filter(|piece| !piece.is_empty()).ok_or_else(end)?;
        Ok(show(piece))
    }
}

/// A part of a section, for gimli.
#[derive(Clone, Copy)]
pub(super) struct Section<'s> {
    bytes: &'s SectionBytes<'s>,
    at: usize,
    end: usize,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.at, self.end)
    }
}

impl Section<'_> {
    fn split_at(&mut self, length: usize) -> Result<Self> {
        if length > self.end - self.at {
            return Err(Error::UnexpectedEof(self.offset_id()));
        }
        let first = Self { end: self.at + length, ..*self };
        self.at += length;
        Ok(first)
    }

    /// As a text, whatever its bytes are.
    pub(super) fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.to_slice()?).into_owned())
    }
}

impl Reader for Section<'_> {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.end - self.at
    }

    fn empty(&mut self) {
        self.at = self.end;
    }

    fn truncate(&mut self, length: usize) -> Result<()> {
        *self = self.split_at(length)?;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.at.saturating_sub(base.at)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let at = usize::try_from(id.0).ok()?;
        (self.at..=self.end).contains(&at).then(|| at - self.at)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let last = self.end.min(self.at.saturating_add(TEXT_BYTES_MAX));
        let mut at = self.at;
        while at < last {
            let (found, length) = self.bytes.with_piece(at, |piece| {
                let piece = &piece[..piece.len().min(last - at)];
                (piece.iter().position(|it| *it == byte), piece.len())
            })?;
            self.bytes.work.spend(1 + length as u64 / 64)?;
            if let Some(found) = found {
                return Ok(at + found - self.at);
            }
            at += length;
        }
        Err(Error::UnexpectedEof(self.offset_id()))
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        self.split_at(length).map(drop)
    }

    fn split(&mut self, length: usize) -> Result<Self> {
        self.bytes.work.spend(1)?;
        self.split_at(length)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        if self.end - self.at > TEXT_BYTES_MAX {
            return Err(Error::Io);
        }
        let mut bytes = vec![0; self.end - self.at];
        self.bytes.read(self.at, &mut bytes)?;
        Ok(bytes.into())
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        String::from_utf8(self.to_slice()?.into_owned()).map(Cow::Owned).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        self.text().map(Cow::Owned)
    }

    fn read_slice(&mut self, buffer: &mut [u8]) -> Result<()> {
        let part = self.split_at(buffer.len())?;
        self.bytes.read(part.at, buffer)
    }
}
