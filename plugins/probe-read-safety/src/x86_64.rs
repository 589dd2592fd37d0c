//! x86-64: the fixed function asks `nmi_uaccess_okay` first.

use crate::symbols::Extent;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use stacksonde_plugin::Verdict;

/// Judges the code of `copy_from_user_nofault`, which lies at `address`. `okay`: where a call to
/// `nmi_uaccess_okay` may lead.
///
/// Instructions are decoded one after the other: a byte that looks like a call may be part of another
/// instruction.
pub fn judge(code: &[u8], address: u64, okay: Extent) -> Verdict {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut decoded = 0;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            break;
        }
        // Of a direct call or jump, conditional or not; else 0.
        let direct = instruction.near_branch_target();
        let at = instruction.ip().wrapping_sub(address);
        if direct != 0 && (okay.start..okay.end).contains(&direct) {
            return Verdict::Safe {
                evidence: format!("it calls nmi_uaccess_okay at +{at:#x}, as since the fix"),
            };
        }
        // Padding up to the next function begins where the last instruction ended.
        if !matches!(instruction.mnemonic(), Mnemonic::Int3 | Mnemonic::Nop) {
            decoded += 1;
        }
    }
    let end = code.len();
    if instruction.is_invalid() || decoded == 0 {
        let at = instruction.ip().wrapping_sub(address);
        return Verdict::Unproven {
            reason: format!("its {end} bytes of code are not understood from +{at:#x} on"),
        };
    }
    Verdict::Affected {
        evidence: format!(
            "none of its {decoded} instructions calls nmi_uaccess_okay, as they do since the fix"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0xffff_ffff_8120_0021;

    fn okay_at(address: u64) -> Extent {
        Extent { start: address, end: address + 1 }
    }

    /// copy_from_user_nofault of Linux 6.1.192 (with the fix), gcc 12, tinyconfig with BPF; the call at
    /// 0x24 is to nmi_uaccess_okay.
    const FIXED: &[u8] = &[
        0x48, 0xb8, 0x00, 0xf0, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x00, 0x48, 0x39, 0xd0, 0x72, 0x58, 0x48, 0x29,
        0xd0, 0x41, 0x54, 0x49, 0x89, 0xf4, 0x55, 0x53, 0x48, 0x89, 0xd3, 0x48, 0x39, 0xf0, 0x72, 0x0c, 0x48,
        0x89, 0xfd, 0xe8, 0x00, 0x10, 0x00, 0x00, 0x84, 0xc0, 0x75, 0x09, 0x48, 0xc7, 0xc0, 0xf2, 0xff, 0xff,
        0xff, 0xeb, 0x2c, 0xe8, 0xa4, 0xff, 0xff, 0xff, 0x31, 0xd2, 0x48, 0x89, 0xde, 0x48, 0x89, 0xef, 0xe8,
        0x00, 0x20, 0x00, 0x00, 0x48, 0x89, 0xef, 0x4c, 0x89, 0xe6, 0x89, 0xda, 0xe8, 0x00, 0x30, 0x00, 0x00,
        0x89, 0xc3, 0xe8, 0x93, 0xff, 0xff, 0xff, 0x85, 0xdb, 0x75, 0xcd, 0x31, 0xc0, 0x5b, 0x5d, 0x41, 0x5c,
        0xc3, 0x48, 0xc7, 0xc0, 0xf2, 0xff, 0xff, 0xff, 0xc3,
    ];
    /// The address to which the call of [`FIXED`] leads.
    const OKAY: u64 = ADDRESS + 0x29 + 0x1000;

    /// The same with the fix taken out, by the same compiler: access_ok, and nothing asks nmi_uaccess_okay.
    const BEFORE: &[u8] = &[
        0x48, 0xb8, 0x00, 0xf0, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x00, 0x48, 0x39, 0xd0, 0x72, 0x4a, 0x48, 0x29,
        0xd0, 0x41, 0x54, 0x55, 0x48, 0x89, 0xd5, 0x53, 0x48, 0x89, 0xf3, 0x48, 0x39, 0xf0, 0x72, 0x2c, 0xe8,
        0xb9, 0xff, 0xff, 0xff, 0x49, 0x89, 0xfc, 0x31, 0xd2, 0x48, 0x89, 0xee, 0xe8, 0x00, 0x00, 0x00, 0x00,
        0x4c, 0x89, 0xe7, 0x48, 0x89, 0xde, 0x89, 0xea, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x89, 0xc3, 0xe8, 0xa8,
        0xff, 0xff, 0xff, 0x31, 0xc0, 0x85, 0xdb, 0x74, 0x07, 0x48, 0xc7, 0xc0, 0xf2, 0xff, 0xff, 0xff, 0x5b,
        0x5d, 0x41, 0x5c, 0xc3, 0x48, 0xc7, 0xc0, 0xf2, 0xff, 0xff, 0xff, 0xc3,
    ];

    #[test]
    fn the_function_before_the_fix_does_not() {
        for okay in [OKAY, ADDRESS + 0x10, ADDRESS + 0x1000] {
            let verdict = judge(BEFORE, ADDRESS, okay_at(okay));
            assert!(matches!(verdict, Verdict::Affected { .. }), "{okay:#x}: {verdict:?}");
        }
    }

    #[test]
    fn the_fixed_function_calls_nmi_uaccess_okay() {
        let verdict = judge(FIXED, ADDRESS, okay_at(OKAY));
        assert!(matches!(&verdict, Verdict::Safe { evidence } if evidence.contains("+0x24")), "{verdict:?}");
        let padded = Extent { start: OKAY - 16, end: OKAY + 1 };
        assert!(matches!(judge(FIXED, ADDRESS, padded), Verdict::Safe { .. }));
    }

    #[test]
    fn calls_to_other_functions_do_not_count() {
        let verdict = judge(FIXED, ADDRESS, okay_at(OKAY + 8));
        assert!(matches!(verdict, Verdict::Affected { .. }), "{verdict:?}");
    }

    #[test]
    fn a_tail_jump_counts() {
        // jmp rel32; jne rel8
        let jump = [0xe9, 0x00, 0x10, 0x00, 0x00, 0xc3];
        assert!(matches!(judge(&jump, ADDRESS, okay_at(ADDRESS + 0x1005)), Verdict::Safe { .. }));
    }

    #[test]
    fn what_only_looks_like_a_call_inside_another_instruction_does_not_count() {
        // mov rax, imm64 that holds e8 00 10 00 00; ret
        let code = [0x48, 0xb8, 0xe8, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc3, 0xcc, 0xcc];
        let verdict = judge(&code, ADDRESS, okay_at(ADDRESS + 7 + 0x1000));
        assert!(matches!(verdict, Verdict::Affected { .. }), "{verdict:?}");
    }

    #[test]
    fn code_that_is_not_understood_proves_nothing() {
        for code in [&[][..], &[0xcc, 0xcc], &[0x90, 0x06, 0xc3], &FIXED[..3]] {
            let verdict = judge(code, ADDRESS, okay_at(OKAY));
            assert!(matches!(verdict, Verdict::Unproven { .. }), "{code:x?}: {verdict:?}");
        }
    }
}
