//! Leaving a frame in user space, by the same rules as the sampler (`ebpf/bpf/unwind.h`).

use super::beyond::Stack;
use super::rule::{Architecture, Rule};
use crate::bpf::Registers;
use stacksonde_ebpf::tables::{AT_FP, AT_FP_LEAST, NOT_SAVED, rule_kind};
use stacksonde_ebpf::{LEAF_WORDS, user_end};

/// The caller's registers, or how the walk ended: a value of [`user_end`].
///
/// `leaf` are the registers of the innermost frame, if `frame` is that.
pub fn leave(
    frame: &Registers,
    rule: Rule,
    leaf: Option<&[u64; LEAF_WORDS]>,
    stack: &impl Stack,
    architecture: Architecture,
) -> Result<Registers, u8> {
    let caller = match rule.kind {
        rule_kind::END | rule_kind::ENTRY => return Err(user_end::COMPLETE),
        rule_kind::SIGNAL => leave_signal(frame, stack, architecture),
        rule_kind::NONE => follow_frame_pointer(frame, rule, stack, architecture),
        _ => follow_rule(frame, rule, leaf, stack, architecture),
    }?;
    match (caller.pc, caller.fp) {
        (0, 0) if rule.kind != rule_kind::NONE => Err(user_end::COMPLETE),
        (0, _) => Err(user_end::NO_CODE),
        _ => Ok(caller),
    }
}

/// The registers that a signal interrupted: places as in `unwind.h`.
fn leave_signal(frame: &Registers, stack: &impl Stack, architecture: Architecture) -> Result<Registers, u8> {
    let at = |offset| stack.word(frame.sp.wrapping_add(offset));
    let exact = true;
    Ok(match architecture {
        Architecture::X86_64 => {
            Registers { pc: at(168)?, sp: at(160)?, fp: at(120)?, bx: at(128)?, lr: 0, exact }
        }
        Architecture::Aarch64 => Registers {
            pc: at(312 + 32 * 8)?,
            sp: at(312 + 31 * 8)?,
            fp: at(312 + 29 * 8)?,
            bx: 0,
            lr: at(312 + 30 * 8)?,
            exact,
        },
    })
}

/// An address without the bits that may sign it (`RETURN_ADDRESS` of `unwind.h`).
fn return_address(word: u64, architecture: Architecture) -> u64 {
    match architecture {
        Architecture::X86_64 => word,
        Architecture::Aarch64 => word & ((1 << 48) - 1),
    }
}

fn follow_frame_pointer(
    frame: &Registers,
    rule: Rule,
    stack: &impl Stack,
    architecture: Architecture,
) -> Result<Registers, u8> {
    let fp = frame.fp;
    if fp == 0 {
        return Err(user_end::NO_FRAME_POINTER);
    }
    if !fp.is_multiple_of(8) || (fp < frame.sp && rule == Rule::NONE) {
        return Err(user_end::BAD_FRAME_POINTER);
    }
    let (caller, pc) = (stack.word(fp)?, return_address(stack.word(fp.wrapping_add(8))?, architecture));
    Ok(Registers { pc, sp: fp.wrapping_add(16), fp: caller, bx: frame.bx, lr: 0, exact: false })
}

