//! Where an executable keeps its call frame information, and how to read just that of a page.

use super::bare::{self, KnownCode};
use super::cfi::{Entry, Row, debug_rows, entry_rows};
use super::go;
use super::rule::{Architecture, Rule};
use crate::process::{GoFunctions, Headers, Pieces, WatchedFile, fill};
use gimli::{BaseAddresses, CieOrFde, DebugFrame, EhFrame, LittleEndian, UnwindContext, UnwindSection};
use object::LittleEndian as Little;
use object::elf::{DT_FINI, DT_INIT, FileHeader64, PT_GNU_EH_FRAME, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use stacksonde_ebpf::tables::PAGE_BITS;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Sections without an index are read whole to make one; larger ones are left alone.
const SECTION_BYTES_MAX: u64 = 4 << 20;
/// Functions in an index of our own.
const INDEX_MAX: usize = 200_000;
/// Functions that have code in one page; more only in damaged files.
const IN_PAGE_MAX: usize = 1 << 12;
/// An entry of a function is larger only in damaged files.
const ENTRY_BYTES_MAX: usize = 1 << 18;
/// Descriptions side by side of which one hides the next.
const HIDDEN_MAX: u32 = 64;

/// The call frame information of one executable.
#[derive(Debug)]
pub struct CallFrames {
    loads: Vec<Load>,
    index: Option<Index>,
    go: Option<GoFunctions>,
    architecture: Architecture,
    known: KnownCode,
}

/// A loaded part of the file.
#[derive(Clone, Copy, Debug)]
struct Load {
    address: u64,
    file_offset: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Index {
    /// The table in `.eh_frame_hdr` (Linux Standard Base 5.0, 10.6.2), sorted by address: entries of
    /// {function, description}, each relative to the section's address, 4 bytes signed.
    Header { address: u64, table_offset: u64, count: u64 },
    /// Made by reading the whole section.
    Own { section: Range<u64>, address: u64, debug: bool, functions: Vec<Function> },
}

/// Where a function begins, and where its description lies in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    start: u64,
    offset: u32,
}

impl CallFrames {
    /// Looks for it; `None` if the file has none that can be used. An error if the file cannot be read.
    pub fn find(file: &File) -> io::Result<Option<Self>> {
        let watched = WatchedFile::new(file);
        let found = Self::find_in(&watched, file);
        watched.judge(found)
    }

    fn find_in(watched: &WatchedFile<'_>, file: &File) -> Option<Self> {
        let cache = Headers::of(watched);
        let header = FileHeader64::<Little>::parse(&cache).ok()?;
        let architecture = match header.e_machine(Little) {
            object::elf::EM_X86_64 => Architecture::X86_64,
            object::elf::EM_AARCH64 => Architecture::Aarch64,
            _ => return None,
        };
        let programs = header.program_headers(Little, &cache).ok()?;
        let loads = programs.iter().filter(|program| program.p_type(Little) == PT_LOAD);
        let loads = loads
            .map(|program| Load {
                address: program.p_vaddr(Little),
                file_offset: program.p_offset(Little),
                bytes: program.p_filesz(Little),
            })
            .collect();
        let from_header =
            programs.iter().find(|program| program.p_type(Little) == PT_GNU_EH_FRAME).and_then(|program| {
                header_index(watched, file, program.p_offset(Little), program.p_vaddr(Little))
            });
        let section = |name: &[u8]| {
            let sections = header.sections(Little, &cache).ok()?;
            let (_, section) = sections.section_by_name(Little, name)?;
            let start = section.sh_offset(Little);
            let plain = section.sh_type(Little) != object::elf::SHT_NOBITS
                && !section.sh_flags(Little).contains(object::elf::SHF_COMPRESSED);
            plain.then(|| (start..start.saturating_add(section.sh_size(Little)), section.sh_addr(Little)))
        };
        let own = |name: &[u8], debug: bool| {
            let (range, address) = section(name)?;
            own_index(watched, file, range, address, debug)
        };
        let go = watched.note(GoFunctions::find(file)).ok()?;
        let mut index = from_header.or_else(|| own(b".eh_frame", false));
        if go.is_none() {
            index = Some(index.or_else(|| own(b".debug_frame", true))?);
        }
        let dynamic = programs.iter().find_map(|program| program.dynamic(Little, &cache).ok().flatten());
        let dynamic = dynamic.unwrap_or_default();
        let value = |tag| {
            dynamic.iter().find(|entry| entry.d_tag(Little) == tag).map_or(0, |entry| entry.d_val(Little))
        };
        let known = KnownCode { entry: header.e_entry(Little), init: [DT_INIT, DT_FINI].map(value) };
        Some(Self { loads, index, go, architecture, known })
    }

    /// Whether all of it is Go's code: who calls there has a frame pointer.
    pub fn is_go(&self) -> bool {
        self.go.is_some() && self.index.is_none()
    }

    /// The rows of a page of file addresses, by address; the first one is at its first byte.
    pub fn rows_of_page(&self, file: &File, page: u64) -> io::Result<Vec<Row>> {
        let within = page << PAGE_BITS..(page + 1) << PAGE_BITS;
        let (mut reader, mut context) = (Pieces::of(file), UnwindContext::new());
        let mut found = Vec::new();
        // Descriptions are in the order of addresses; what lies between two functions has no rule.
        let mut upto = within.start;
        let mut place = |rows: Vec<Row>, end: u64| {
            let Some((first, _)) = rows.first() else { return };
            if *first > upto {
                found.push((upto, Rule::NONE));
            }
            found.retain(|(start, _)| *start < *first);
            found.extend(rows);
            upto = end;
        };
        match &self.index {
            None => {}
            Some(Index::Header { address, table_offset, count }) => {
                let table = Table { address: *address, offset: *table_offset, count: *count };
                for (function, at) in table.functions(&mut reader, &within)? {
                    let mut at = at;
                    // Of several functions at one address lld puts the first into the table: those of no length hide
                    // the other, which stands after them.
                    for attempt in 0..HIDDEN_MAX {
                        let Some(entry) = self.entry(&mut reader, at)? else { break };
                        if let Ok((rows, end)) =
                            entry_rows(entry.as_entry(), &within, self.architecture, &mut context)
                        {
                            let start = rows.first().map(|(first, _)| *first);
                            if attempt == 0 || start == Some(function.max(within.start)) {
                                place(rows, end);
                            }
                            break;
                        }
                        at = at.wrapping_add(entry.description_bytes());
                    }
                }
            }
            Some(Index::Own { section, address, debug, functions }) => {
                let first = functions.partition_point(|function| function.start <= within.start);
                let functions = &functions[first.saturating_sub(1)..];
                let functions: Vec<_> =
                    functions.iter().take_while(|function| function.start < within.end).collect();
                for function in functions.into_iter().take(IN_PAGE_MAX) {
                    let offset = u64::from(function.offset);
                    let read = if *debug {
                        let Some((bytes, description)) = debug_entry(&mut reader, section, offset)? else {
                            continue;
                        };
                        debug_rows(&bytes, description, &within, self.architecture, &mut context)
                    } else {
                        let Some(entry) = self.entry(&mut reader, address.wrapping_add(offset))? else {
                            continue;
                        };
                        entry_rows(entry.as_entry(), &within, self.architecture, &mut context)
                    };
                    if let Ok((rows, end)) = read {
                        place(rows, end);
                    }
                }
            }
        }
        if upto < within.end {
            found.push((upto, Rule::NONE));
        }
        self.fill_gaps(&mut reader, found, within.end)
    }

    /// What is known of code without call frame information.
    fn fill_gaps(&self, pieces: &mut Pieces<'_>, rows: Vec<Row>, end: u64) -> io::Result<Vec<Row>> {
        let rows = match &self.go {
            // A file with call frame information has other code beside Go's.
            Some(functions) => {
                let rest = if self.index.is_some() { Rule::NONE } else { Rule::BARE };
                each_gap(rows, end, |gap| {
                    let code = |pieces: &mut Pieces<'_>, address, length| self.code(pieces, address, length);
                    go::rows(functions, pieces, gap, rest, self.architecture, code)
                })?
            }
            None => rows,
        };
        each_gap(rows, end, |gap| {
            let length = usize::try_from(gap.end - gap.start).unwrap_or(0);
            let code = self.code(pieces, gap.start, length)?;
            Ok(bare::rows(gap, &code, &self.known, self.architecture))
        })
    }

    /// The bytes at an address, as far as the file has them.
    fn code(&self, pieces: &mut Pieces<'_>, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let Some(offset) = self.offset_of(address) else { return Ok(Vec::new()) };
        pieces.get(offset, length).map(<[u8]>::to_vec)
    }

    /// Reads a description at an address, and what it has in common with others.
    fn entry(&self, reader: &mut Pieces<'_>, address: u64) -> io::Result<Option<OwnedEntry>> {
        let Some(description) = self.read_record(reader, address)? else { return Ok(None) };
        let Some(pointer) = description.get(4..8).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(None);
        };
        // From the pointer's own place back to the common entry.
        let back = u32::from_le_bytes(pointer);
        let common_address = address.wrapping_add(4).wrapping_sub(back.into());
        let Some(mut bytes) = self.read_record(reader, common_address)? else { return Ok(None) };
        let at = bytes.len();
        bytes.extend(&description);
        let back = u32::try_from(at + 4).unwrap_or(u32::MAX);
        bytes[at + 4..at + 8].copy_from_slice(&back.to_le_bytes());
        Ok(Some(OwnedEntry { bytes, description: at, address }))
    }

    /// A record with its length before it; `None` if there is none that makes sense.
    fn read_record(&self, reader: &mut Pieces<'_>, address: u64) -> io::Result<Option<Vec<u8>>> {
        self.offset_of(address).map_or(Ok(None), |offset| record_at(reader, offset))
    }

    fn offset_of(&self, address: u64) -> Option<u64> {
        let load = self
            .loads
            .iter()
            .find(|load| address.checked_sub(load.address).is_some_and(|offset| offset < load.bytes))?;
        load.file_offset.checked_add(address - load.address)
    }
}

