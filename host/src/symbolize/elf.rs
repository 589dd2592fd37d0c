//! An ELF file's section headers as far as naming needs them, read piece by piece and never mapped: a file of any size
//! takes the same memory, and one that is truncated meanwhile is an error instead of a SIGBUS.
//! Layouts as in the ELF specification (System V gABI, chapter 4), of both classes, little-endian.

use super::limit::CpuLimit;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

/// Bytes that are read from anywhere.
pub trait Bytes {
    /// Fills the whole buffer from `offset` on; an error if there is not that much.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Reads what there is from `offset` on, up to the buffer's length.
    fn some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Bytes for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }
}

impl Bytes for [u8] {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.some(buffer, offset)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl<T: Bytes + ?Sized> Bytes for &T {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).fill(buffer, offset)
    }

    fn some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).some(buffer, offset)
    }
}

/// A section, as its header states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The offset of its name in the table of names.
    name: u32,
    /// Its type (`SHT_`).
    pub(super) kind: u32,
    /// Set if it is loaded and holds code (`SHF_ALLOC`, `SHF_EXECINSTR`).
    pub(super) is_code: bool,
    /// The address that the file states for it.
    pub(super) address: u64,
    /// True if it is compressed (`SHF_COMPRESSED`).
    pub(super) compressed: bool,
    /// Its offset in the file.
    pub(super) offset: u64,
    /// Its bytes in the file.
    pub(super) bytes: u64,
    /// Number of the section that it refers to.
    pub(super) link: u32,
    /// The class of its file.
    pub(super) class: Class,
}

/// The class of a file: whether its words are of 32 or of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Bits32,
    Bits64,
}

impl Class {
    /// Returns the bytes of a section's header.
    fn section_bytes(self) -> usize {
        match self {
            Self::Bits32 => 40,
            Self::Bits64 => 64,
        }
    }
}

const HEADER_BYTES: usize = 64;
/// Bytes of the header of a 32-bit file.
const HEADER_BYTES_32: usize = 52;
/// Sections that are looked at. Tens of thousands are usual where each function has one of its own.
const SECTIONS_MAX: u64 = 1 << 20;
/// Section headers that one reading brings.
const AT_ONCE: usize = 64;
/// A section's name, with what ends it.
const NAME_BYTES: usize = 32;
/// Bytes of names that one reading brings.
const NAMES_AT_ONCE: usize = 4096;

impl Section {
    fn parse(header: &[u8], class: Class) -> Self {
        if class == Class::Bits32 {
            let word = |at| u64::from(u32_at(header, at));
            return Self {
                name: u32_at(header, 0),
                kind: u32_at(header, 4),
                is_code: word(8) & 6 == 6,
                address: word(12),
                compressed: word(8) & 0x800 != 0,
                offset: word(16),
                bytes: word(20),
                link: u32_at(header, 24),
                class,
            };
        }
        Self {
            name: u32_at(header, 0),
            kind: u32_at(header, 4),
            is_code: u64_at(header, 8) & 6 == 6,
            address: u64_at(header, 16),
            compressed: u64_at(header, 8) & 0x800 != 0,
            offset: u64_at(header, 24),
            bytes: u64_at(header, 32),
            link: u32_at(header, 40),
            class,
        }
    }

    /// Tells whether the file has its bytes (`SHT_NOBITS`).
    pub(super) fn is_in_file(&self) -> bool {
        self.kind != 8
    }
}

/// Rows of a table that one reading brings.
const ROWS_AT_ONCE: usize = 1 << 10;

