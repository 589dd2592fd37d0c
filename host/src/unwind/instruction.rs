//! An instruction, as far as it matters to frames (x86-64): what it does to registers, and where execution goes on.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// A decoded instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    decoded: iced_x86::Instruction,
    /// General registers that it writes, a bit each, in the order of [`Register::RAX`] and so on.
    written: u16,
}

/// The place where execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The next instruction.
    Next,
    /// There, and if that depends, else the next instruction.
    Jump { to: u64, depends: bool },
    /// The next instruction, after the function that is called.
    Call,
    /// The caller.
    Return,
    /// Another function, with this one's return address.
    TailJump,
    /// It is not known, or nowhere.
    Ends,
}

/// A register after an instruction, by the registers before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Same,
    /// A register and so many bytes.
    Plus(Register, i64),
    /// The word that lies so many bytes from a register.
    Loaded(Register, i64),
    /// Something else.
    Other,
}

/// 8 bytes that are stored so many bytes from a register, by the registers before the instruction: of the register `what`, or of
/// something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) base: Register,
    pub(super) offset: i64,
    pub(super) what: Option<Register>,
}

/// Registers that a called function may change (x86-64 psABI, figure 3.4).
const CHANGED_BY_CALLS: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

impl Instruction {
    /// Decodes what is at an address; `None` if that is not an instruction.
    pub(super) fn decode(bytes: &[u8], address: u64, factory: &mut InstructionInfoFactory) -> Option<Self> {
        let decoded = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        if decoded.is_invalid() {
            return None;
        }
        let mut written = 0;
        let used = factory.info(&decoded).used_registers().iter();
        for register in used.filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)) {
            written |= bit(register.register());
        }
        if matches!(decoded.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            written = CHANGED_BY_CALLS.iter().fold(0, |all, register| all | bit(*register));
        }
        Some(Self { decoded, written })
    }

    /// Returns the address after it.
    pub(super) fn end(&self) -> u64 {
        self.decoded.next_ip()
    }

    /// Tells where execution goes on.
    pub(super) fn flow(&self) -> Flow {
        let is_near = matches!(
            self.decoded.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
        match self.decoded.flow_control() {
            FlowControl::Next | FlowControl::XbeginXabortXend => Flow::Next,
            // A system call; other interrupts are the end of what may be reached.
            FlowControl::Call if self.decoded.mnemonic() == Mnemonic::Syscall => Flow::Next,
            FlowControl::Call | FlowControl::IndirectCall => Flow::Call,
            FlowControl::Return => Flow::Return,
            FlowControl::ConditionalBranch if is_near => {
                Flow::Jump { to: self.decoded.near_branch_target(), depends: true }
            }
            FlowControl::UnconditionalBranch if is_near => {
                Flow::Jump { to: self.decoded.near_branch_target(), depends: false }
            }
            // By a word of the file's own, as stubs of the procedure linkage table do.
            FlowControl::IndirectBranch if self.decoded.is_ip_rel_memory_operand() => Flow::TailJump,
            _ => Flow::Ends,
        }
    }

    /// Returns the address to which it jumps.
    pub(super) fn target(&self) -> Option<u64> {
        match self.flow() {
            Flow::Jump { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Returns the address of the instruction that may follow it.
    pub(super) fn next(&self) -> Option<u64> {
        match self.flow() {
            Flow::Next | Flow::Call | Flow::Jump { depends: true, .. } => Some(self.end()),
            Flow::Jump { depends: false, .. } | Flow::Return | Flow::TailJump | Flow::Ends => None,
        }
    }

    /// Returns the function that it calls, if it names one.
    pub(super) fn called(&self) -> Option<u64> {
        (self.flow() == Flow::Call && self.decoded.flow_control() == FlowControl::Call)
            .then(|| self.decoded.near_branch_target())
    }

    /// Tells whether functions begin so: `endbr64`.
    pub(super) fn is_landing(&self) -> bool {
        self.decoded.mnemonic() == Mnemonic::Endbr64
    }

    /// Tells whether it is what the first instruction of a function with a frame may be.
    pub(super) fn makes_frame(&self) -> bool {
        match self.decoded.code() {
            Code::Push_r64 => true,
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 => self.is_into(Register::RSP),
            _ => false,
        }
    }

    /// Tells whether no call can be what comes before the address after it: it jumps away for good, or does nothing, between
    /// functions.
    pub(super) fn is_never_returned_behind(&self) -> bool {
        let leads_on = matches!(self.flow(), Flow::Next | Flow::Call | Flow::Jump { depends: true, .. });
        !leads_on || self.is_padding()
    }

    /// Tells whether it jumps to where a register or a word says.
    pub(super) fn is_indirect_jump(&self) -> bool {
        self.decoded.flow_control() == FlowControl::IndirectBranch
    }

    /// Tells whether it does nothing, or is never meant to be run: `nop` in all its lengths, `int3`.
    pub(super) fn is_padding(&self) -> bool {
        does_nothing(&self.decoded)
    }

    /// Tells whether it is a system call.
    pub(super) fn is_system_call(&self) -> bool {
        self.decoded.mnemonic() == Mnemonic::Syscall
    }

    /// Returns eax after it, which was `before`, as far as that is known.
    pub(super) fn eax(&self, before: Option<u32>) -> Option<u32> {
        let constant = |operand| u32::try_from(self.decoded.immediate(operand)).ok();
        match (self.decoded.mnemonic(), self.decoded.op0_register()) {
            (Mnemonic::Xor, Register::EAX) if self.decoded.op1_register() == Register::EAX => Some(0),
            (Mnemonic::Mov, Register::EAX | Register::RAX) if has_immediate(&self.decoded) => constant(1),
            (Mnemonic::Mov, Register::AL) if has_immediate(&self.decoded) => {
                Some((before? & !0xff) | (constant(1)? & 0xff))
            }
            _ if self.written & bit(Register::RAX) != 0 => None,
            _ => before,
        }
    }

    /// Tells whether it takes what a function has returned for the first argument of what follows.
    pub(super) fn passes_result_on(&self) -> bool {
        matches!(self.decoded.mnemonic(), Mnemonic::Mov | Mnemonic::Movsxd)
            && self.decoded.op0_register().full_register() == Register::RDI
            && self.decoded.op1_register().full_register() == Register::RAX
    }

    /// Says what a general register of 8 bytes is after it.
    pub(super) fn value_of(&self, register: Register) -> Value {
        if self.written & bit(register) == 0 {
            return Value::Same;
        }
        let decoded = &self.decoded;
        let is_stack = register == Register::RSP;
        match decoded.code() {
            Code::Push_r64 | Code::Push_rm64 | Code::Pushq_imm32 | Code::Pushq_imm8 | Code::Pushfq => {
                Value::Plus(register, -8)
            }
            Code::Pop_r64 | Code::Pop_rm64 | Code::Popfq
                if is_stack && decoded.op0_register() != Register::RSP =>
            {
                Value::Plus(register, 8)
            }
            Code::Pop_r64 if decoded.op0_register() == register && !is_stack => {
                Value::Loaded(Register::RSP, 0)
            }
            Code::Leaveq if is_stack => Value::Plus(Register::RBP, 8),
            Code::Leaveq => Value::Loaded(Register::RBP, 0),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32 if self.is_into(register) => {
                Value::Plus(register, decoded.immediate(1).cast_signed())
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32 if self.is_into(register) => {
                Value::Plus(register, decoded.immediate(1).cast_signed().wrapping_neg())
            }
            Code::Inc_rm64 if self.is_into(register) => Value::Plus(register, 1),
            Code::Dec_rm64 if self.is_into(register) => Value::Plus(register, -1),
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if self.is_into(register) => match decoded.op1_kind() {
                OpKind::Register => Value::Plus(decoded.op1_register(), 0),
                _ => match self.memory() {
                    Some((base, offset)) => Value::Loaded(base, offset),
                    None => Value::Other,
                },
            },
            Code::Lea_r64_m if self.is_into(register) => match self.memory() {
                Some((base, offset)) => Value::Plus(base, offset),
                None => Value::Other,
            },
            _ => Value::Other,
        }
    }

    /// Says what it stores of a whole general register, or over which 8 bytes.
    pub(super) fn stored(&self) -> Option<Stored> {
        let decoded = &self.decoded;
        match decoded.code() {
            Code::Push_r64 => {
                Some(Stored { base: Register::RSP, offset: -8, what: Some(decoded.op0_register()) })
            }
            Code::Push_rm64 | Code::Pushq_imm32 | Code::Pushq_imm8 | Code::Pushfq => {
                Some(Stored { base: Register::RSP, offset: -8, what: None })
            }
            Code::Mov_rm64_r64 if decoded.op0_kind() == OpKind::Memory => {
                let (base, offset) = self.memory()?;
                Some(Stored { base, offset, what: Some(decoded.op1_register()) })
            }
            Code::Mov_rm64_imm32 if decoded.op0_kind() == OpKind::Memory => {
                let (base, offset) = self.memory()?;
                Some(Stored { base, offset, what: None })
            }
            _ => None,
        }
    }

    fn is_into(&self, register: Register) -> bool {
        self.decoded.op0_kind() == OpKind::Register && self.decoded.op0_register() == register
    }

    /// A memory operand by a base and an offset: no index, no segment.
    fn memory(&self) -> Option<(Register, i64)> {
        let base = self.decoded.memory_base();
        let is_plain = self.decoded.memory_index() == Register::None
            && self.decoded.segment_prefix() == Register::None
            && base.is_gpr64();
        is_plain.then(|| (base, self.decoded.memory_displacement64().cast_signed()))
    }
}

fn has_immediate(decoded: &iced_x86::Instruction) -> bool {
    !matches!(decoded.op1_kind(), OpKind::Register | OpKind::Memory)
}

/// Tells whether code does nothing, as between functions that are aligned.
pub(super) fn is_padding(code: &[u8]) -> bool {
    let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    code.iter().all(|byte| *byte == 0) || decoder.into_iter().all(|decoded| does_nothing(&decoded))
}

fn does_nothing(decoded: &iced_x86::Instruction) -> bool {
    matches!(decoded.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
}

/// The bit of the whole general register that this is a part of; 0 for other registers.
fn bit(register: Register) -> u16 {
    let whole = register.full_register();
    if whole.is_gpr64() { 1 << whole.number() } else { 0 }
}
