//! Stubs of the procedure linkage table, which no symbol names: each jumps to where a word leads that a relocation fills, and
//! the relocation names the function (x86-64 psABI, 5.2, and what linkers make of it).

use super::elf::{Bytes, Class, Section, Sections, each_row, u32_at, u64_at};
use super::limit::CpuLimit;
use super::symtab::{SHT_DYNSYM, SYMBOL_BYTES, text_at};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

/// The beginning of the names of sections of stubs: `.plt`, `.plt.sec`, `.plt.got`.
const PREFIX: &[u8] = b".plt";
const SHT_RELA: u32 = 4;
const RELOCATION_BYTES: usize = 24;
/// Stubs lie at multiples of this; those of some linkers (`-z retpolineplt`) are twice as long.
const STUB_BYTES: usize = 16;
/// Files have four at most.
const SECTIONS_MAX: usize = 16;

/// The sections that tell.
#[derive(Default)]
struct Found {
    stubs: Vec<(String, Section)>,
    relocations: Vec<Section>,
    symbols: Option<Section>,
}

/// Names stubs at addresses that are stated as in the file: as their function with `@plt`, or, where that is not to be had, as
/// their section; `None` for what is not a stub.
pub fn stub_names(
    file: &(impl Bytes + ?Sized),
    addresses: &[u64],
    limit: CpuLimit,
) -> io::Result<Vec<Option<String>>> {
    let mut names = vec![None; addresses.len()];
    let sections = Sections::of(file)?;
    let mut found = Found::default();
    sections.each_named(|name, section| {
        // Stubs of 32-bit files jump by another register, and their relocations are others.
        if section.class == Class::Bits32 {
            return;
        }
        if section.is_code && name.starts_with(PREFIX) && found.stubs.len() < SECTIONS_MAX {
            found.stubs.push((String::from_utf8_lossy(name).into_owned(), section));
        } else if section.kind == SHT_RELA
            && name.starts_with(b".rela.")
            && found.relocations.len() < SECTIONS_MAX
        {
            found.relocations.push(section);
        } else if section.kind == SHT_DYNSYM {
            found.symbols.get_or_insert(section);
        }
    })?;
    // {the word that a stub jumps by: the stub's number among the addresses}
    let mut words: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, address) in addresses.iter().enumerate() {
        let holds = |section: &Section| {
            address.checked_sub(section.address).is_some_and(|offset| offset < section.bytes)
        };
        let Some((name, section)) = found.stubs.iter().find(|(_, section)| holds(section)) else { continue };
        names[number] = Some(name.clone());
        if let Some(word) = word_of(file, section, *address)? {
            words.entry(word).or_default().push(number);
        }
    }
    let Some(symbols) = found.symbols.filter(|_| !words.is_empty()) else { return Ok(names) };
    let Some(strings) = sections.get(symbols.link.into())? else { return Ok(names) };
    for section in &found.relocations {
        each_row(file, section, RELOCATION_BYTES, limit, |relocation| {
            // r_offset, and r_info with the symbol in its upper half.
            let (place, symbol) = (u64_at(relocation, 0), u32_at(relocation, 12));
            let Some(numbers) = words.remove(&place) else { return Ok(ControlFlow::Continue(())) };
            let mut row = [0; SYMBOL_BYTES];
            let at = symbols.offset.saturating_add(u64::from(symbol) * SYMBOL_BYTES as u64);
            let is_there = symbol > 0 && file.some(&mut row, at)? == SYMBOL_BYTES;
            let name = if is_there { text_at(file, &strings, u32_at(&row, 0))? } else { None };
            if let Some(name) = name {
                numbers.into_iter().for_each(|number| names[number] = Some(format!("{name}@plt")));
            }
            Ok(if words.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(names)
}

/// Finds the address of the word by which the stub at an address jumps.
fn word_of(file: &(impl Bytes + ?Sized), section: &Section, address: u64) -> io::Result<Option<u64>> {
    let stub = STUB_BYTES as u64;
    let offset = (address - section.address) & !(stub - 1);
    // The second half of a long stub has none.
    for back in [0, stub] {
        let Some(offset) = offset.checked_sub(back) else { break };
        let mut code = [0; STUB_BYTES];
        let read = file.some(&mut code, section.offset.saturating_add(offset))?;
        let start = section.address.wrapping_add(offset);
        let word = (0..read).find_map(|at| {
            let length = match &code[at..read] {
                // jmp *word(%rip)
                [0xff, 0x25, _, _, _, _, ..] => 6,
                // mov word(%rip), %r11
                [0x4c, 0x8b, 0x1d, _, _, _, _, ..] => 7,
                _ => return None,
            };
            let next = at + length;
            let distance = i64::from(u32_at(&code, next - 4).cast_signed());
            // Stubs of eight bytes stand two in a place.
            let is_before = length == 6
                && start + next as u64 <= address
                && code.get(next..next + 2) == Some(&[0x66, 0x90]);
            (!is_before).then(|| start.wrapping_add(next as u64).wrapping_add_signed(distance))
        });
        if word.is_some() {
            return Ok(word);
        }
    }
    Ok(None)
}