/// Tells of each row of a section that is a table of rows of so many bytes, as far as the file has them, until it is told to
/// stop. An error says that the file cannot be read, or not in time.
pub(super) fn each_row<F: Bytes + ?Sized>(
    file: &F,
    table: &Section,
    row_bytes: usize,
    limit: CpuLimit,
    mut show: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut buffer = vec![0; ROWS_AT_ONCE * row_bytes];
    let (mut at, end) = (table.offset, table.offset.saturating_add(table.bytes));
    while at < end {
        if limit.is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let whole = file.some(&mut buffer[..wanted], at)? / row_bytes * row_bytes;
        if whole == 0 {
            break;
        }
        at += whole as u64;
        for row in buffer[..whole].chunks_exact(row_bytes) {
            if show(row)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The sections of a file, of which any number may be there and none is kept.
pub(super) struct Sections<'f, F: Bytes + ?Sized> {
    file: &'f F,
    /// The place of the table in the file.
    table: u64,
    count: u64,
    /// Number of the section with their names.
    names: u64,
    class: Class,
}

impl<'f, F: Bytes + ?Sized> Sections<'f, F> {
    /// None of a file that is not understood; an error if it cannot be read.
    pub(super) fn of(file: &'f F) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        let read = file.some(&mut header, 0)?;
        let class = match header.get(..6) {
            Some(b"\x7fELF\x02\x01") if read == HEADER_BYTES => Class::Bits64,
            Some(b"\x7fELF\x01\x01") if read >= HEADER_BYTES_32 => Class::Bits32,
            _ => return Ok(Self { file, table: 0, count: 0, names: 0, class: Class::Bits64 }),
        };
        // e_shoff; e_shentsize, e_shnum and e_shstrndx, one after the other.
        let (table, at) = match class {
            Class::Bits64 => (u64_at(&header, 40), 58),
            Class::Bits32 => (u32_at(&header, 32).into(), 46),
        };
        let step = usize::from(u16_at(&header, at));
        let (count, names) = (u64::from(u16_at(&header, at + 2)), u64::from(u16_at(&header, at + 4)));
        let mut sections = Self { file, table, count, names, class };
        if step != class.section_bytes() || table == 0 {
            sections.count = 0;
            return Ok(sections);
        }
        // Numbers that do not fit stand in the first header (gABI, e_shnum and e_shstrndx): SHN_LORESERVE sections and more.
        sections.count = 1;
        let first = sections.get(0)?;
        sections.count =
            if count == 0 { first.map_or(0, |first| first.bytes) } else { count }.min(SECTIONS_MAX);
        if names == 0xffff {
            sections.names = first.map_or(0, |first| first.link.into());
        }
        Ok(sections)
    }

    /// A section by its number.
    pub(super) fn get(&self, number: u64) -> io::Result<Option<Section>> {
        let mut header = [0; HEADER_BYTES];
        if number >= self.count {
            return Ok(None);
        }
        let header = &mut header[..self.class.section_bytes()];
        let read = self.file.some(header, self.table.saturating_add(number * header.len() as u64))?;
        Ok((read == header.len()).then(|| Section::parse(header, self.class)))
    }

    /// Tells of each section, in order, as far as the file has their headers, until it is told to stop.
    pub(super) fn each(&self, mut show: impl FnMut(Section) -> ControlFlow<()>) -> io::Result<()> {
        let step = self.class.section_bytes();
        let mut buffer = vec![0; AT_ONCE * step];
        let mut number = 0;
        while number < self.count {
            let read = self.file.some(&mut buffer, self.table.saturating_add(number * step as u64))?;
            let left = usize::try_from(self.count - number).unwrap_or(usize::MAX);
            let before = number;
            for header in buffer[..read].chunks_exact(step).take(left) {
                number += 1;
                if show(Section::parse(header, self.class)).is_break() {
                    return Ok(());
                }
            }
            if number == before {
                break;
            }
        }
        Ok(())
    }

    /// Finds the first section of a name whose bytes the file has.
    pub(super) fn named(&self, wanted: &[u8]) -> io::Result<Option<Section>> {
        let mut found = None;
        self.each_named(|name, section| {
            if name == wanted && section.is_in_file() {
                found.get_or_insert(section);
            }
        })?;
        Ok(found)
    }

    /// Tells of each section with the beginning of its name.
    pub(super) fn each_named(&self, mut show: impl FnMut(&[u8], Section)) -> io::Result<()> {
        let Some(names) = self.get(self.names)?.filter(Section::is_in_file) else { return Ok(()) };
        // Names of neighbours mostly are neighbours.
        let (mut known, mut start) = (Vec::new(), 0);
        let mut failure = None;
        self.each(|section| {
            let at = names.offset.saturating_add(section.name.into());
            let inside = |known: &[u8], start: u64| {
                at >= start
                    && at.saturating_add(NAME_BYTES as u64) <= start.saturating_add(known.len() as u64)
            };
            if !inside(&known, start) {
                known.resize(NAMES_AT_ONCE, 0);
                start = at;
                match self.file.some(&mut known, start) {
                    Ok(read) => known.truncate(read),
                    Err(error) => {
                        failure = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            let name = usize::try_from(at - start).ok().and_then(|at| known.get(at..)).unwrap_or_default();
            let name = &name[..name.len().min(NAME_BYTES)];
            show(name.split(|byte| *byte == 0).next().unwrap_or_default(), section);
            ControlFlow::Continue(())
        })?;
        failure.map_or(Ok(()), Err)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
