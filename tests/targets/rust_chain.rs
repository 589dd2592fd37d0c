//! A Rust program built with frame pointers that spends its time in one known place.
//!
//! Expected user stack, root first (above it the standard library and libc, which keep frame pointers or not):
//!
//!   rust_chain::main;rust_chain::outer;rust_chain::middle;rust_chain::inner
//!
//! Runs until it is killed.

use std::hint::black_box;

#[inline(never)]
fn inner(turns: u64) -> u64 {
    let mut sum = 0u64;
    for turn in 0..turns {
        sum = black_box(sum.wrapping_add(turn * turn));
    }
    sum
}

#[inline(never)]
fn middle(turns: u64) -> u64 {
    black_box(inner(black_box(turns))).wrapping_add(1)
}

#[inline(never)]
fn outer(turns: u64) -> u64 {
    black_box(middle(black_box(turns))).wrapping_add(1)
}

fn main() {
    loop {
        black_box(outer(black_box(5_000_000)));
    }
}
