//! Programs whose call frame information is damaged and which run all the same: the kernel and the dynamic loader
//! do not look at it.

use crate::fuzz::Random;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PROGRAM_HEADER_BYTES: usize = 56;

fn half(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn place(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Returns the offsets of the program headers of a kind (ELF specification, Elf64_Ehdr and Elf64_Phdr).
fn headers(elf: &[u8], kind: u32) -> Vec<usize> {
    let (start, count) = (place(elf, 32), half(elf, 56));
    let all = (0..count).map(|index| start + index * PROGRAM_HEADER_BYTES);
    all.filter(|at| word(elf, *at) == kind).collect()
}

/// Returns the places of `.eh_frame_hdr` in the file, and of `.eh_frame`, which linkers put right after it.
fn frames(elf: &[u8]) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let header = headers(elf, PT_GNU_EH_FRAME)[0];
    let (start, length) = (place(elf, header + 8), place(elf, header + 32));
    // The pointer to .eh_frame is relative to itself.
    let frame = (start + 4) as i64 + i64::from(word(elf, start + 4).cast_signed());
    let frame = usize::try_from(frame).unwrap();
    let segment = headers(elf, PT_LOAD)
        .into_iter()
        .map(|at| place(elf, at + 8)..place(elf, at + 8) + place(elf, at + 32));
    let end = segment.into_iter().find(|range| range.contains(&frame)).unwrap().end;
    (start..start + length, frame..end)
}

/// Offsets of the records of `.eh_frame`, with whether each is a description (LSB 5.0, 10.6.1).
fn records(elf: &[u8], section: &std::ops::Range<usize>) -> Vec<(usize, bool)> {
    let mut found = Vec::new();
    let mut at = section.start;
    while at + 8 <= section.end && word(elf, at) != 0 {
        found.push((at, word(elf, at + 4) != 0));
        at += 4 + word(elf, at) as usize;
    }
    found
}

/// A program damaged in each way, by a name for it.
///
/// # Panics
///
/// If `elf` is not a 64-bit program as linkers make them.
pub fn all(elf: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (header, section) = frames(elf);
    let records = records(elf, &section);
    let damaged = |change: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut copy = elf.to_vec();
        change(&mut copy);
        copy
    };
    let put =
        |copy: &mut Vec<u8>, at: usize, value: u32| copy[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let mut random = Random::new(11);
    vec![
        // The second half of the section is not there.
        (
            "truncated",
            damaged(&mut |copy| {
                let middle = section.start + section.len() / 2;
                copy[middle..section.end].fill(0xff);
            }),
        ),
        // Every description refers to itself as what it has in common with others.
        (
            "cyclic",
            damaged(&mut |copy| {
                records
                    .iter()
                    .filter(|(_, description)| *description)
                    .for_each(|(at, _)| put(copy, at + 4, 4));
            }),
        ),
        // Instructions are noise; lengths are kept, so that each is looked at.
        (
            "absurd",
            damaged(&mut |copy| {
                for (at, description) in &records {
                    let end = at + 4 + word(elf, *at) as usize;
                    let start = if *description { at + 17 } else { at + 12 };
                    (start.min(end)..end).for_each(|at| copy[at] = random.below(256).to_le_bytes()[0]);
                }
            }),
        ),
        // Lengths are as large as they can be.
        (
            "endless",
            damaged(&mut |copy| {
                records.iter().for_each(|(at, _)| put(copy, *at, 0xffff_fff0));
            }),
        ),
        // The index has more entries than the file has bytes, and all lead to one function.
        (
            "index",
            damaged(&mut |copy| {
                put(copy, header.start + 8, u32::MAX);
                let first = copy[header.start + 12..header.start + 20].to_vec();
                for at in (header.start + 12..header.end - 7).step_by(8) {
                    copy[at..at + 8].copy_from_slice(&first);
                }
            }),
        ),
        // Two segments show the same code at the same place.
        (
            "overlapping",
            damaged(&mut |copy| {
                let code = headers(copy, PT_LOAD).into_iter().find(|at| word(copy, at + 4) & 1 != 0).unwrap();
                let segment = copy[code..code + PROGRAM_HEADER_BYTES].to_vec();
                let note = headers(copy, PT_NOTE)[0];
                copy[note..note + PROGRAM_HEADER_BYTES].copy_from_slice(&segment);
            }),
        ),
    ]
}
