//! Go's own table of functions, which every Go program carries, stripped or not: whose code an address belongs
//! to, how much stack it has taken at each instruction, and what it is called.
//!
//! Layout as Go 1.18 and later write it: `pcHeader`, `functab` and `step` in runtime/symtab.go, `_func` in
//! runtime/runtime2.go, the flags in internal/abi/symtab.go.

use super::pieces::Pieces;
use super::watched::{Headers, WatchedFile};
use object::LittleEndian as Little;
use object::elf::{FileHeader64, SHF_COMPRESSED, SHT_NOBITS};
use object::read::elf::{FileHeader, SectionHeader};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Of a function nothing is below on its stack: `goexit`, `mstart` and the like (`FuncFlagTopFrame`).
const TOP_FRAME: u8 = 1;
/// It moves to another stack (`FuncFlagSPWrite`).
const SP_WRITE: u8 = 2;
/// It was written in assembly (`FuncFlagAsm`).
const ASSEMBLY: u8 = 4;

const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
const HEADER_BYTES: usize = 72;
/// Of `_func`, up to its flags.
const FUNC_BYTES: usize = 44;
/// A function's table of stack sizes is longer only in damaged files.
const SIZES_BYTES_MAX: usize = 1 << 16;
const NAME_BYTES_MAX: usize = 4096;
/// Functions in one program; more only in damaged files.
const FUNCTIONS_MAX: u64 = 1 << 24;
/// Functions that are looked at of a range, which is a page or a function; more only in damaged files.
const IN_RANGE_MAX: usize = 1 << 14;

/// The table of one file. Addresses are as the file states them, offsets are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoFunctions {
    text: u64,
    count: u64,
    names: u64,
    sizes: u64,
    functions: u64,
    /// The offset of the flags in `_func`.
    flags_at: usize,
    /// Bytes of the shortest instruction.
    quantum: u64,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoFunction {
    /// The addresses of its code; they end at the start of the next function.
    pub(crate) code: Range<u64>,
    name: u32,
    sizes: u32,
    flags: u8,
}

impl GoFunction {
    /// Tells whether nothing is below it on its stack.
    pub(crate) fn is_root(&self) -> bool {
        self.flags & TOP_FRAME != 0
    }

    /// Tells whether it moves to another stack.
    pub(crate) fn switches_stacks(&self) -> bool {
        self.flags & SP_WRITE != 0
    }

    /// Tells whether it was written in assembly.
    pub(crate) fn is_assembly(&self) -> bool {
        self.flags & ASSEMBLY != 0
    }
}

impl GoFunctions {
    /// Looks for it by the file's section headers; `None` if there is none that is understood. An error if the file
    /// cannot be read.
    pub(crate) fn find(file: &File) -> io::Result<Option<Self>> {
        let watched = WatchedFile::new(file);
        let found = Self::find_in(&watched, file);
        watched.judge(found)
    }

    fn find_in(watched: &WatchedFile<'_>, file: &File) -> Option<Self> {
        let cache = Headers::of(watched);
        let header = FileHeader64::<Little>::parse(&cache).ok()?;
        let sections = header.sections(Little, &cache).ok()?;
        let section = |names: &[&[u8]]| {
            let (_, section) =
                names.iter().find_map(|name| sections.section_by_name(Little, name.as_ref()))?;
            let in_file =
                section.sh_type(Little) != SHT_NOBITS && !section.sh_flags(Little).contains(SHF_COMPRESSED);
            in_file.then(|| (section.sh_offset(Little), section.sh_addr(Little)))
        };
        let (start, _) = section(&[b".gopclntab", b".data.rel.ro.gopclntab"])?;
        let mut pieces = Pieces::of(file);
        let head = watched.note(pieces.get(start, HEADER_BYTES)).ok()?.to_vec();
        let word = |at: usize| le64(&head, at);
        // Magic, two zeros, the shortest instruction, the size of a pointer.
        let flags_at = match (le32(&head, 0)?, head.get(4..6)?, head.get(7)?) {
            (MAGIC_1_20, [0, 0], 8) => 41,
            (MAGIC_1_18, [0, 0], 8) => 37,
            _ => return None,
        };
        let quantum = u64::from(*head.get(6)?);
        let place = |at: usize| start.checked_add(word(at)?);
        let mut found = Self {
            text: word(24)?,
            count: word(8)?,
            names: place(32)?,
            sizes: place(56)?,
            functions: place(64)?,
            flags_at,
            quantum,
        };
        if found.count == 0 || found.count > FUNCTIONS_MAX || !matches!(quantum, 1 | 4) {
            return None;
        }
        if found.text == 0 {
            // From Go 1.26 on it stands in the module's data only: after pcHeader six slices, findfunctab, minpc, maxpc.
            let module = section(&[b".go.module", b".data.rel.ro.go.module"]);
            found.text = module
                .and_then(|(offset, _)| le64(watched.note(pieces.get(offset + 176, 8)).ok()?, 0))
                .unwrap_or(0);
        }
        if found.text == 0 {
            // Where the loader puts it there, or nobody. Without C code it is the section's start, and the program's
            // entry a function of Go.
            (_, found.text) = section(&[b".text"])?;
            let entry = header.e_entry(Little);
            let first = watched.note(found.within(&mut pieces, &(entry..entry.checked_add(1)?))).ok()?;
            first.first().filter(|function| function.code.start == entry)?;
        }
        Some(found)
    }