/// Reads a record at an offset of the file, with its length before it; `None` if there is none that makes sense.
fn record_at(reader: &mut Pieces<'_>, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let length = reader.get(offset, 4)?;
    let Ok(length) = <[u8; 4]>::try_from(length) else { return Ok(None) };
    // 0 ends a section; 0xffffffff begins the 64-bit format, which no compiler writes.
    match usize::try_from(u32::from_le_bytes(length)) {
        Ok(length @ 8..=ENTRY_BYTES_MAX) => {
            let record = reader.get(offset, 4 + length)?;
            Ok((record.len() == 4 + length).then(|| record.to_vec()))
        }
        _ => Ok(None),
    }
}

/// Reads a description of `.debug_frame` at an offset of the section, behind what it has in common with others: a section
/// of these two, and where in it the description begins.
fn debug_entry(
    reader: &mut Pieces<'_>,
    section: &Range<u64>,
    offset: u64,
) -> io::Result<Option<(Vec<u8>, usize)>> {
    let at = |offset: u64| section.start.saturating_add(offset);
    let Some(mut description) = record_at(reader, at(offset))? else { return Ok(None) };
    // DWARF 5, 6.4.1: the pointer is an offset in the section.
    let Some(pointer) = description.get_mut(4..8) else { return Ok(None) };
    let common = pointer.try_into().map_or(0, u32::from_le_bytes);
    pointer.fill(0);
    let Some(mut bytes) = record_at(reader, at(common.into()))? else { return Ok(None) };
    let begin = bytes.len();
    bytes.extend(description);
    Ok(Some((bytes, begin)))
}

