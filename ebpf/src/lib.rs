//! The programs that run in the kernel, compiled from `bpf/*.bpf.c`, and the layouts that they share with user space.
//!
//! The objects are GPL-2.0-only, as the kernel demands of programs that use its GPL helpers.

mod layout {
    use std::mem::{offset_of, size_of};

    /// `N` bytes from `at` on; every use lies inside `bytes` by construction of its caller.
    fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        std::array::from_fn(|i| bytes[at + i])
    }

    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}

mod hash;
pub mod object;
pub mod raw;
pub mod sample;
pub mod selfprobe;

pub use hash::{name_words, pair_hash};
pub use layout::*;

/// Bytes with the alignment that ELF readers want of a file's start.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

macro_rules! object {
    ($name:literal, $architecture:literal) => {{
        static OBJECT: &Aligned<[u8]> =
            &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".", $architecture, ".o")));
        &OBJECT.0
    }};
}

/// The sampler as an ELF object for this architecture.
#[cfg(target_arch = "x86_64")]
pub fn sampler() -> &'static [u8] {
    object!("sampler", "x86_64")
}

/// The sampler as an ELF object for this architecture.
#[cfg(target_arch = "aarch64")]
pub fn sampler() -> &'static [u8] {
    object!("sampler", "aarch64")
}

/// The programs that report exec and exit, as an ELF object for this architecture.
#[cfg(target_arch = "x86_64")]
pub fn notices() -> &'static [u8] {
    object!("notices", "x86_64")
}

/// The programs that report exec and exit, as an ELF object for this architecture.
#[cfg(target_arch = "aarch64")]
pub fn notices() -> &'static [u8] {
    object!("notices", "aarch64")
}

/// Reads one record of those programs; `None` if it is too short. Bytes after it are ignored: rings pad.
pub fn parse_lifecycle_notice(bytes: &[u8]) -> Option<LifecycleNotice> {
    bytes.first_chunk().map(LifecycleNotice::from_bytes)
}

/// The analysis program as an ELF object for this architecture.
#[cfg(target_arch = "x86_64")]
fn selfprobe_object() -> &'static [u8] {
    object!("selfprobe", "x86_64")
}

/// The analysis program as an ELF object for this architecture.
#[cfg(target_arch = "aarch64")]
fn selfprobe_object() -> &'static [u8] {
    object!("selfprobe", "aarch64")
}

#[cfg(test)]
mod tests {
    /// `bpf_probe_read_user`, `bpf_probe_read_user_str` and `bpf_copy_from_user` (include/uapi/linux/bpf.h).
    const READS_USER_MEMORY: [i32; 3] = [112, 114, 148];

    /// Tells whether a function of the sampler's object calls a helper that reads user memory.
    fn reads_user_memory(object: &aya_obj::Object, name: &str) -> bool {
        let (_, function) = object.functions.iter().find(|(_, function)| function.name == name).unwrap();
        function.instructions.iter().any(|instruction| {
            instruction.code == 0x85
                && instruction.src_reg() == 0
                && READS_USER_MEMORY.contains(&instruction.imm)
        })
    }

    #[test]
    fn the_mitigated_program_neither_reads_user_memory_nor_calls_what_does() {
        let object = aya_obj::Object::parse(super::sampler()).unwrap();
        assert!(reads_user_memory(&object, "sample"), "the test would see it");
        assert!(!reads_user_memory(&object, "sample_by_kernel_walk"));
        let (_, function) =
            object.functions.iter().find(|(_, function)| function.name == "sample_by_kernel_walk").unwrap();
        let calls = function.instructions.iter().filter(|i| i.code == 0x85 && i.src_reg() == 1);
        assert_eq!(calls.count(), 0, "it calls no other function");
    }
}
