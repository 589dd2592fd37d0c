//! Functions by ELF symbol tables. A table is read through once for all addresses that are asked for, and
//! only the names of those are read, so that memory depends on the addresses and not on the file.

use super::demangle::{NAME_BYTES_MAX, shortened};
use super::elf::{Bytes, Class, Section, Sections, each_row, u16_at, u32_at, u64_at};
use super::limit::CpuLimit;
use super::texts::Texts;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_DYNSYM: u32 = 11;
pub(super) const SYMBOL_BYTES: usize = 24;
/// Bytes of a symbol of a 32-bit file.
const SYMBOL_BYTES_32: usize = 16;
/// Functions that may cover an address, a symbol and address: damaged files may have any number that overlap, of which
/// the first ones count.
const COVERINGS_MAX: usize = 1 << 24;
/// Sections of code; programs have a handful.
const CODE_RANGES_MAX: usize = 1 << 12;

/// The sections of code, by address; what is data has no functions, whatever its symbols are called.
#[derive(Debug, Default)]
struct CodeRanges(Vec<Range<u64>>);

impl CodeRanges {
    fn add(&mut self, section: &Section) {
        // Files of debug information have the headers of code, and not the code.
        if section.is_code && self.0.len() < CODE_RANGES_MAX {
            self.0.push(section.address..section.address.saturating_add(section.bytes));
        }
    }

    /// Returns the end of the section that holds an address.
    fn end_of(&self, address: u64) -> Option<u64> {
        let first = self.0.partition_point(|range| range.end <= address);
        self.0.get(first).filter(|range| range.contains(&address)).map(|range| range.end)
    }
}

/// A symbol that may be the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    start: u64,
    /// The end of its section.
    limit: u64,
    bytes: u64,
    name: u32,
    global: bool,
}

impl Candidate {
    /// Tells whether it says more of an address that both cover: it begins later, or has the name that others use.
    fn is_better_than(self, other: Option<Self>) -> bool {
        other.is_none_or(|other| (self.start, self.global) > (other.start, other.global))
    }
}

/// Names (as mangled as in the file) of the functions at `addresses`, which are sorted and stated as in the file, as far
/// as `texts` has room. `start_of` says where the function at an address begins, as far as others than symbols know: a label
/// without a size does not reach beyond that. An error says that the file cannot be read, or not in time.
pub fn function_names(
    file: &(impl Bytes + ?Sized),
    addresses: &[u64],
    mut start_of: impl FnMut(u64) -> io::Result<Option<u64>>,
    texts: &Texts,
    limit: CpuLimit,
) -> io::Result<Vec<Option<Arc<str>>>> {
    let mut names = vec![None; addresses.len()];
    let sections = Sections::of(file)?;
    let mut tables = [None, None];
    let mut code = CodeRanges::default();
    sections.each(|section| {
        code.add(&section);
        for (kind, table) in [SHT_SYMTAB, SHT_DYNSYM].into_iter().zip(&mut tables) {
            if section.kind == kind {
                table.get_or_insert(section);
            }
        }
        ControlFlow::Continue(())
    })?;
    code.0.sort_unstable_by_key(|range| range.start);
    for table in tables.into_iter().flatten() {
        let Some(strings) = sections.get(table.link.into())? else { continue };
        let found = look_up(file, &table, &code, addresses, limit)?;
        let mut read = HashMap::new();
        for ((name, found), address) in names.iter_mut().zip(found).zip(addresses) {
            let (None, Some(found)) = (&name, found) else { continue };
            if found.bytes == 0
                && found.start < *address
                && start_of(*address)?.is_some_and(|start| start > found.start)
            {
                continue;
            }
            let text = match read.entry(found.name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let text = text_at(file, &strings, found.name)?;
                    unknown.insert(text.and_then(|text| texts.one(&shortened(&text))))
                }
            };
            name.clone_from(text);
        }
        if names.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(names)
}