/// Puts other rows into each range that has no rule.
fn each_gap(
    rows: Vec<Row>,
    end: u64,
    mut fill: impl FnMut(&Range<u64>) -> io::Result<Vec<Row>>,
) -> io::Result<Vec<Row>> {
    let mut filled = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        if row.1 == Rule::NONE {
            filled.extend(fill(&(row.0..rows.get(index + 1).map_or(end, |next| next.0)))?);
        } else {
            filled.push(*row);
        }
    }
    Ok(filled)
}

struct OwnedEntry {
    bytes: Vec<u8>,
    description: usize,
    address: u64,
}

impl OwnedEntry {
    /// Bytes of the description, its length included.
    fn description_bytes(&self) -> u64 {
        (self.bytes.len() - self.description) as u64
    }

    fn as_entry(&self) -> Entry<'_> {
        Entry { bytes: &self.bytes, description: self.description, address: self.address }
    }
}

/// The table of `.eh_frame_hdr`.
struct Table {
    address: u64,
    offset: u64,
    count: u64,
}

impl Table {
    const ENTRY_BYTES: u64 = 8;

    fn offset_of(&self, index: u64) -> u64 {
        self.offset.saturating_add(index * Self::ENTRY_BYTES)
    }

    /// {function, description} of an entry.
    fn read(&self, [a, b, c, d, description @ ..]: [u8; 8]) -> (u64, u64) {
        let absolute = |bytes: [u8; 4]| self.address.wrapping_add_signed(i32::from_le_bytes(bytes).into());
        (absolute([a, b, c, d]), absolute(description))
    }

