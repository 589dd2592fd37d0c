//! Unwind rules: how the caller's registers are found, a word each.

use gimli::{CfaRule, Encoding, EndianSlice, LittleEndian, Operation, Register, RegisterRule, UnwindSection};
use stacksonde_ebpf::tables::{AT_FP, AT_FP_LEAST, NOT_SAVED, rule_kind};

/// The way in which a frame is left: a word of the table `rules` (`ebpf/bpf/layout.h`).
///
/// Offsets are in units of 8 bytes. `fp` and `other` (rbx on x86-64, the return address on arm64) are
/// offsets from the CFA, or [`NOT_SAVED`], or for `fp` [`AT_FP`] and a few values below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// A value of [`rule_kind`].
    pub kind: u8,
    /// Offset that leads to the CFA, of 24 bits.
    pub cfa: i32,
    /// The place of the caller's frame pointer.
    pub fp: i16,
    /// The place of another register; for the kinds with a dereference, the number that is added after it.
    pub other: i16,
}

impl Rule {
    /// No unwind information.
    pub const NONE: Self = Self::bare(rule_kind::NONE);
    /// No unwind information in the whole file, as in Go's, whose runtime switches stacks.
    pub const BARE: Self = Self { cfa: 1, ..Self::NONE };
    /// Not understood.
    pub const UNSUPPORTED: Self = Self::bare(rule_kind::UNSUPPORTED);
    /// A root.
    pub const END: Self = Self::bare(rule_kind::END);
    /// No frame: a return address there was made by hand, for a stack that begins with it.
    pub const ENTRY: Self = Self::bare(rule_kind::ENTRY);
    /// A signal frame.
    pub const SIGNAL: Self = Self::bare(rule_kind::SIGNAL);

    const fn bare(kind: u8) -> Self {
        Self { kind, cfa: 0, fp: 0, other: 0 }
    }

    /// Tells whether the frame alone says which function it is, or nearly: few have one that large.
    pub(super) fn is_large(self) -> bool {
        const LARGE_BYTES: i32 = 16 << 10;
        self.kind == rule_kind::SP && self.cfa >= LARGE_BYTES / 8
    }

    /// As a word of the table.
    pub fn to_word(self) -> u64 {
        let half = |value: i16| u64::from(value.cast_unsigned());
        let cfa = u64::from(self.cfa.cast_unsigned() & 0xff_ffff);
        u64::from(self.kind) | cfa << 8 | half(self.fp) << 32 | half(self.other) << 48
    }

    /// From a word of the table.
    pub fn from_word(word: u64) -> Self {
        let half = |shift: u32| i16::from_le_bytes([byte(word >> shift), byte(word >> (shift + 8))]);
        // The top byte of four first, to keep the sign.
        let cfa = i32::from_le_bytes([0, byte(word >> 8), byte(word >> 16), byte(word >> 24)]) >> 8;
        Self { kind: byte(word), cfa, fp: half(32), other: half(48) }
    }
}

fn byte(word: u64) -> u8 {
    word.to_le_bytes()[0]
}

/// The numbers that DWARF gives to the registers we follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// System V ABI, AMD64 supplement, 3.6.2.
    X86_64,
    /// DWARF for the Arm 64-bit architecture, 4.1.
    Aarch64,
}

impl Architecture {
    /// The one we run on.
    pub const OURS: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    fn sp(self) -> Register {
        Register(if self == Self::X86_64 { 7 } else { 31 })
    }

    fn fp(self) -> Register {
        Register(if self == Self::X86_64 { 6 } else { 29 })
    }

    fn return_address(self) -> Register {
        Register(if self == Self::X86_64 { 16 } else { 30 })
    }

    /// The number of a register whose value is known in the innermost frame only.
    fn leaf(self, register: Register) -> Option<u8> {
        let number = u8::try_from(register.0).ok()?;
        (self == Self::X86_64 && number < 16).then_some(number)
    }

