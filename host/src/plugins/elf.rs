//! Reads from a shared library, before it is loaded, what it needs and offers: bytes in, values out.
//!
//! Reads a 64-bit little-endian ELF file through its program headers only, the way the loader does; a
//! section table may be absent or lie. Structures and constants are those of `elf(5)`.

use object::ReadRef;
use thiserror::Error;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// A fault in a file that should be a shared library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// Not ELF.
    #[error("is not an ELF file")]
    NotElf,
    /// ELF of another class or byte order.
    #[error("is not a 64-bit little-endian ELF file")]
    OtherClass,
    /// A program, an object file, a core.
    #[error("is not a shared library")]
    NotShared,
    /// For another kind of machine.
    #[error("is built for another machine (ELF machine {0})")]
    OtherMachine(u16),
    /// A structure lies outside the file.
    #[error("is cut short or damaged: {0} lies outside the file")]
    Outside(&'static str),
    /// A name is not text.
    #[error("is damaged: {0} is not text")]
    NotText(&'static str),
}

/// A shared library as its file describes it, before it is loaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SharedLibrary<'a> {
    /// Type and description of the first note of the owner and of one of the types that were asked for.
    pub(super) note: Option<(u32, &'a [u8])>,
    /// Libraries that it needs (`DT_NEEDED`).
    pub(super) needed: Vec<&'a str>,
    /// The folders in which it wants them searched (`DT_RPATH`, `DT_RUNPATH`).
    pub(super) search_paths: Vec<&'a str>,
}

/// Reads of a file what it takes, and looks for the note of `owner` and one of the types `kinds`.
pub(super) fn read<'a>(
    bytes: impl ReadRef<'a>,
    owner: &str,
    kinds: &[u32],
) -> Result<SharedLibrary<'a>, ElfError> {
    if bytes.read_bytes_at(0, 4) != Ok(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let file = File { bytes, segments: segments(bytes)? };
    let mut library = SharedLibrary { note: None, needed: Vec::new(), search_paths: Vec::new() };
    for segment in &file.segments {
        match segment.kind {
            PT_NOTE if library.note.is_none() => {
                library.note = find_note(file.content(segment, "a note")?, segment.align, owner, kinds)?;
            }
            PT_DYNAMIC => file.read_dynamic(segment, &mut library)?,
            _ => {}
        }
    }
    Ok(library)
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
    align: u64,
}

fn segments<'a>(bytes: impl ReadRef<'a>) -> Result<Vec<Segment>, ElfError> {
    let header = bytes.read_bytes_at(0, HEADER as u64).map_err(|()| ElfError::Outside("the ELF header"))?;
    if header[4] != 2 || header[5] != 1 {
        return Err(ElfError::OtherClass);
    }
    let outside = ElfError::Outside("the table of segments");
    let half = |at| u16_at(header, at).ok_or(outside);
    if half(16)? != ET_DYN {
        return Err(ElfError::NotShared);
    }
    let expected = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };
    if half(18)? != expected {
        return Err(ElfError::OtherMachine(half(18)?));
    }
    let table = u64_at(header, 32).ok_or(outside)?;
    let (size, count) = (half(54)?, half(56)?);
    if usize::from(size) < PROGRAM_HEADER {
        return Err(outside);
    }
    let rows = bytes.read_bytes_at(table, u64::from(size) * u64::from(count)).map_err(|()| outside)?;
    rows.chunks_exact(usize::from(size)).map(|row| segment(row).ok_or(outside)).collect()
}

fn segment(row: &[u8]) -> Option<Segment> {
    Some(Segment {
        kind: u32_at(row, 0)?,
        offset: u64_at(row, 8)?,
        address: u64_at(row, 16)?,
        size: u64_at(row, 32)?,
        align: u64_at(row, 48)?,
    })
}

fn find_note<'a>(
    mut notes: &'a [u8],
    align: u64,
    owner: &str,
    kinds: &[u32],
) -> Result<Option<(u32, &'a [u8])>, ElfError> {
    let align = if align == 8 { 8 } else { 4 };
    while notes.len() >= 12 {
        let note = (|| {
            let name_size = u64::from(u32_at(notes, 0)?);
            let size = u64::from(u32_at(notes, 4)?);
            let start = (12 + name_size).next_multiple_of(align);
            let name = slice(notes, 12, name_size)?;
            let content = slice(notes, start, size)?;
            let next = usize::try_from((start + size).next_multiple_of(align)).ok()?;
            Some((name, u32_at(notes, 8)?, content, next))
        })();
        let (name, found, content, next) = note.ok_or(ElfError::Outside("a note"))?;
        if kinds.contains(&found) && name.strip_suffix(b"\0") == Some(owner.as_bytes()) {
            return Ok(Some((found, content)));
        }
        notes = notes.get(next..).unwrap_or_default();
    }
    Ok(None)
}

struct File<R> {
    bytes: R,
    segments: Vec<Segment>,
}

impl<'a, R: ReadRef<'a>> File<R> {
    fn content(&self, segment: &Segment, what: &'static str) -> Result<&'a [u8], ElfError> {
        self.bytes.read_bytes_at(segment.offset, segment.size).map_err(|()| ElfError::Outside(what))
    }

    fn read_dynamic(&self, segment: &Segment, library: &mut SharedLibrary<'a>) -> Result<(), ElfError> {
        let outside = ElfError::Outside("the table of strings");
        let entries = || {
            let table = self.content(segment, "the dynamic section");
            table.map(|table| {
                table
                    .chunks_exact(16)
                    .filter_map(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
                    .take_while(|&(tag, _)| tag != DT_NULL)
            })
        };
        let names = entries()?.filter(|(tag, _)| matches!(*tag, DT_NEEDED | DT_RPATH | DT_RUNPATH));
        let strings = entries()?.find(|&(tag, _)| tag == DT_STRTAB).map(|(_, address)| address);
        for (tag, offset) in names {
            let start = strings.and_then(|address| address.checked_add(offset)).ok_or(outside)?;
            let name = self.text(start)?;
            match tag {
                DT_NEEDED => library.needed.push(name),
                _ => library.search_paths.push(name),
            }
        }
        Ok(())
    }

    /// The NUL-terminated text at `address`.
    fn text(&self, address: u64) -> Result<&'a str, ElfError> {
        let outside = ElfError::Outside("a name");
        const LONGEST: u64 = 4096;
        let rest = self
            .segments
            .iter()
            .filter(|segment| segment.kind == PT_LOAD)
            .find_map(|segment| {
                let skip = address.checked_sub(segment.address).filter(|skip| *skip < segment.size)?;
                let length = (segment.size - skip).min(LONGEST);
                self.bytes.read_bytes_at(segment.offset.checked_add(skip)?, length).ok()
            })
            .ok_or(outside)?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(outside)?;
        std::str::from_utf8(&rest[..end]).map_err(|_| ElfError::NotText("a name"))
    }
}

fn slice(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
