//! Kernel frames that were interrupted, below the kernel's own entries of exceptions and interrupts.
//!
//! An entry does not return behind a call but to the very instruction that was interrupted, which may be the first one of
//! its function. The names of the entries tell which frames these are; where names are hidden, nothing
//! changes.

use super::Names;
use crate::process::Frame;
use crate::profile::Profile;
use std::collections::HashMap;

/// Names that entries begin with (x86-64: arch/x86/include/asm/idtentry.h, arch/x86/xen/xen-asm.S).
const ENTRIES_BEGIN: [&str; 3] = ["asm_exc_", "asm_sysvec_", "xen_asm_exc_"];
/// Other entries, and the ways back from them, on which registers lie as they do in entries: x86-64
/// (arch/x86/entry/entry_64.S and entry_64_fred.S), arm64 (arch/arm64/kernel/entry.S, before 5.13 and from then on).
const ENTRIES: [&str; 21] = [
    "asm_common_interrupt",
    "asm_spurious_interrupt",
    "asm_fred_entrypoint_kernel",
    "common_interrupt_return",
    "end_repeat_nmi",
    "error_return",
    "native_irq_return_iret",
    "paranoid_exit",
    "restore_regs_and_return_to_kernel",
    "el1_sync",
    "el1_irq",
    "el1_fiq",
    "el1_error",
    "el1h_64_sync",
    "el1h_64_irq",
    "el1h_64_fiq",
    "el1h_64_error",
    "el1t_64_sync",
    "el1t_64_irq",
    "el1t_64_fiq",
    "el1t_64_error",
];

/// Gives the kernel frames of a profile that were interrupted the addresses at which that was, in the place of the byte
/// before. `names` has an entry for each frame; frames that come to the profile by this are behind those.
pub fn correct_interrupted(profile: &mut Profile, names: &[Names]) {
    let is_entry: Vec<bool> =
        profile.frames.iter().zip(names).map(|(frame, names)| is_entry(frame, names)).collect();
    if !is_entry.contains(&true) {
        return;
    }
    let mut known: HashMap<u64, u32> = HashMap::new();
    for (number, frame) in (0..).zip(&profile.frames) {
        if let Frame::Kernel(address) = frame {
            known.insert(*address, number);
        }
    }
    for stack in &mut profile.stacks {
        let kernel = usize::try_from(stack.kernel_frames).unwrap_or(usize::MAX).min(stack.inner.len());
        let mut follows_entry = false;
        for place in &mut stack.inner[..kernel] {
            let number = *place as usize;
            if follows_entry && let Frame::Kernel(before) = profile.frames[number] {
                let address = before.saturating_add(1);
                *place = *known.entry(address).or_insert_with(|| {
                    profile.frames.push(Frame::Kernel(address));
                    // There are fewer than twice as many as before.
                    u32::try_from(profile.frames.len() - 1).unwrap_or(*place)
                });
            }
            follows_entry = is_entry.get(number).is_some_and(|is_entry| *is_entry);
        }
    }
}

fn is_entry(frame: &Frame, names: &Names) -> bool {
    let is_named = |name: &str| {
        ENTRIES.contains(&name) || ENTRIES_BEGIN.iter().any(|beginning| name.starts_with(beginning))
    };
    matches!(frame, Frame::Kernel(_)) && names.first().is_some_and(|name| is_named(&name.function))
}

#[cfg(test)]
mod tests {
    use super::super::{KernelSymbols, Name};
    use super::*;
    use crate::process::UnreadFiles;
    use crate::profile::Stack;
    use crate::telemetry::Losses;
    use std::sync::Arc;

    const SYMBOLS: &[u8] = b"\
1000 T before
1100 T copies
1200 T asm_exc_page_fault
1300 T exc_page_fault
1400 T asm_exceptional
1500 T error_return
1600 T last\n";

    fn stack(frames: &[u32], kernel_frames: u32) -> Stack {
        Stack { inner: frames.into(), callers: None, kernel_frames, user_end: 0, kernel_end: 1 }
    }

    fn profile(addresses: &[u64], stacks: Vec<Stack>) -> Profile {
        Profile {
            start_ns: 0,
            end_ns: 1,
            unix_minus_monotonic_ns: 0,
            period_ns: 1,
            frames: addresses.iter().map(|address| Frame::Kernel(*address)).collect(),
            stacks,
            callers: Vec::new(),
            threads: Vec::new(),
            samples: Vec::new(),
            losses: Losses::default(),
            idle: 0,
            mappings_left_out: 0,
            excluded: 0,
            unread: UnreadFiles::default(),
            kernel_code: Arc::default(),
            files: Vec::new(),
        }
    }

    fn names(profile: &Profile, symbols: Option<&KernelSymbols>) -> Vec<Names> {
        let name = |frame: &Frame| match frame {
            Frame::Kernel(address) => symbols
                .and_then(|symbols| symbols.at(*address))
                .map(|name| Name { function: str::from_utf8(name).unwrap().into(), ..Name::default() }),
            _ => None,
        };
        profile.frames.iter().map(|frame| name(frame).into_iter().collect()).collect()
    }

    fn shown(profile: &Profile, symbols: &KernelSymbols, stack: usize) -> Vec<String> {
        let names = names(profile, Some(symbols));
        let frames = profile.frames_of(&profile.stacks[stack]);
        frames.map(|frame| names[frame as usize][0].function.to_string()).collect()
    }

    #[test]
    fn what_an_entry_returns_to_is_named_by_where_it_stood() {
        let symbols = KernelSymbols::read(SYMBOLS, 1 << 20).unwrap();
        // Faulted in the first instruction of `copies`, which `last` had called; all but the first less by one.
        let addresses = [0x1304, 0x1209, 0x10ff, 0x1610, 0x1502, 0x1104, 0x1404];
        let stacks = vec![
            stack(&[0, 1, 2, 3], 4),
            // On the way back from it.
            stack(&[4, 2, 3], 3),
            // Called, not interrupted.
            stack(&[5, 2, 3], 3),
            // What only begins like an entry's name.
            stack(&[6, 2], 2),
            // The user's frames are not the kernel's.
            stack(&[1, 2], 1),
        ];
        let mut hidden = profile(&addresses, stacks);
        let known = hidden.frames.len();
        let unnamed = names(&hidden, None);
        correct_interrupted(&mut hidden, &unnamed);
        assert_eq!(hidden.frames.len(), known, "without names nothing changes");

        let mut profile = hidden;
        let named = names(&profile, Some(&symbols));
        correct_interrupted(&mut profile, &named);
        assert_eq!(profile.frames[known..], [Frame::Kernel(0x1100)], "once for all stacks");
        assert_eq!(shown(&profile, &symbols, 0), ["exc_page_fault", "asm_exc_page_fault", "copies", "last"]);
        assert_eq!(shown(&profile, &symbols, 1), ["error_return", "copies", "last"]);
        assert_eq!(shown(&profile, &symbols, 2), ["copies", "before", "last"]);
        assert_eq!(shown(&profile, &symbols, 3), ["asm_exceptional", "before"]);
        assert_eq!(shown(&profile, &symbols, 4), ["asm_exc_page_fault", "before"]);
    }
}