    const RBX: Register = Register(3);
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Row = gimli::UnwindTableRow<usize>;

/// The rule of a row of call frame information (DWARF 5, 6.4).
pub(super) fn of_row<'a, S: UnwindSection<Bytes<'a>>>(
    row: &Row,
    section: &S,
    encoding: Encoding,
    architecture: Architecture,
) -> Rule {
    if matches!(row.register(architecture.return_address()), Some(RegisterRule::Undefined)) {
        return Rule::END;
    }
    supported(row, section, encoding, architecture).unwrap_or(Rule::UNSUPPORTED)
}

/// `None` for what [`Rule`] cannot say.
fn supported<'a, S: UnwindSection<Bytes<'a>>>(
    row: &Row,
    section: &S,
    encoding: Encoding,
    architecture: Architecture,
) -> Option<Rule> {
    let operations = |expression: &gimli::UnwindExpression<usize>| -> Option<Vec<Operation<Bytes<'a>>>> {
        let mut operations = expression.get(section).ok()?.operations(encoding);
        let mut all = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            all.push(operation);
        }
        Some(all)
    };
    let (kind, cfa, added) = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            (by_register(*register, architecture)?, far_words(*offset)?, None)
        }
        CfaRule::Expression(expression) => of_expression(&operations(expression)?, architecture)?,
    };
    let saved = |rule: Option<RegisterRule<usize>>| match rule {
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => Some(NOT_SAVED),
        Some(RegisterRule::Offset(offset)) => words(offset),
        _ => None,
    };
    let fp = match row.register(architecture.fp()) {
        Some(RegisterRule::Expression(expression)) => match value_of(&operations(&expression)?)? {
            Value::Plus(register, offset) if register == architecture.fp() => at_fp(offset)?,
            _ => return None,
        },
        rule => saved(rule)?,
    };
    let return_address = match row.register(architecture.return_address()) {
        // Before a function's own stack frame, or instead of it: vfork keeps it in a register.
        Some(RegisterRule::Register(register)) if kind == rule_kind::SP => {
            let kind = rule_kind::RETURN_IN + architecture.leaf(register)?;
            return Some(Rule { kind, cfa, fp, other: NOT_SAVED });
        }
        rule => saved(rule)?,
    };
    let other = match architecture {
        Architecture::X86_64 if return_address != -1 => return None,
        // Code that uses rbx as a frame base is rare; where rbx went otherwise is not followed.
        Architecture::X86_64 => saved(row.register(Architecture::RBX)).unwrap_or(NOT_SAVED),
        Architecture::Aarch64 => return_address,
    };
    match (added, architecture) {
        (None, _) => Some(Rule { kind, cfa, fp, other }),
        (Some(added), Architecture::X86_64) => Some(Rule { kind, cfa, fp, other: added }),
        // There the return address needs the place of `added`.
        (Some(_), Architecture::Aarch64) => None,
    }
}

/// Chooses the kind of rule by which the CFA lies so many bytes from a register.
pub(super) fn by_register(register: Register, architecture: Architecture) -> Option<u8> {
    Some(match register {
        register if register == architecture.sp() => rule_kind::SP,
        register if register == architecture.fp() => rule_kind::FP,
        Architecture::RBX if architecture == Architecture::X86_64 => rule_kind::BX,
        register => rule_kind::REGISTER + architecture.leaf(register)?,
    })
}

/// Chooses the kind of rule by which the CFA lies so many bytes from where a word points that a register leads to.
pub(super) fn by_word(register: Register, architecture: Architecture) -> Option<u8> {
    match register {
        register if register == architecture.sp() => Some(rule_kind::DEREF_SP),
        register if register == architecture.fp() => Some(rule_kind::DEREF_FP),
        _ => None,
    }
}