/// For each address the symbol of a table that it belongs to.
fn look_up(
    file: &(impl Bytes + ?Sized),
    table: &Section,
    code: &CodeRanges,
    addresses: &[u64],
    limit: CpuLimit,
) -> io::Result<Vec<Option<Candidate>>> {
    // Whoever covers the address; and, at the first address that is not before it, whoever begins last.
    let mut covering: Vec<Option<Candidate>> = vec![None; addresses.len()];
    let mut nearest = covering.clone();
    let mut coverings = 0;
    let row_bytes = if table.class == Class::Bits64 { SYMBOL_BYTES } else { SYMBOL_BYTES_32 };
    each_row(file, table, row_bytes, limit, |symbol| {
        let Some(found) = function(symbol, table.class, code) else { return Ok(ControlFlow::Continue(())) };
        let first = addresses.partition_point(|address| *address < found.start);
        if let Some(slot) = nearest.get_mut(first)
            && found.is_better_than(*slot)
        {
            *slot = Some(found);
        }
        let ends = found.start.saturating_add(found.bytes);
        for (slot, _) in
            covering[first..].iter_mut().zip(&addresses[first..]).take_while(|(_, at)| **at < ends)
        {
            coverings += 1;
            if found.is_better_than(*slot) {
                *slot = Some(found);
            }
        }
        Ok(if coverings > COVERINGS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let mut last = None;
    let sizeless = nearest.into_iter().zip(addresses).map(|(nearest, address)| {
        if let Some(nearest) = nearest
            && nearest.is_better_than(last)
        {
            last = Some(nearest);
        }
        // Labels of assembly have no size and reach to the next symbol; among the few that a program shows to
        // others the next one may be far away.
        last.filter(|last| {
            let reaches = last.bytes == 0 && *address < last.limit;
            reaches && (table.kind == SHT_SYMTAB || last.start == *address)
        })
    });
    Ok(covering.into_iter().zip(sizeless).map(|(covering, sizeless)| covering.or(sizeless)).collect())
}

/// The function that a symbol stands for, if it stands for one.
fn function(symbol: &[u8], class: Class, code: &CodeRanges) -> Option<Candidate> {
    const STT_NOTYPE: u8 = 0;
    const STT_FUNC: u8 = 2;
    const STT_GNU_IFUNC: u8 = 10;
    // st_info, st_shndx, st_value, st_size.
    let (info, section, start, bytes) = match class {
        Class::Bits64 => (symbol.get(4)?, u16_at(symbol, 6), u64_at(symbol, 8), u64_at(symbol, 16)),
        Class::Bits32 => {
            (symbol.get(12)?, u16_at(symbol, 14), u32_at(symbol, 4).into(), u32_at(symbol, 8).into())
        }
    };
    let global = info >> 4 == 1;
    let function = match info & 15 {
        STT_FUNC | STT_GNU_IFUNC => true,
        // Local ones tell code from data on arm64 ($x, $d).
        STT_NOTYPE => global || bytes > 0,
        _ => false,
    };
    const SHN_ABS: u16 = 0xfff1;
    if !function || section == 0 || section == SHN_ABS || start == 0 {
        return None;
    }
    Some(Candidate { start, limit: code.end_of(start)?, bytes, name: u32_at(symbol, 0), global })
}

/// The text that begins at an offset of a table of strings, up to a limit; `None` if it is empty or not there.
pub(super) fn text_at<F: Bytes + ?Sized>(
    file: &F,
    strings: &Section,
    offset: u32,
) -> io::Result<Option<String>> {
    let Some(left) = strings.bytes.checked_sub(offset.into()) else { return Ok(None) };
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let mut size = 256;
    loop {
        let mut text = vec![0; size.min(left)];
        let read = file.some(&mut text, strings.offset.saturating_add(offset.into()))?;
        let end = text[..read].iter().position(|byte| *byte == 0);
        if end.is_some() || read < size || size > NAME_BYTES_MAX {
            text.truncate(end.unwrap_or(read));
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty()));
        }
        size *= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    /// Symbols {name, type and binding, address, bytes} as a file of their own.
    fn file(symbols: &[(&str, u8, u64, u64)], kind: u32) -> Vec<u8> {
        let mut strings = vec![0];
        let mut table = vec![0; SYMBOL_BYTES];
        for (name, info, start, bytes) in symbols {
            table.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
            table.extend([*info, 0, 1, 0]);
            table.extend(start.to_le_bytes());
            table.extend(bytes.to_le_bytes());
            strings.extend(name.bytes().chain([0]));
        }
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&4u16.to_le_bytes());
        let mut at = 64 * 5;
        // The first is all code from 0 on, which the file does not have.
        for (kind, bytes, link) in
            [(0, 0, 0), (1, usize::MAX, 0), (kind, table.len(), 3), (3, strings.len(), 0)]
        {
            let mut section = vec![0; 64];
            section[4..8].copy_from_slice(&kind.to_le_bytes());
            section[8..16].copy_from_slice(&(if kind == 1 { 6u64 } else { 0 }).to_le_bytes());
            section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(bytes as u64).to_le_bytes());
            section[40..44].copy_from_slice(&u32::to_le_bytes(link));
            at += if kind == 1 { 0 } else { bytes };
            file.extend(section);
        }
        [file, table, strings].concat()
    }

    const LOCAL: u8 = 2;
    const GLOBAL: u8 = 0x12;
    const LABEL: u8 = 0x10;
    const MARK: u8 = 0;

    fn names(file: &[u8], addresses: &[u64]) -> Vec<Option<Arc<str>>> {
        function_names(file, addresses, |_| Ok(None), &Texts::within(1 << 20), later()).unwrap()
    }

    fn later() -> CpuLimit {
        CpuLimit::after(Duration::from_secs(600))
    }

    fn some(name: &str) -> Option<Arc<str>> {
        Some(name.into())
    }

    #[test]
    fn finds_whoever_covers_an_address() {
        let file = file(
            &[("outer", LOCAL, 100, 100), ("inner", LOCAL, 150, 10), ("far", GLOBAL, 900, 1)],
            SHT_SYMTAB,
        );
        let found = names(&file, &[99, 100, 150, 159, 160, 199, 200, 900]);
        let outer = some("outer");
        let inner = some("inner");
        assert_eq!(
            found,
            [None, outer.clone(), inner.clone(), inner, outer.clone(), outer, None, some("far")]
        );
    }

    #[test]
    fn of_two_names_the_global_one_is_taken() {
        for (first, second) in [(LOCAL, GLOBAL), (GLOBAL, LOCAL)] {
            let file = file(&[("a", first, 100, 9), ("b", second, 100, 9)], SHT_SYMTAB);
            assert_eq!(names(&file, &[101]), [some(if first == GLOBAL { "a" } else { "b" })]);
        }
    }

    #[test]
    fn a_label_reaches_to_the_next_symbol_and_a_mark_is_none() {
        let symbols = [("label", LABEL, 100, 0), ("$x", MARK, 110, 0), ("next", LOCAL, 200, 10)];
        let addresses = [100, 120, 205, 220];
        assert_eq!(
            names(&file(&symbols, SHT_SYMTAB), &addresses),
            [some("label"), some("label"), some("next"), None]
        );
        assert_eq!(names(&file(&symbols, SHT_DYNSYM), &addresses), [some("label"), None, some("next"), None]);
    }

    #[test]
    fn of_functions_that_overlap_without_end_the_first_ones_count() {
        let symbols = vec![("x", LOCAL, 1, u64::MAX); 5000];
        let addresses: Vec<u64> = (1..5000).collect();
        let found = names(&file(&symbols, SHT_SYMTAB), &addresses);
        assert!(found.iter().all(|name| *name == some("x")));
    }

    #[test]
    fn finds_tables_among_any_number_of_sections() {
        for count in [4_u64, 5000, 0xfeff, 0xff00, 70_000] {
            let mut bytes = file(&[("far", LOCAL, 100, 9)], SHT_SYMTAB);
            let old_table: Vec<u8> = bytes[64..64 * 5].to_vec();
            let table = bytes.len();
            let empty = vec![0; 64 * (usize::try_from(count).unwrap() - 4)];
            // The symbols' section is the last but one, that of their names the last.
            bytes.extend([&old_table[..64], &empty, &old_table[64..]].concat());
            let symbols = table + 64 * (usize::try_from(count).unwrap() - 2);
            bytes[symbols + 40..symbols + 44]
                .copy_from_slice(&u32::try_from(count - 1).unwrap().to_le_bytes());
            bytes[40..48].copy_from_slice(&(table as u64).to_le_bytes());
            // From 0xff00 on the number stands in the first header.
            let short = if count < 0xff00 { u16::try_from(count).unwrap() } else { 0 };
            bytes[60..62].copy_from_slice(&short.to_le_bytes());
            if short == 0 {
                bytes[table + 32..table + 40].copy_from_slice(&count.to_le_bytes());
            }
            assert_eq!(names(&bytes, &[101]), [some("far")], "{count}");
        }
    }

    #[test]
    fn a_name_without_an_end_is_cut() {
        let long = "x".repeat(100_000);
        let found = names(&file(&[(&long, LOCAL, 100, 9)], SHT_SYMTAB), &[101]);
        let name = found[0].as_ref().unwrap();
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with('…'), "{}", name.len());
    }

    #[test]
    fn finds_a_function_of_this_program_and_nothing_at_its_start() {
        let own = File::open("/proc/self/exe").unwrap();
        let segments = crate::process::segments(&object::read::ReadCache::new(&own)).unwrap();
        let maps = crate::process::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let here = text_at::<File> as *const () as u64;
        let map = maps.iter().find(|map| (map.start..map.end).contains(&here)).unwrap();
        let offset = here - map.start + map.file_offset;
        let address =
            crate::process::segment_of(&segments, &map.file_range(), offset).unwrap().address_of(offset);
        let found =
            function_names(&own, &[1, address], |_| Ok(None), &Texts::within(1 << 20), later()).unwrap();
        assert!(
            found[0].is_none() && found[1].as_ref().is_some_and(|name| name.contains("text_at")),
            "{found:?}"
        );
    }
}
