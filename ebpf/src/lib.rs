//! What runs in the kernel, compiled from `bpf/*.bpf.c`, and the layouts that it shares with user space.
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

pub mod raw;
pub mod sample;
pub mod selfprobe;

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

/// The programs that notice exec and exit, as an ELF object for this architecture.
#[cfg(target_arch = "x86_64")]
pub fn notices() -> &'static [u8] {
    object!("notices", "x86_64")
}

/// The programs that notice exec and exit, as an ELF object for this architecture.
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
