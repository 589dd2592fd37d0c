//! Where an executable keeps its call frame information, and how to read just that of a page.

use super::bare::{self, KnownCode};
use super::cfi::{Entry, FunctionRows, Row, debug_rows, entry_rows};
use super::go;
use super::instruction::is_padding;
use super::rule::{Architecture, Rule};
use super::scan;
use crate::process::{GoFunctions, Headers, Pieces, WatchedFile, fill};
use crate::symbolize::unpack;
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

/// Between functions that are aligned lie so many bytes at most, which are never run.
const PADDING_MAX: u64 = 15;

/// The call frame information of one executable.
#[derive(Debug)]
pub struct CallFrames {
    loads: Vec<Load>,
    index: Option<Index>,
    /// `.debug_frame`, which may know code that `index` does not.
    debug: Option<Index>,
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
    Own { section: Range<u64>, address: u64, kind: SectionKind, functions: Vec<Function> },
}

/// The section that an index of our own is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SectionKind {
    /// `.eh_frame`
    Loaded,
    /// `.debug_frame`
    Debug,
    /// `.debug_frame`, packed
    DebugPacked,
}

/// Where a function begins, and where its description lies in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    start: u64,
    offset: u32,
}

impl CallFrames {
    /// Looks for it, and for what else tells how code is left; `None` if nothing does. An error if the file cannot be read.
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
            let is_packed = section.sh_flags(Little).contains(object::elf::SHF_COMPRESSED);
            let range = start..start.saturating_add(section.sh_size(Little));
            (section.sh_type(Little) != object::elf::SHT_NOBITS)
                .then(|| (range, section.sh_addr(Little), is_packed))
        };
        let own = |name: &[u8]| {
            let (range, address, is_packed) = section(name)?;
            let kind = match (name, is_packed) {
                (b".debug_frame", false) => SectionKind::Debug,
                (b".debug_frame", true) => SectionKind::DebugPacked,
                (_, false) => SectionKind::Loaded,
                (_, true) => return None,
            };
            own_index(watched, file, range, address, kind)
        };
        let go = watched.note(GoFunctions::find(file)).ok()?;
        let index = from_header.or_else(|| own(b".eh_frame"));
        let debug = if go.is_none() { own(b".debug_frame") } else { None };
        let is_stated = index.is_some() || debug.is_some();
        if !is_stated && go.is_none() && architecture != Architecture::X86_64 {
            return None;
        }
        let dynamic = programs.iter().find_map(|program| program.dynamic(Little, &cache).ok().flatten());
        let dynamic = dynamic.unwrap_or_default();
        let value = |tag| {
            dynamic.iter().find(|entry| entry.d_tag(Little) == tag).map_or(0, |entry| entry.d_val(Little))
        };
        let known = KnownCode { entry: header.e_entry(Little), init: [DT_INIT, DT_FINI].map(value) };
        Some(Self { loads, index, debug, go, architecture, known })
    }

    /// Whether all of it is Go's code: who calls there has a frame pointer.
    pub fn is_go(&self) -> bool {
        self.go.is_some() && self.index.is_none()
    }

    /// The rows of a page of file addresses, by address; the first one is at its first byte.
    pub fn rows_of_page(&self, file: &File, page: u64) -> io::Result<Vec<Row>> {
        let within = page << PAGE_BITS..(page + 1) << PAGE_BITS;
        let (mut reader, mut context) = (Pieces::of(file), UnwindContext::new());
        let mut rows = vec![(within.start, Rule::NONE)];
        // The first says what is so while exceptions are thrown, the other what is for debuggers only.
        for index in self.index.iter().chain(&self.debug) {
            let found = self.rows_by(index, &mut reader, &mut context, &within)?;
            rows = each_gap(rows, within.end, |gap| Ok(part_of(&found, gap)))?;
        }
        self.fill_gaps(&mut reader, rows, within.end)
    }

    /// The rows of a page by an index; what lies between two functions has no rule.
    fn rows_by(
        &self,
        index: &Index,
        reader: &mut Pieces<'_>,
        context: &mut UnwindContext<usize>,
        within: &Range<u64>,
    ) -> io::Result<Vec<Row>> {
        let mut placed = Placed { rows: Vec::new(), upto: within.start };
        self.each_function(index, reader, context, within, |reader, found| {
            placed.place(self.judged(reader, found, within)?);
            Ok(())
        })?;
        if placed.upto < within.end {
            placed.rows.push((placed.upto, Rule::NONE));
        }
        Ok(placed.rows)
    }

    /// Finds all addresses of the function at an address, by what says how it is left.
    pub fn function_at(&self, file: &File, address: u64) -> io::Result<Option<Range<u64>>> {
        let (mut reader, mut context) = (Pieces::of(file), UnwindContext::new());
        let within = address..address.saturating_add(1);
        let mut function = None;
        for index in self.index.iter().chain(&self.debug) {
            self.each_function(index, &mut reader, &mut context, &within, |_, found| {
                if found.function.contains(&address) {
                    function = Some(found.function);
                }
                Ok(())
            })?;
            if function.is_some() {
                return Ok(function);
            }
        }
        let Some(functions) = &self.go else { return Ok(None) };
        let found = functions.within(&mut reader, &within)?;
        Ok(found.into_iter().map(|function| function.code).find(|code| code.contains(&address)))
    }

    /// Hands each function of an index to `take` that may have code in a range, by address.
    fn each_function(
        &self,
        index: &Index,
        reader: &mut Pieces<'_>,
        context: &mut UnwindContext<usize>,
        within: &Range<u64>,
        mut take: impl FnMut(&mut Pieces<'_>, FunctionRows) -> io::Result<()>,
    ) -> io::Result<()> {
        match index {
            Index::Header { address, table_offset, count } => {
                let table = Table { address: *address, offset: *table_offset, count: *count };
                for (function, at) in table.functions(reader, within)? {
                    let mut at = at;
                    // Of several functions at one address lld puts the first into the table: those of no length hide
                    // the other, which stands after them.
                    for attempt in 0..HIDDEN_MAX {
                        let Some(entry) = self.entry(reader, at)? else { break };
                        if let Ok(found) = entry_rows(entry.as_entry(), within, self.architecture, context) {
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
            Index::Own { section, address, kind, functions } => {
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
                            let Some(entry) = self.entry(reader, address.wrapping_add(offset))? else {
                                continue;
                            };
                            entry_rows(entry.as_entry(), within, self.architecture, context)
                        }
                        (_, Some(bytes)) => {
                            let Ok(offset) = usize::try_from(offset) else { continue };
                            debug_rows(bytes, offset, within, self.architecture, context)
                        }
                        (_, None) => {
                            let Some((bytes, description)) = debug_entry(reader, section, offset)? else {
                                continue;
                            };
                            debug_rows(&bytes, description, within, self.architecture, context)
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

    /// Corrects what is said of a function by what it is: of the program's entry, and of one that is marked as a signal's frame.
    /// That is one if it makes the system call that ends one; others have the mark, too, whose callers' addresses may be
    /// anywhere.
    fn judged(
        &self,
        reader: &mut Pieces<'_>,
        found: FunctionRows,
        within: &Range<u64>,
    ) -> io::Result<FunctionRows> {
        // The kernel jumps there, whatever is said of who called: it is written in C sometimes.
        if found.function.start == self.known.entry {
            let rows = found.rows.first().map(|(first, _)| (*first, Rule::END)).into_iter().collect();
            return Ok(FunctionRows { rows, ..found });
        }
        if !found.is_signal_frame {
            return Ok(found);
        }
        let code = self.code(reader, found.function.start, bare::SIGRETURN_BYTES + 1)?;
        // glibc's describes a byte before it, too, by which a return address there is looked for.
        let known =
            [0, 1].into_iter().find_map(|at| Some((at as u64, bare::sigreturn_bytes(code.get(at..)?)?)));
        Ok(match known {
            Some((at, length)) => {
                let first = found.function.start + at;
                let start = first.saturating_sub(1).max(within.start);
                // The task stands after the system call.
                let end = (first + length as u64 + 1).min(within.end);
                let rows = if start < end { vec![(start, Rule::SIGNAL)] } else { Vec::new() };
                FunctionRows { rows, end, ..found }
            }
            None => found,
        })
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
        let rows = each_gap(rows, end, |gap| {
            let length = usize::try_from(gap.end - gap.start).unwrap_or(0);
            let code = self.code(pieces, gap.start, length)?;
            Ok(bare::rows(gap, &code, &self.known, self.architecture))
        })?;
        if self.architecture != Architecture::X86_64 {
            return Ok(rows);
        }
        // A file that says nothing of its frames may link them across stacks, as runtimes do that switch them.
        let rest = if self.index.is_some() || self.debug.is_some() { Rule::NONE } else { Rule::BARE };
        each_gap(rows, end, |gap| {
            let mut found = vec![(gap.start, rest)];
            if gap.end - gap.start <= PADDING_MAX {
                let length = usize::try_from(gap.end - gap.start).unwrap_or(0);
                // It is never run, so only who returns to what stands behind it is looked for there.
                if is_padding(&self.code(pieces, gap.start, length)?) {
                    return Ok(vec![(gap.start, Rule::ENTRY)]);
                }
            }
            let rules = scan::rules(gap, |address, length| self.code(pieces, address, length))?;
            found.extend(rules.into_iter().map(|(at, rule)| (at, rule.unwrap_or(rest))));
            found.dedup_by_key(|row| row.1);
            // Of two for the first address the second is that of an instruction.
            if let [first, second, ..] = found.as_slice()
                && first.0 == second.0
            {
                found.remove(0);
            }
            Ok(found)
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

/// Rows that are put side by side, by the addresses of their functions.
struct Placed {
    rows: Vec<Row>,
    /// The end of the last function.
    upto: u64,
}

impl Placed {
    /// Puts a function's rows behind, or over, what is there.
    fn place(&mut self, found: FunctionRows) {
        let Some((first, rule)) = found.rows.first().copied() else { return };
        if first > self.upto {
            self.rows.push((self.upto, Rule::NONE));
            // Nobody calls what has no caller: a return address there is looked for by the byte before.
            if rule == Rule::END && first == found.function.start {
                self.rows.retain(|(start, _)| *start < first - 1);
                self.rows.push((first - 1, Rule::ENTRY));
            }
        }
        self.rows.retain(|(start, _)| *start < first);
        self.rows.extend(found.rows);
        self.upto = found.end;
    }
}

/// The rows of a gap out of those of a page.
fn part_of(rows: &[Row], gap: &Range<u64>) -> Vec<Row> {
    let before =
        rows.iter().rev().find(|(start, _)| *start <= gap.start).map_or(Rule::NONE, |(_, rule)| *rule);
    let inside = rows.iter().filter(|(start, _)| gap.start < *start && *start < gap.end);
    std::iter::once((gap.start, before)).chain(inside.copied()).collect()
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
    kind: SectionKind,
) -> Option<Index> {
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
    (!functions.is_empty()).then_some(Index::Own { section: range, address, kind, functions })
}

/// The bytes of a packed section, which are unpacked for each page anew rather than kept.
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

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_ebpf::tables::rule_kind;

    /// Compares what the code of a file says of its frames with what call frame information says: instructions with an equal
    /// frame, with another one, without any; and the first of the second kind.
    fn compare(path: &str) -> (usize, usize, usize, Vec<String>) {
        let file = File::open(path).unwrap();
        let frames = CallFrames::find(&file).unwrap().unwrap();
        let (mut equal, mut other, mut none, mut shown) = (0, 0, 0, Vec::new());
        let mut pieces = Pieces::of(&file);
        for load in &frames.loads {
            for page in load.address >> PAGE_BITS..(load.address + load.bytes) >> PAGE_BITS {
                let within = page << PAGE_BITS..(page + 1) << PAGE_BITS;
                let rows = frames.rows_of_page(&file, page).unwrap();
                let is_stated = |rule: Rule| matches!(rule.kind, rule_kind::SP | rule_kind::FP);
                if !rows.iter().any(|(_, rule)| is_stated(*rule)) {
                    continue;
                }
                let rules = scan::rules(&within, |address, length| frames.code(&mut pieces, address, length))
                    .unwrap();
                for pair in rules.windows(2) {
                    let [(at, rule), (next, _)] = pair else { continue };
                    let (_, stated) = rows.iter().rev().find(|(start, _)| start <= at).unwrap();
                    let code = frames.code(&mut pieces, *at, usize::try_from(next - at).unwrap()).unwrap();
                    if !is_stated(*stated) || is_padding(&code) {
                        continue;
                    }
                    match rule {
                        None => none += 1,
                        // Two bases may say the same.
                        Some(rule) if rule.kind != stated.kind || rule.cfa == stated.cfa => equal += 1,
                        Some(rule) => {
                            other += 1;
                            shown.push(format!("{at:#x}: {rule:?}, stated {stated:?}"));
                        }
                    }
                }
            }
        }
        shown.truncate(50);
        (equal, other, none, shown)
    }

    #[test]
    fn code_says_of_its_frames_what_call_frame_information_says() {
        if Architecture::OURS != Architecture::X86_64 {
            return;
        }
        let maps = crate::process::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let libc = maps.into_iter().find(|map| map.path.contains("/libc.so")).unwrap();
        let (equal, other, none, shown) = compare(&libc.path);
        let all = equal + other + none;
        assert!(all > 100_000, "{} has {all} instructions", libc.path);
        assert!(other * 200 <= all && none * 20 <= all, "{equal}, {other}, {none}: {shown:#?}");
    }
}
