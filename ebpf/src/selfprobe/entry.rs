//! Recognising the registers that the kernel saved when a thread entered it.

/// Registers that a caller fills with values of its own before it enters the kernel.
pub const PLANTED_REGISTERS: usize = 4;

/// Values that lie in known registers of the caller while it is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted(pub [u64; PLANTED_REGISTERS]);

/// Places of the values in an architecture's saved registers (`struct pt_regs`) that identify them. Positions are in
/// words of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLayout {
    /// The first of the planted registers; the others follow it.
    pub planted: usize,
    /// The number of the system call.
    pub call: usize,
    /// The number of bpf(2).
    pub call_number: u64,
    /// The word that says from which mode the kernel was entered.
    pub mode: usize,
    /// The bits of it that matter.
    pub mode_mask: u64,
    /// Their value for user mode.
    pub mode_user: u64,
    /// Words that are meant, from the start of the registers.
    pub words: usize,
}

/// x86-64 (`arch/x86/include/asm/ptrace.h`): r15, r14, r13 and r12 come first; the two lowest
/// bits of cs are the privilege level.
pub const X86_64: EntryLayout =
    EntryLayout { planted: 0, call: 15, call_number: 321, mode: 17, mode_mask: 3, mode_user: 3, words: 21 };

/// arm64 (`arch/arm64/include/uapi/asm/ptrace.h`, `struct user_pt_regs`): x0 to x30, sp, pc,
/// pstate; x21 to x24 are planted, x8 is the call, PSR_MODE_MASK is 0 for EL0.
pub const AARCH64: EntryLayout =
    EntryLayout { planted: 21, call: 8, call_number: 280, mode: 33, mode_mask: 0xf, mode_user: 0, words: 34 };

/// The layout of the architecture that this is compiled for.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: EntryLayout = X86_64;
/// The layout of the architecture that this is compiled for.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: EntryLayout = AARCH64;

impl EntryLayout {
    /// Size of the registers in bytes, as far as they are meant.
    pub const fn bytes(&self) -> usize {
        self.words * 8
    }

    /// Tells whether `area` begins with the registers of a thread that entered the kernel from user mode by bpf(2) with
    /// these values planted.
    pub fn holds(&self, area: &[u8], planted: &Planted) -> bool {
        let word = |at: usize| {
            area.get(at * 8..)
                .and_then(|rest| rest.first_chunk::<8>())
                .map(|bytes| u64::from_ne_bytes(*bytes))
        };
        area.len() >= self.bytes()
            && planted.0.iter().zip(self.planted..).all(|(value, at)| word(at) == Some(*value))
            && word(self.call) == Some(self.call_number)
            && word(self.mode).is_some_and(|mode| mode & self.mode_mask == self.mode_user)
    }

    /// Every offset in `area`, a multiple of 8, at which such registers begin.
    pub fn find<'a>(&'a self, area: &'a [u8], planted: &'a Planted) -> impl Iterator<Item = usize> + 'a {
        (0..area.len()).step_by(8).filter(move |at| self.holds(&area[*at..], planted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANTED: Planted = Planted([0x1111, 0x2222, 0x3333, 0x4444]);

    fn registers(layout: &EntryLayout) -> Vec<u8> {
        let mut words = vec![0xeeee_eeee_eeee_eeee_u64; layout.words];
        words[layout.planted..layout.planted + PLANTED_REGISTERS].copy_from_slice(&PLANTED.0);
        words[layout.call] = layout.call_number;
        words[layout.mode] = (0x7f0 & !layout.mode_mask) | layout.mode_user;
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn finds_registers_on_both_architectures() {
        for layout in [X86_64, AARCH64] {
            let mut area = vec![0; 0x3f48];
            area.extend(registers(&layout));
            area.extend([0; 24]);
            assert_eq!(layout.find(&area, &PLANTED).collect::<Vec<_>>(), [0x3f48]);
        }
    }

    #[test]
    fn does_not_take_planted_values_alone_for_registers() {
        for layout in [X86_64, AARCH64] {
            let good = registers(&layout);
            assert!(layout.holds(&good, &PLANTED));
            for broken in [layout.planted, layout.planted + 3, layout.call] {
                let mut bytes = good.clone();
                bytes[broken * 8] ^= 1;
                assert!(!layout.holds(&bytes, &PLANTED), "word {broken}");
            }
            let mut kernel_mode = good.clone();
            kernel_mode[layout.mode * 8] ^= 1;
            assert!(!layout.holds(&kernel_mode, &PLANTED));
        }
    }

    #[test]
    fn does_not_find_registers_cut_off_by_the_end() {
        for layout in [X86_64, AARCH64] {
            let area = registers(&layout);
            assert_eq!(layout.find(&area[..area.len() - 1], &PLANTED).count(), 0);
            assert_eq!(layout.find(&[], &PLANTED).count(), 0);
        }
    }
}