/// The CFA by an expression: of lazy binding stubs, or by a register and perhaps a word that it points at, as where a frame's
/// base was saved in it.
fn of_expression(
    operations: &[Operation<Bytes<'_>>],
    architecture: Architecture,
) -> Option<(u8, i32, Option<i16>)> {
    use Operation::{And, Ge, Plus, RegisterOffset, Shl, UnsignedConstant};
    // On entry to a stub rsp + 8; from the push of its second argument on rsp + 16. Where that is
    // follows from the low four bits of the address.
    if let [
        RegisterOffset { register: rsp, offset: 8, .. },
        RegisterOffset { register: rip, offset: 0, .. },
        UnsignedConstant { value: 15 },
        And,
        UnsignedConstant { value: threshold @ 0..=15 },
        Ge,
        UnsignedConstant { value: 3 },
        Shl,
        Plus,
    ] = operations
        && architecture == Architecture::X86_64
        && (*rsp, *rip) == (architecture.sp(), architecture.return_address())
    {
        return Some((rule_kind::PLT, i32::try_from(*threshold).ok()?, None));
    }
    let (register, offset, added) = match value_of(operations)? {
        Value::Plus(register, offset) => (register, offset, None),
        Value::Loaded(register, offset, added) => (register, offset, Some(words(added)?)),
        Value::Number(_) => return None,
    };
    let kind = match added {
        None => by_register(register, architecture)
            .filter(|kind| matches!(*kind, rule_kind::SP | rule_kind::FP))?,
        Some(_) => by_word(register, architecture)?,
    };
    Some((kind, far_words(offset)?, added))
}

/// A value that an expression computes.
#[derive(Clone, Copy)]
enum Value {
    Number(i64),
    /// A register and so many bytes.
    Plus(Register, i64),
    /// The word that lies so many bytes from a register, and so many bytes more.
    Loaded(Register, i64, i64),
}

impl Value {
    fn plus(self, more: i64) -> Option<Self> {
        Some(match self {
            Self::Number(number) => Self::Number(number.checked_add(more)?),
            Self::Plus(register, offset) => Self::Plus(register, offset.checked_add(more)?),
            Self::Loaded(register, offset, added) => Self::Loaded(register, offset, added.checked_add(more)?),
        })
    }
}

/// Values that are in use at once, at most.
const STACK_MAX: usize = 8;

/// Computes what an expression says (DWARF 5, 2.5.1), however it is spelled, as far as one register and one word of the stack
/// tell it.
fn value_of(operations: &[Operation<Bytes<'_>>]) -> Option<Value> {
    let mut stack: Vec<Value> = Vec::new();
    for operation in operations {
        let value = match *operation {
            Operation::RegisterOffset { register, offset, .. } => Value::Plus(register, offset),
            Operation::UnsignedConstant { value } => Value::Number(i64::try_from(value).ok()?),
            Operation::SignedConstant { value } => Value::Number(value),
            Operation::PlusConstant { value } => stack.pop()?.plus(i64::try_from(value).ok()?)?,
            Operation::Deref { space: false, size: 8, .. } => match stack.pop()? {
                Value::Plus(register, offset) => Value::Loaded(register, offset, 0),
                _ => return None,
            },
            Operation::Plus => match (stack.pop()?, stack.pop()?) {
                (Value::Number(number), other) | (other, Value::Number(number)) => other.plus(number)?,
                _ => return None,
            },
            Operation::Minus => match (stack.pop()?, stack.pop()?) {
                (Value::Number(number), other) => other.plus(number.checked_neg()?)?,
                _ => return None,
            },
            Operation::Nop => continue,
            _ => return None,
        };
        if stack.len() == STACK_MAX {
            return None;
        }
        stack.push(value);
    }
    stack.pop()
}

/// A place so many bytes from where the frame pointer points, for [`Rule::fp`].
pub(super) fn at_fp(bytes: i64) -> Option<i16> {
    let words = i16::try_from(bytes / 8).ok()?;
    (bytes % 8 == 0 && (0..=AT_FP - AT_FP_LEAST).contains(&words)).then_some(AT_FP - words)
}

/// Bytes in units of 8, if they are whole and small enough.
pub(super) fn words(bytes: i64) -> Option<i16> {
    let words = i16::try_from(bytes / 8).ok()?;
    // The largest have meanings of their own.
    (bytes % 8 == 0 && words < AT_FP_LEAST).then_some(words)
}

/// The same for the 24 bits of a frame's size.
pub(super) fn far_words(bytes: i64) -> Option<i32> {
    let words = i32::try_from(bytes / 8).ok()?;
    (bytes % 8 == 0 && (-(1 << 23)..1 << 23).contains(&words)).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_every_rule() {
        for rule in [
            Rule::END,
            Rule { kind: rule_kind::SP, cfa: 2, fp: -2, other: NOT_SAVED },
            Rule { kind: rule_kind::FP, cfa: -1, fp: AT_FP, other: i16::MIN },
            Rule { kind: rule_kind::RETURN_IN + 5, cfa: (1 << 23) - 1, fp: 0, other: 1 },
        ] {
            assert_eq!(Rule::from_word(rule.to_word()), rule);
        }
    }

    #[test]
    fn offsets_that_are_no_whole_words_or_too_large_are_not_supported() {
        for (bytes, expected) in
            [(16, Some(2)), (-16, Some(-2)), (12, None), (8 * 0x7f7f, Some(0x7f7f)), (8 * 0x7f80, None)]
        {
            assert_eq!(words(bytes), expected, "{bytes}");
        }
    }
}
