//! The functions that call frame information describes: where each is described, found by an address.

use super::cfi::{Entry, FunctionRows, debug_rows, entry_rows};
use super::rule::Architecture;
use crate::process::{Pieces, WatchedFile, fill};
use crate::symbolize::unpack;
use gimli::{BaseAddresses, CieOrFde, DebugFrame, EhFrame, LittleEndian, UnwindContext, UnwindSection};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Sections without an index are read whole to make one; larger ones are left alone.
const SECTION_BYTES_MAX: u64 = 4 << 20;
/// A packed section has so many bytes at most.
const PACKED_BYTES_MAX: u64 = 1 << 20;
/// Functions in an index of our own.
const INDEX_MAX: usize = 200_000;
/// Functions that have code in one page; more only in damaged files.
const IN_PAGE_MAX: usize = 1 << 12;
/// An entry of a function is larger only in damaged files.
const ENTRY_BYTES_MAX: usize = 1 << 18;
/// Descriptions side by side of which one hides the next.
const HIDDEN_MAX: u32 = 64;

/// A loaded part of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) address: u64,
    pub(super) file_offset: u64,
    pub(super) bytes: u64,
}

/// Functions and where they are described, in the order of their addresses.
#[derive(Debug)]
pub(super) enum Index {
    /// The table in `.eh_frame_hdr` (Linux Standard Base 5.0, 10.6.2), sorted by address: entries of
    /// {function, description}, each relative to the section's address, 4 bytes signed.
    Header { address: u64, table_offset: u64, count: u64 },
    /// Made by reading the whole section.
    Own { section: Range<u64>, address: u64, kind: SectionKind, functions: Vec<Function> },
}

/// The section that an index of our own is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// `.eh_frame`
    Loaded,
    /// `.debug_frame`
    Debug,
    /// `.debug_frame`, packed
    DebugPacked,
}

/// The beginning of a function, and of its description in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Function {
    start: u64,
    offset: u32,
}

/// The loaded parts of a file.
#[derive(Debug)]
pub(super) struct Loads(pub(super) Vec<Load>);

impl Loads {
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

    /// Finds the place in the file of an address.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        let load = self
            .0
            .iter()
            .find(|load| address.checked_sub(load.address).is_some_and(|offset| offset < load.bytes))?;
        load.file_offset.checked_add(address - load.address)
    }
}

impl Index {
    /// Reads the head of `.eh_frame_hdr`; `None` for encodings that no linker uses.
    pub(super) fn of_header(
        watched: &WatchedFile<'_>,
        file: &File,
        offset: u64,
        address: u64,
    ) -> Option<Self> {
        let mut head = [0; 12];
        watched.note(fill(file, &mut head, offset)).ok().filter(|filled| *filled)?;
        // Version 1; pointer to .eh_frame: relative to itself, 4 bytes signed; count: 4 bytes unsigned;
        // table: relative to the section, 4 bytes signed.
        let [1, 0x1b, 0x03, 0x3b, _, _, _, _, count @ ..] = head else { return None };
        let count = u32::from_le_bytes(count).into();
        (count > 0).then_some(Self::Header { address, table_offset: offset.checked_add(12)?, count })
    }

    /// Makes an index by reading the whole section.
    pub(super) fn of_section(
        watched: &WatchedFile<'_>,
        file: &File,
        range: Range<u64>,
        address: u64,
        kind: SectionKind,
    ) -> Option<Self> {
        let length = range.end.checked_sub(range.start).filter(|length| *length <= SECTION_BYTES_MAX)?;
        let bytes = if kind == SectionKind::DebugPacked {
            watched.note(unpacked(file, &range)).ok().flatten()?
        } else {
            let mut bytes = vec![0; usize::try_from(length).ok()?];
            watched.note(fill(file, &mut bytes, range.start)).ok().filter(|filled| *filled)?;
            bytes
        };
        let mut functions = if kind == SectionKind::Loaded {
            let mut section = EhFrame::new(&bytes, LittleEndian);
            section.set_address_size(8);
            functions_of(&section, &BaseAddresses::default().set_eh_frame(address))
        } else {
            let mut section = DebugFrame::new(&bytes, LittleEndian);
            section.set_address_size(8);
            functions_of(&section, &BaseAddresses::default())
        };
        functions.sort_unstable();
        (!functions.is_empty()).then_some(Self::Own { section: range, address, kind, functions })
    }

    /// Hands each function to `take` that may have code in a range, by address.
    pub(super) fn each_function(
        &self,
        loads: &Loads,
        architecture: Architecture,
        (reader, context): (&mut Pieces<'_>, &mut UnwindContext<usize>),
        within: &Range<u64>,
        mut take: impl FnMut(&mut Pieces<'_>, FunctionRows) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Header { address, table_offset, count } => {
                let table = Table { address: *address, offset: *table_offset, count: *count };
                for (function, at) in table.functions(reader, within)? {
                    let mut at = at;
                    // Of several functions at one address lld puts the first into the table: those of no length hide
                    // the other, which stands after them.
                    for attempt in 0..HIDDEN_MAX {
                        let Some(entry) = loads.entry(reader, at)? else { break };
                        if let Ok(found) = entry_rows(entry.as_entry(), within, architecture, context) {
                            let start = found.rows.first().map(|(first, _)| *first);
                            if attempt == 0 || start == Some(function.max(within.start)) {
                                take(reader, found)?;
                            }
                            break;
                        }
                        at = at.wrapping_add(entry.description_bytes());
                    }
                }
            }
            Self::Own { section, address, kind, functions } => {
                let packed = match kind {
                    SectionKind::DebugPacked => Some(unpacked(reader.file(), section)?.unwrap_or_default()),
                    SectionKind::Loaded | SectionKind::Debug => None,
                };
                let first = functions.partition_point(|function| function.start <= within.start);
                let functions = &functions[first.saturating_sub(1)..];
                let functions: Vec<_> =
                    functions.iter().take_while(|function| function.start < within.end).collect();
                for function in functions.into_iter().take(IN_PAGE_MAX) {
                    let offset = u64::from(function.offset);
                    let read = match (kind, &packed) {
                        (SectionKind::Loaded, _) => {
                            let Some(entry) = loads.entry(reader, address.wrapping_add(offset))? else {
                                continue;
                            };
                            entry_rows(entry.as_entry(), within, architecture, context)
                        }
                        (_, Some(bytes)) => {
                            let Ok(offset) = usize::try_from(offset) else { continue };
                            debug_rows(bytes, offset, within, architecture, context)
                        }
                        (_, None) => {
                            let Some((bytes, description)) = debug_entry(reader, section, offset)? else {
                                continue;
                            };
                            debug_rows(&bytes, description, within, architecture, context)
                        }
                    };
                    if let Ok(found) = read {
                        take(reader, found)?;
                    }
                }
            }
        }
        Ok(())
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

/// The bytes of a packed section, which are unpacked for each page again rather than kept.
fn unpacked(file: &File, section: &Range<u64>) -> io::Result<Option<Vec<u8>>> {
    unpack(file, section.start, section.end.saturating_sub(section.start), PACKED_BYTES_MAX)
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