    /// {function, description} of those that may lie in `within`, by address.
    fn functions(&self, reader: &mut Pieces<'_>, within: &Range<u64>) -> io::Result<Vec<(u64, u64)>> {
        // The last entry that begins at or before the page's start.
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match reader.probe(self.offset_of(middle))?.map(|bytes| self.read(bytes)) {
                Some((function, _)) if function <= within.start => low = middle,
                _ => high = middle,
            }
        }
        let mut found = Vec::new();
        for index in low..self.count {
            let bytes = reader.get(self.offset_of(index), 8)?;
            match bytes.first_chunk().map(|bytes| self.read(*bytes)) {
                Some((function, description)) if function < within.end && found.len() < IN_PAGE_MAX => {
                    found.push((function, description));
                }
                _ => break,
            }
        }
        Ok(found)
    }
}

/// Reads the head of `.eh_frame_hdr`; `None` for encodings that no linker uses.
fn header_index(watched: &WatchedFile<'_>, file: &File, offset: u64, address: u64) -> Option<Index> {
    let mut head = [0; 12];
    watched.note(fill(file, &mut head, offset)).ok().filter(|filled| *filled)?;
    // Version 1; pointer to .eh_frame: relative to itself, 4 bytes signed; count: 4 bytes unsigned;
    // table: relative to the section, 4 bytes signed.
    let [1, 0x1b, 0x03, 0x3b, _, _, _, _, count @ ..] = head else { return None };
    let count = u32::from_le_bytes(count).into();
    (count > 0).then_some(Index::Header { address, table_offset: offset.checked_add(12)?, count })
}

/// Makes an index by reading the whole section.
fn own_index(
    watched: &WatchedFile<'_>,
    file: &File,
    range: Range<u64>,
    address: u64,
    debug: bool,
) -> Option<Index> {
    let length = range.end.checked_sub(range.start).filter(|length| *length <= SECTION_BYTES_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    watched.note(fill(file, &mut bytes, range.start)).ok().filter(|filled| *filled)?;
    let mut functions = if debug {
        let mut section = DebugFrame::new(&bytes, LittleEndian);
        section.set_address_size(8);
        functions_of(&section, &BaseAddresses::default())
    } else {
        let mut section = EhFrame::new(&bytes, LittleEndian);
        section.set_address_size(8);
        functions_of(&section, &BaseAddresses::default().set_eh_frame(address))
    };
    functions.sort_unstable();
    (!functions.is_empty()).then_some(Index::Own { section: range, address, debug, functions })
}

fn functions_of<'a, S>(section: &S, bases: &BaseAddresses) -> Vec<Function>
where
    S: UnwindSection<gimli::EndianSlice<'a, LittleEndian>>,
    S::Offset: Copy,
{
    let mut found = Vec::new();
    let mut entries = section.entries(bases);
    // What is damaged ends the section; what came before it serves.
    while let Ok(Some(entry)) = entries.next() {
        if found.len() == INDEX_MAX {
            return Vec::new();
        }
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(description) = partial.parse(S::cie_from_offset) else { continue };
        if let Ok(offset) = u32::try_from(description.offset()) {
            found.push(Function { start: description.initial_address(), offset });
        }
    }
    found
}