    /// The functions that have code in `range`, by address.
    pub(crate) fn within(&self, pieces: &mut Pieces<'_>, range: &Range<u64>) -> io::Result<Vec<GoFunction>> {
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.entry(pieces, middle)? {
                Some((start, _)) if start <= range.start => low = middle,
                _ => high = middle,
            }
        }
        // One table after the other, so that each is read in one go.
        let mut places = Vec::new();
        let mut next = self.entry(pieces, low)?;
        for index in low..self.count {
            let Some((start, function)) = next.filter(|(start, _)| *start < range.end) else { break };
            next = self.entry(pieces, index + 1)?;
            let Some((end, _)) = next else { break };
            if start < end && end > range.start && places.len() < IN_RANGE_MAX {
                places.push((start..end, function));
            }
        }
        let mut found = Vec::new();
        for (code, function) in places {
            let bytes = pieces.get(self.functions.saturating_add(function.into()), FUNC_BYTES)?;
            if let (Some(name), Some(sizes), Some(flags)) =
                (le32(bytes, 4), le32(bytes, 16), bytes.get(self.flags_at))
            {
                found.push(GoFunction { code, name, sizes, flags: *flags });
            }
        }
        Ok(found)
    }

    /// Returns how many bytes of stack a function has taken, above its return address on x86-64 and in all on arm64:
    /// from each of these addresses on. Empty where the table does not say.
    pub(crate) fn stack_sizes(
        &self,
        pieces: &mut Pieces<'_>,
        function: &GoFunction,
    ) -> io::Result<Vec<(u64, i32)>> {
        let mut found = Vec::new();
        if function.sizes == 0 {
            return Ok(found);
        }
        let length = usize::try_from((function.code.end - function.code.start).saturating_mul(2))
            .unwrap_or(SIZES_BYTES_MAX)
            .clamp(64, SIZES_BYTES_MAX);
        let mut bytes = pieces.get(self.sizes.saturating_add(function.sizes.into()), length)?;
        let (mut at, mut size) = (function.code.start, -1_i32);
        while at < function.code.end {
            let Some(step) = variable(&mut bytes) else { break };
            if step == 0 && !found.is_empty() {
                break;
            }
            // Zigzag: the lowest bit is the sign.
            let step = if step & 1 != 0 { !(step >> 1) } else { step >> 1 };
            size = size.wrapping_add(step.cast_signed());
            found.push((at, size));
            let Some(length) = variable(&mut bytes).filter(|length| *length > 0) else { break };
            at = at.saturating_add(u64::from(length) * self.quantum);
        }
        Ok(found)
    }

    /// Returns the name of the function at an address; `None` if there is none, or its name is damaged.
    pub(crate) fn name_at(&self, pieces: &mut Pieces<'_>, address: u64) -> io::Result<Option<String>> {
        let range = address..address.saturating_add(1);
        let Some(function) = self.within(pieces, &range)?.pop() else { return Ok(None) };
        let bytes = pieces.get(self.names.saturating_add(function.name.into()), NAME_BYTES_MAX)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let name = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
        Ok(name.filter(|name| !name.is_empty()).map(str::to_owned))
    }

    /// {address, place of its `_func`} of a function; past the last one, where code ends.
    fn entry(&self, pieces: &mut Pieces<'_>, index: u64) -> io::Result<Option<(u64, u32)>> {
        let bytes = pieces.get(self.functions.saturating_add(index * 8), 8)?;
        let function = le32(bytes, 4).unwrap_or(0);
        Ok(le32(bytes, 0).map(|start| (self.text.saturating_add(start.into()), function)))
    }
}

/// A number of seven bits a byte, the lowest first; the highest bit says that more follow.
fn variable(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length_end() {
        let read = |bytes: &[u8]| variable(&mut { bytes });
        assert_eq!(read(&[0x05]), Some(5));
        assert_eq!(read(&[0x80, 0x01]), Some(128));
        assert_eq!((read(&[]), read(&[0x80]), read(&[0xff; 9])), (None, None, None));
    }
}
