//! Rules for known code that call frame information leaves out, in files that otherwise have some: the
//! program's entry, and pieces that the C runtime puts into every program (x86-64).
//!
//! They matter because they are the first code that runs, when each page is still being fetched: where many
//! short programs run, they are sampled often.

use super::cfi::Row;
use super::rule::{Architecture, Rule};
use stacksonde_ebpf::tables::{NOT_SAVED, rule_kind};
use std::ops::Range;

/// Known addresses of a file, as it states them; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownCode {
    /// The program's entry, to which the kernel jumps (`e_entry`).
    pub(super) entry: u64,
    /// The functions that run at the start and the end (DT_INIT, DT_FINI).
    pub(super) init: [u64; 2],
}

/// From the entry on, as far as code goes that belongs to it and not to another function.
const ENTRY_BYTES: u64 = 96;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `sub $8, %rsp`
const SUB_8: [u8; 4] = [0x48, 0x83, 0xec, 8];
/// `add $8, %rsp; ret`
const ADD_8_RET: [u8; 5] = [0x48, 0x83, 0xc4, 8, 0xc3];
/// Within so many bytes of its start `_init` ends (glibc's sysdeps/x86_64/crti.S and crtn.S).
const INIT_BYTES: usize = 48;

/// The code to which a signal's handler returns: `mov $15, %rax; syscall`, the number as a signed word, as Go's assembler writes it,
/// and as musl does (arch/x86_64/syscall_arch.h has none shorter); arm64: `mov $139, x8; svc #0`.
const SIGRETURNS: [&[u8]; 3] = [
    &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05],
    &[0xb8, 15, 0, 0, 0, 0x0f, 0x05],
    &[0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4],
];
/// Bytes of the longest of them.
pub(super) const SIGRETURN_BYTES: usize = 9;

/// Returns the length of the system call `rt_sigreturn` that code begins with; a thread that is in it stands after it.
pub(super) fn sigreturn_bytes(code: &[u8]) -> Option<usize> {
    SIGRETURNS.iter().find(|pattern| code.starts_with(pattern)).map(|pattern| pattern.len())
}

/// Finds the rows of what signals' handlers return to. Nobody calls it: a return address there is its first byte, which
/// is looked for by the byte before.
fn sigreturn_rows(start: u64, code: &[u8]) -> Vec<(Range<u64>, Rule)> {
    let at = |at: usize| Some((at, sigreturn_bytes(code.get(at..)?)?));
    let found = (0..code.len()).filter_map(at);
    found
        .map(|(at, length)| {
            let first = start + at as u64;
            (first.saturating_sub(1)..first + length as u64 + 1, Rule::SIGNAL)
        })
        .collect()
}

/// Rows for `gap`, a range of code without call frame information; `code` are its bytes, as far as the file
/// has them.
pub(super) fn rows(gap: &Range<u64>, code: &[u8], known: &KnownCode, architecture: Architecture) -> Vec<Row> {
    let mut pieces = sigreturn_rows(gap.start, code);
    if architecture == Architecture::X86_64 {
        // Nothing was pushed yet where a function begins.
        for (at, _) in code.windows(4).enumerate().filter(|(_, bytes)| *bytes == ENDBR64) {
            let start = gap.start + at as u64;
            pieces.push((start..start + 4, pushed(1)));
        }
        pieces.extend(stub_rows(gap.start, code));
        if let Some(length) = clone_bytes(code) {
            pieces.push((gap.start..gap.start + length as u64, pushed(1)));
        }
        for init in known.init.into_iter().filter(|init| gap.contains(init)) {
            let bytes = usize::try_from(init - gap.start).ok().and_then(|at| code.get(at..)).unwrap_or(&[]);
            pieces.extend(init_rows(init, &bytes[..bytes.len().min(INIT_BYTES)]));
        }
    }
    // The kernel calls nobody's callee (x86-64 psABI 3.4.1: there is no caller, and the frame pointer is unspecified).
    if known.entry != 0 {
        pieces.push((known.entry..known.entry.saturating_add(ENTRY_BYTES), Rule::END));
    }
    pieces.sort_by_key(|(range, _)| range.start);
    let mut found = Vec::new();
    let mut upto = gap.start;
    for (range, rule) in pieces {
        let range = range.start.max(upto)..range.end.min(gap.end);
        if range.is_empty() {
            continue;
        }
        if range.start > upto {
            found.push((upto, Rule::NONE));
        }
        found.push((range.start, rule));
        upto = range.end;
    }
    if upto < gap.end {
        found.push((upto, Rule::NONE));
    }
    found
}

/// The return address and `words - 1` others were pushed.
const fn pushed(words: i32) -> Rule {
    Rule { kind: rule_kind::SP, cfa: words, fp: NOT_SAVED, other: NOT_SAVED }
}

