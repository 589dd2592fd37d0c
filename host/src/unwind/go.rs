//! Rules for Go's code, which has no call frame information, from its own table of functions.
//!
//! Frame pointers alone are not enough: functions without a frame, the hottest ones among them (memory moves,
//! hashes, comparisons), do not set one up, so that their caller would be left out. Who calls has one; where all
//! code is Go's, rows are made for pages of innermost frames only.

use super::bare::{SIGRETURN_BYTES, sigreturn_bytes};
use super::cfi::Row;
use super::rule::{Architecture, Rule};
use crate::process::{GoFunction, GoFunctions, Pieces};
use stacksonde_ebpf::tables::{NOT_SAVED, rule_kind};
use std::io;
use std::ops::Range;

/// Rows for `gap`, a range of code without call frame information; `code` gives the bytes at an address, as far as
/// the file has them. What is not Go's gets `rest`.
pub(super) fn rows(
    functions: &GoFunctions,
    pieces: &mut Pieces<'_>,
    gap: &Range<u64>,
    rest: Rule,
    architecture: Architecture,
    code: impl Fn(&mut Pieces<'_>, u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<Row>> {
    let mut found: Vec<Row> = vec![(gap.start, rest)];
    let mut place = |start: u64, rule: Rule| {
        let start = start.max(gap.start);
        found.retain(|(at, _)| *at < start);
        found.push((start, rule));
    };
    // One byte more: who is called there at a page's start is looked for by the byte before.
    for function in functions.within(pieces, &(gap.start..gap.end.saturating_add(1)))? {
        if function.is_assembly()
            && sigreturn_bytes(&code(pieces, function.code.start, SIGRETURN_BYTES)?).is_some()
        {
            place(function.code.start - 1, Rule::SIGNAL);
        } else if function.is_root() {
            place(function.code.start, Rule::END);
        } else {
            for (start, rule) in in_function(functions, pieces, &function, architecture)? {
                if start < gap.end {
                    place(start, rule);
                }
            }
        }
        if function.code.end < gap.end {
            place(function.code.end, rest);
        }
    }
    found.retain(|(start, _)| *start < gap.end);
    found.dedup_by(|later, earlier| later.1 == earlier.1);
    Ok(found)
}

fn in_function(
    functions: &GoFunctions,
    pieces: &mut Pieces<'_>,
    function: &GoFunction,
    architecture: Architecture,
) -> io::Result<Vec<Row>> {
    let sizes = functions.stack_sizes(pieces, function)?;
    if function.switches_stacks() || sizes.is_empty() {
        // The frame pointer leads from one stack to the other.
        return Ok(vec![(function.code.start, Rule::BARE)]);
    }
    let rule = |size: i32| of_size(size, architecture).unwrap_or(Rule::UNSUPPORTED);
    Ok(sizes.into_iter().map(|(start, size)| (start, rule(size))).collect())
}

/// Returns the rule of a frame of `size` bytes: a function with any saved the caller's frame pointer, on x86-64 just
/// below the return address, on arm64 just below the frame, at whose lowest word the return address is
/// (cmd/compile/abi-internal.md, "Stack layout").
fn of_size(size: i32, architecture: Architecture) -> Option<Rule> {
    if size < 0 || size % 8 != 0 || size >= 8 << 22 {
        return None;
    }
    let words = size / 8;
    let cfa = match architecture {
        Architecture::X86_64 => words + 1,
        Architecture::Aarch64 => words,
    };
    let (fp, other) = match (words, architecture) {
        (0, _) => (NOT_SAVED, NOT_SAVED),
        (_, Architecture::X86_64) => (-2, NOT_SAVED),
        (_, Architecture::Aarch64) => (i16::try_from(-words - 1).ok()?, i16::try_from(-words).ok()?),
    };
    Some(Rule { kind: rule_kind::SP, cfa, fp, other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_left_by_its_size() {
        let rule = |cfa, fp, other| Some(Rule { kind: rule_kind::SP, cfa, fp, other });
        assert_eq!(of_size(0, Architecture::X86_64), rule(1, NOT_SAVED, NOT_SAVED));
        assert_eq!(of_size(64, Architecture::X86_64), rule(9, -2, NOT_SAVED));
        assert_eq!(of_size(0, Architecture::Aarch64), rule(0, NOT_SAVED, NOT_SAVED));
        assert_eq!(of_size(64, Architecture::Aarch64), rule(8, -9, -8));
        assert_eq!((of_size(-8, Architecture::X86_64), of_size(12, Architecture::X86_64)), (None, None));
    }
}