fn follow_rule(
    frame: &Registers,
    rule: Rule,
    leaf: Option<&[u64; LEAF_WORDS]>,
    stack: &impl Stack,
    architecture: Architecture,
) -> Result<Registers, u8> {
    let plus = |base: u64, words: i32| base.wrapping_add_signed(i64::from(words) * 8);
    let register =
        |kind: u8| leaf.map(|leaf| leaf[usize::from(kind) % LEAF_WORDS]).ok_or(user_end::UNSUPPORTED_RULE);
    const REGISTER_END: u8 = rule_kind::RETURN_IN - 1;
    let in_register = rule.kind >= rule_kind::RETURN_IN;
    let mut other = rule.other;
    let cfa = match rule.kind {
        rule_kind::SP => plus(frame.sp, rule.cfa),
        rule_kind::FP => plus(frame.fp, rule.cfa),
        rule_kind::BX => plus(frame.bx, rule.cfa),
        rule_kind::PLT => {
            plus(frame.sp, if (frame.pc & 15).cast_signed() >= i64::from(rule.cfa) { 2 } else { 1 })
        }
        rule_kind::DEREF_SP | rule_kind::DEREF_FP => {
            let base = if rule.kind == rule_kind::DEREF_SP { frame.sp } else { frame.fp };
            other = NOT_SAVED;
            plus(stack.word(plus(base, rule.cfa))?, rule.other.into())
        }
        rule_kind::REGISTER..=REGISTER_END => plus(register(rule.kind)?, rule.cfa),
        rule_kind::RETURN_IN.. => plus(frame.sp, rule.cfa),
        _ => return Err(user_end::UNSUPPORTED_RULE),
    };
    let saved = |place: i16, kept: u64| match place {
        NOT_SAVED => Ok(kept),
        place => stack.word(plus(cfa, place.into())),
    };
    let (pc, bx) = match architecture {
        Architecture::X86_64 => {
            let same_stack = matches!(rule.kind, rule_kind::SP | rule_kind::PLT);
            if (cfa <= frame.sp && same_stack) || !cfa.is_multiple_of(8) {
                return Err(user_end::BAD_FRAME);
            }
            let pc = if in_register { register(rule.kind)? } else { stack.word(plus(cfa, -1))? };
            (pc, saved(other, frame.bx)?)
        }
        Architecture::Aarch64 => {
            let standing = cfa == frame.sp || other == NOT_SAVED;
            if cfa < frame.sp || !cfa.is_multiple_of(16) || (standing && !frame.exact) {
                return Err(user_end::BAD_FRAME);
            }
            (return_address(saved(other, frame.lr)?, architecture), 0)
        }
    };
    let fp = match rule.fp {
        AT_FP_LEAST..=AT_FP => stack.word(plus(frame.fp, (AT_FP - rule.fp).into()))?,
        place => saved(place, frame.fp)?,
    };
    Ok(Registers { pc, sp: cfa, fp, bx, lr: 0, exact: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::StackCopy;

    const LEAF: [u64; LEAF_WORDS] = [0, 0, 0, 0, 0, 0x77, 0, 0, 0, 0, 0, 0x1010, 0, 0, 0, 0];

    fn stack(words: &[u64]) -> StackCopy {
        StackCopy::whole(0x1000, words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>())
    }

    fn at(sp: u64, fp: u64) -> Registers {
        Registers { pc: 0x40_0000, sp, fp, exact: true, ..Registers::default() }
    }

    fn left(frame: Registers, rule: Rule, words: &[u64]) -> Result<(u64, u64, u64), u8> {
        let caller = leave(&frame, rule, Some(&LEAF), &stack(words), Architecture::X86_64)?;
        Ok((caller.pc, caller.sp, caller.fp))
    }

    #[test]
    fn leaves_frames_by_each_kind_of_rule() {
        let rule = |kind, cfa, fp, other| Rule { kind, cfa, fp, other };
        let words = [7, 8, 0x1028, 9, 0x55, 0x66, 0];
        for (frame, rule, expected) in [
            (at(0x1000, 5), rule(rule_kind::SP, 2, NOT_SAVED, NOT_SAVED), Ok((8, 0x1010, 5))),
            (at(0x1000, 5), rule(rule_kind::SP, 4, -4, NOT_SAVED), Ok((9, 0x1020, 7))),
            (at(0x1000, 0x1010), rule(rule_kind::FP, 2, -2, NOT_SAVED), Ok((9, 0x1020, 0x1028))),
            (at(0x1000, 0x1010), rule(rule_kind::DEREF_FP, 0, AT_FP, 0), Ok((0x55, 0x1028, 0x1028))),
            (at(0x1000, 0x1010), rule(rule_kind::DEREF_FP, 0, AT_FP - 1, 0), Ok((0x55, 0x1028, 9))),
            (at(0x1000, 5), rule(rule_kind::PLT, 11, NOT_SAVED, NOT_SAVED), Ok((7, 0x1008, 5))),
            (at(0x1000, 5), rule(rule_kind::REGISTER + 11, 1, -2, NOT_SAVED), Ok((0x1028, 0x1018, 8))),
            (at(0x1000, 5), rule(rule_kind::RETURN_IN + 5, 0, NOT_SAVED, NOT_SAVED), Ok((0x77, 0x1000, 5))),
            (at(0x1000, 0x1018), Rule::NONE, Ok((0x55, 0x1028, 9))),
            (at(0x1000, 0), Rule::NONE, Err(user_end::NO_FRAME_POINTER)),
            (at(0x1000, 0x1003), Rule::NONE, Err(user_end::BAD_FRAME_POINTER)),
            (at(0x1000, 5), Rule::END, Err(user_end::COMPLETE)),
            (at(0x1000, 5), Rule::UNSUPPORTED, Err(user_end::UNSUPPORTED_RULE)),
            (at(0x1000, 5), rule(rule_kind::SP, 0, NOT_SAVED, NOT_SAVED), Err(user_end::BAD_FRAME)),
            (at(0x1000, 5), rule(rule_kind::SP, 99, NOT_SAVED, NOT_SAVED), Err(user_end::STACK_UNREADABLE)),
            (at(0x1000, 5), rule(rule_kind::SP, 7, NOT_SAVED, NOT_SAVED), Err(user_end::NO_CODE)),
        ] {
            assert_eq!(left(frame, rule, &words), expected, "{rule:?}");
        }
    }

    #[test]
    fn a_leaf_on_arm64_returns_by_its_link_register_and_a_signed_address_is_stripped() {
        let rule = Rule { kind: rule_kind::SP, cfa: 0, fp: NOT_SAVED, other: NOT_SAVED };
        let frame = Registers { lr: 0xabcd_0000_0040_1234, ..at(0x1000, 5) };
        let caller = leave(&frame, rule, None, &stack(&[]), Architecture::Aarch64).unwrap();
        assert_eq!((caller.pc, caller.sp), (0x40_1234, 0x1000));
        let second = leave(&caller, rule, None, &stack(&[]), Architecture::Aarch64);
        assert_eq!(second, Err(user_end::BAD_FRAME), "only a leaf");
        let signed = stack(&[0x1020, 0xabcd_0000_0040_5678]);
        let caller = leave(&at(0x1000, 0x1000), Rule::NONE, None, &signed, Architecture::Aarch64).unwrap();
        assert_eq!((caller.pc, caller.fp), (0x40_5678, 0x1020), "by frame pointers, too");
    }
}
