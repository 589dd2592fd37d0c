//! Composes the manifest at compile time and lays it out as an ELF note.
//!
//! A note (`PT_NOTE`) is found through the program headers alone, so it survives strip, link-time
//! optimisation and a removed section table, and the host reads it without running anything.

use crate::manifest::OWNER;

/// The target as its GNU triplet without a vendor: `x86_64-linux-gnu`.
pub const TARGET: &str = if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
    "x86_64-linux-gnu"
} else if cfg!(all(target_arch = "aarch64", target_env = "gnu")) {
    "aarch64-linux-gnu"
} else if cfg!(all(target_arch = "x86_64", target_env = "musl")) {
    "x86_64-linux-musl"
} else if cfg!(all(target_arch = "aarch64", target_env = "musl")) {
    "aarch64-linux-musl"
} else {
    "unsupported"
};

/// The effect of a panic in this build.
pub const PANIC: &str = if cfg!(panic = "unwind") { "unwind" } else { "abort" };

/// Length of `parts` joined, padded to a multiple of four as notes are.
pub const fn padded(parts: &[&str]) -> usize {
    let mut length = 0;
    let mut part = 0;
    while part < parts.len() {
        length += parts[part].len();
        part += 1;
    }
    length.next_multiple_of(4)
}

/// `parts` joined, padded with spaces (which JSON ignores) to `N` bytes.
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut text = [b' '; N];
    let mut at = 0;
    let mut part = 0;
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            text[at] = bytes[i];
            at += 1;
            i += 1;
        }
        part += 1;
    }
    text
}

/// An ELF note (`Elf64_Nhdr`, the owner's name, the description), as `elf(5)` has it.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_size: u32,
    description_size: u32,
    kind: u32,
    name: [u8; NAME_SIZE.next_multiple_of(4)],
    description: [u8; N],
}

/// With the NUL that ends it.
const NAME_SIZE: usize = OWNER.len() + 1;

impl<const N: usize> Note<N> {
    /// The note that carries `manifest`.
    #[expect(clippy::cast_possible_truncation, reason = "a manifest of 4 GiB does not compile")]
    pub const fn new(manifest: [u8; N]) -> Self {
        let mut name = [0; NAME_SIZE.next_multiple_of(4)];
        let mut i = 0;
        while i < OWNER.len() {
            name[i] = OWNER.as_bytes()[i];
            i += 1;
        }
        Self {
            name_size: NAME_SIZE as u32,
            description_size: N as u32,
            kind: crate::manifest::NOTE_KIND,
            name,
            description: manifest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_with_spaces_to_a_multiple_of_four() {
        const PARTS: &[&str] = &["{\"a\":", "1", "}"];
        assert_eq!(&join::<{ padded(PARTS) }>(PARTS), b"{\"a\":1} ");
    }

    #[test]
    fn a_note_has_no_padding_but_what_the_format_asks_for() {
        assert_eq!(size_of::<Note<8>>(), 12 + 12 + 8);
    }
}