/// Stubs of the procedure linkage table (x86-64 psABI, 5.2), for which lld, other than GNU's linkers, writes no call
/// frame information: `jmp; push index; jmp`, or a jump and padding; and before them `push; jmp`.
fn stub_rows(start: u64, code: &[u8]) -> Vec<(Range<u64>, Rule)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| rest.len() >= 8) {
        let here = start + at as u64;
        let length = match rest {
            [0xff, 0x25, _, _, _, _, 0x68, _, _, _, _, 0xe9, ..] => {
                found.extend([(here..here + 11, pushed(1)), (here + 11..here + 16, pushed(2))]);
                16
            }
            // Padding: `xchg %ax, %ax`, or a long `nop`.
            [0xff, 0x25, _, _, _, _, 0x66, 0x90 | 0x0f, ..] => {
                found.push((here..here + 6, pushed(1)));
                8
            }
            [0xff, 0x35, _, _, _, _, 0xff, 0x25, ..] => {
                found.extend([(here..here + 6, pushed(2)), (here + 6..here + 12, pushed(3))]);
                12
            }
            _ => 1,
        };
        at += length;
    }
    found
}

/// `_init` and `_fini` make room for a word, call what is to be called, and return.
fn init_rows(init: u64, code: &[u8]) -> Vec<(Range<u64>, Rule)> {
    let skipped = if code.starts_with(&ENDBR64) { 4 } else { 0 };
    let end = code.windows(ADD_8_RET.len()).position(|bytes| bytes == ADD_8_RET);
    match end.filter(|end| code[skipped..].starts_with(&SUB_8) && *end >= skipped + 4) {
        Some(end) => {
            let (room, free) = (init + skipped as u64 + 4, init + end as u64 + 4);
            vec![(init..room, pushed(1)), (room..free, pushed(2)), (free..free + 1, pushed(1))]
        }
        None => Vec::new(),
    }
}

/// glibc's clone and clone3 end their call frame information just before the system call, for the sake of the
/// child. Its parent stands there, with nothing pushed, up to the return (sysdeps/unix/sysv/linux/x86_64/clone.S):
/// `syscall; test %rax, %rax; jl; jz; ret`.
fn clone_bytes(code: &[u8]) -> Option<usize> {
    match code {
        [0x0f, 0x05, 0x48, 0x85, 0xc0, 0x7c, _, 0x74, _, 0xc3, ..] => Some(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_of_the_procedure_linkage_table_have_pushed_little() {
        // As lld writes them: push and jump, a stub, and one without an index.
        let mut code = vec![0xff, 0x35, 1, 2, 3, 4, 0xff, 0x25, 5, 6, 7, 8, 0x0f, 0x1f, 0x40, 0];
        code.extend([0xff, 0x25, 1, 2, 3, 4, 0x68, 0, 0, 0, 0, 0xe9, 1, 2, 3, 4]);
        code.extend([0xff, 0x25, 1, 2, 3, 4, 0x66, 0x90]);
        let gap = 0x1000..0x1000 + code.len() as u64;
        let found = rows(&gap, &code, &KnownCode::default(), Architecture::X86_64);
        let expected = [
            (0x1000, pushed(2)),
            (0x1006, pushed(3)),
            (0x100c, Rule::NONE),
            (0x1010, pushed(1)),
            (0x101b, pushed(2)),
            (0x1020, pushed(1)),
            (0x1026, Rule::NONE),
        ];
        assert_eq!(found, expected);
        let found = rows(&gap, &code, &KnownCode::default(), Architecture::Aarch64);
        assert_eq!(found, [(0x1000, Rule::NONE)]);
    }

    #[test]
    fn an_entry_has_no_caller() {
        let known = KnownCode { entry: 0x1010, init: [0; 2] };
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let found = rows(&(0x1000..0x1040), &[], &known, architecture);
            assert_eq!(found, [(0x1000, Rule::NONE), (0x1010, Rule::END)], "up to the next function");
        }
        let found = rows(&(0x1000..0x2000), &[], &known, Architecture::X86_64);
        assert_eq!(found, [(0x1000, Rule::NONE), (0x1010, Rule::END), (0x1070, Rule::NONE)]);
        assert_eq!(rows(&(0x1020..0x1030), &[], &known, Architecture::X86_64), [(0x1020, Rule::END)]);
    }

    #[test]
    fn a_parent_returns_from_clone() {
        let code = [0x0f, 0x05, 0x48, 0x85, 0xc0, 0x7c, 0x13, 0x74, 0x01, 0xc3, 0x90];
        let found = rows(&(0x1000..0x100b), &code, &KnownCode::default(), Architecture::X86_64);
        assert_eq!(found, [(0x1000, pushed(1)), (0x100a, Rule::NONE)]);
    }

    #[test]
    fn init_and_the_first_instruction_of_functions_are_known() {
        let mut code = vec![0x90; 0x60];
        let init = [&SUB_8[..], &[0x48, 0x85, 0xc0, 0x74, 2, 0xff, 0xd0], &ADD_8_RET].concat();
        code[0x10..0x10 + init.len()].copy_from_slice(&init);
        code[0x40..0x44].copy_from_slice(&ENDBR64);
        let known = KnownCode { entry: 0, init: [0x1010, 0x9000] };
        let found = rows(&(0x1000..0x1060), &code, &known, Architecture::X86_64);
        let expected = [
            (0x1000, Rule::NONE),
            (0x1010, pushed(1)),
            (0x1014, pushed(2)),
            (0x101f, pushed(1)),
            (0x1020, Rule::NONE),
            (0x1040, pushed(1)),
            (0x1044, Rule::NONE),
        ];
        assert_eq!(found, expected);
        let elsewhere = KnownCode { init: [0x1041, 0x1000], ..known };
        assert_eq!(rows(&(0x1000..0x1040), &code[..0x40], &elsewhere, Architecture::X86_64).len(), 1);
    }
}
