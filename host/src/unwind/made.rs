//! Frames of code that was made at run time, by its instructions (x86-64).
//!
//! Frame pointers lead from caller to caller there. Only whether the innermost function has made its frame by now, or has
//! one at all, they do not say: before that, and after the frame is taken down, they pass its caller over. So the function's
//! code is read from the process, from where it stood up to its return (`scan`). That takes place as soon after the sample
//! as a record may wait in its ring; for so long an answer serves for others at the same place.

use super::Rule;
use super::beyond::Read;
use super::rule::Architecture;
use super::scan;
use crate::map::Map;
use std::io;

/// The longest time that a record waits in its ring, about: code is as likely to be another after it as within.
const FRESH_NS: u64 = 250_000_000;
/// Places that are remembered; with more, all are forgotten.
const PLACES_MAX: usize = 4096;
/// Pieces of code that are read for one place.
const PIECES_MAX: u32 = 32;

/// Places in such code that were looked at lately.
#[derive(Debug, Default)]
pub(super) struct MadeCode {
    /// By process and address: when it was read, and what it says.
    known: Map<(u32, u64), (u64, Option<Rule>)>,
}

impl MadeCode {
    /// Finds the rule at an address where a process stood, if its code tells one; an error if it cannot be read.
    pub(super) fn rule_at(
        &mut self,
        (pid, address): (u32, u64),
        time_ns: u64,
        read: Read<'_>,
    ) -> io::Result<Option<Rule>> {
        if Architecture::OURS != Architecture::X86_64 {
            return Ok(None);
        }
        if let Some((read_ns, rule)) = self.known.get(&(pid, address))
            && time_ns.abs_diff(*read_ns) <= FRESH_NS
        {
            return Ok(*rule);
        }
        let rule = by_code(address, read)?;
        if self.known.len() >= PLACES_MAX {
            self.known.clear();
        }
        self.known.insert((pid, address), (time_ns, rule));
        Ok(rule)
    }
}

fn by_code(address: u64, read: Read<'_>) -> io::Result<Option<Rule>> {
    let mut pieces = 0;
    scan::rule_at(address, |at, length| {
        pieces += 1;
        let mut code = vec![0; length];
        let is_read = pieces <= PIECES_MAX && read(at, &mut code);
        match (is_read, pieces) {
            (true, _) => Ok(code),
            (false, 1) => Err(io::Error::other("the code cannot be read")),
            // It ends there, or leads to too many places.
            (false, _) => Ok(Vec::new()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_ebpf::tables::{NOT_SAVED, rule_kind};

    const START: u64 = 0x1000;

    /// The rules at these places of a function.
    fn rules(code: &[u8], places: &[u64]) -> Vec<Option<(u8, i32, i16)>> {
        let read = |address: u64, to: &mut [u8]| {
            let Some(at) = address.checked_sub(START).and_then(|at| usize::try_from(at).ok()) else {
                return false;
            };
            for (index, byte) in to.iter_mut().enumerate() {
                *byte = code.get(at + index).copied().unwrap_or(0xcc);
            }
            true
        };
        let rule = |place: &u64| {
            MadeCode::default()
                .rule_at((1, START + place), 1, &read)
                .unwrap()
                .map(|rule| (rule.kind, rule.cfa, rule.fp))
        };
        places.iter().map(rule).collect()
    }

    #[test]
    fn a_frame_is_there_between_prologue_and_epilogue_only() {
        if Architecture::OURS != Architecture::X86_64 {
            return;
        }
        // push %rbp; mov %rsp, %rbp; sub $16, %rsp; nop; leave; ret
        let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x90, 0xc9, 0xc3];
        let begun = Some((rule_kind::SP, 1, NOT_SAVED));
        let standing = Some((rule_kind::FP, 2, -2));
        let found = rules(&code, &[0, 1, 4, 8, 9, 10]);
        assert_eq!(found, [begun, Some((rule_kind::SP, 2, -2)), standing, standing, standing, begun]);
        // nop; jmp to itself: nothing leads to a return.
        assert_eq!(rules(&[0x90, 0xeb, 0xfd], &[0, 1]), [None, None]);
        // push %rbx; dec %ecx; jnz back; pop %rbx; ret
        let code = [0x53, 0xff, 0xc9, 0x75, 0xfc, 0x5b, 0xc3];
        let inside = Some((rule_kind::SP, 2, NOT_SAVED));
        assert_eq!(rules(&code, &[0, 1, 3, 5, 6]), [begun, inside, inside, inside, begun]);
    }

    #[test]
    fn an_answer_serves_for_as_long_as_a_record_may_wait() {
        if Architecture::OURS != Architecture::X86_64 {
            return;
        }
        let mut made = MadeCode::default();
        let ret = |_: u64, to: &mut [u8]| {
            to.fill(0xc3);
            true
        };
        let gone = |_: u64, _: &mut [u8]| false;
        let first = made.rule_at((1, START), FRESH_NS, &ret).unwrap();
        assert!(first.is_some());
        assert_eq!(made.rule_at((1, START), 2 * FRESH_NS, &gone).unwrap(), first);
        assert!(made.rule_at((1, START), 2 * FRESH_NS + 1, &gone).is_err());
        assert!(made.rule_at((2, START), FRESH_NS, &gone).is_err(), "another process");
    }
}
