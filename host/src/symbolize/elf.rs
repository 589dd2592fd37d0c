//! What naming needs of an ELF file's section headers, read piece by piece and never mapped: a file of any size
//! takes the same memory, and one that is truncated meanwhile is an error instead of a SIGBUS.
//! Layouts as in the ELF specification (System V gABI, chapter 4), 64-bit, little-endian.

use std::fs::File;
use std::io;
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

/// A section, as its header states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Where in the table of names its name begins.
    name: u32,
    /// What it holds (`SHT_`).
    pub(super) kind: u32,
    /// Whether it is compressed (`SHF_COMPRESSED`).
    pub(super) compressed: bool,
    /// Where it lies in the file.
    pub(super) offset: u64,
    /// Its bytes in the file.
    pub(super) bytes: u64,
    /// Number of the section that it refers to.
    pub(super) link: u32,
}

const HEADER_BYTES: usize = 64;
/// Sections in a file; more only in damaged ones, and in object files, which are never executed.
const SECTIONS_MAX: u64 = 4096;
/// A section's name, with what ends it.
const NAME_BYTES: usize = 32;

/// The sections of a file, and the number of that with their names.
pub(super) fn sections(file: &(impl Bytes + ?Sized)) -> io::Result<(Vec<Section>, usize)> {
    let mut header = [0; HEADER_BYTES];
    file.fill(&mut header, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(io::Error::other("not a 64-bit little-endian ELF file"));
    }
    // e_shoff, e_shentsize, e_shnum, e_shstrndx.
    let (table, size) = (u64_at(&header, 40), u64::from(u16_at(&header, 58)));
    let (count, names) = (u64::from(u16_at(&header, 60)), u16_at(&header, 62));
    if count > SECTIONS_MAX || (count > 0 && size < HEADER_BYTES as u64) {
        return Err(io::Error::other("the table of sections is damaged"));
    }
    let mut sections = Vec::new();
    for number in 0..count {
        let mut section = [0; HEADER_BYTES];
        file.fill(&mut section, table.saturating_add(number * size))?;
        sections.push(Section {
            name: u32_at(&section, 0),
            kind: u32_at(&section, 4),
            compressed: u64_at(&section, 8) & 0x800 != 0,
            offset: u64_at(&section, 24),
            bytes: u64_at(&section, 32),
            link: u32_at(&section, 40),
        });
    }
    Ok((sections, usize::from(names)))
}

/// The beginning of a section's name, from the table of names.
pub(super) fn name_of(file: &(impl Bytes + ?Sized), names: &Section, section: &Section) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    // A name that is not there is like one that nobody looks for.
    let _read = file.some(&mut name, names.offset.saturating_add(section.name.into()));
    name
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
