//! The hash by which both sides find what is in shared tables.

use crate::tables::HASH_FACTOR;

/// A thread's name as two words, as the sampler reads it.
pub fn name_words(comm: &[u8; 16]) -> [u64; 2] {
    [0, 1].map(|word| u64::from_ne_bytes(comm.as_chunks::<8>().0[word]))
}

/// A hash of two words: `pair_hash` of `bpf/hash.h`.
pub fn pair_hash(first: u64, second: u64) -> u32 {
    let hash = first ^ second.wrapping_mul(HASH_FACTOR);
    ((hash ^ (hash >> 32)).wrapping_mul(HASH_FACTOR) >> 32) as u32
}
