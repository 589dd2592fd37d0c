//! A seeded mutator for parsers, on stable Rust.
//!
//! A target is a plain function of bytes that must not panic. It is called with mutations of its
//! corpus: sound inputs, from which most mutations get past the first checks. A run is repeatable: the
//! same seed makes the same inputs.
//!
//! ```text
//! STACKSONDE_FUZZ_SEED        a number; 1 by default
//! STACKSONDE_FUZZ_ITERATIONS  inputs per target; 3000 by default
//! STACKSONDE_FUZZ_SECONDS     go on for so long instead
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Calls `target` with each input of `corpus`, then with mutations of them.
///
/// # Panics
///
/// With the panic of `target`, after the input that caused it was written to a file and named.
pub fn run(name: &str, corpus: &[Vec<u8>], target: fn(&[u8])) {
    let seed = setting("STACKSONDE_FUZZ_SEED").unwrap_or(1);
    let limit = match setting("STACKSONDE_FUZZ_SECONDS") {
        Some(seconds) => Limit::Until(Instant::now() + Duration::from_secs(seconds)),
        None => Limit::Iterations(setting("STACKSONDE_FUZZ_ITERATIONS").unwrap_or(3000)),
    };
    for input in corpus {
        call(name, input, target);
    }
    let mut random = Random::new(seed);
    let mut input = Vec::new();
    let mut iteration = 0;
    while limit.allows(iteration) {
        input.clear();
        input.extend_from_slice(&corpus[random.below(corpus.len())]);
        for _ in 0..=random.below(4) {
            mutate(&mut input, corpus, &mut random);
        }
        call(name, &input, target);
        iteration += 1;
    }
}

fn call(name: &str, input: &[u8], target: fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let path: PathBuf = std::env::temp_dir().join(format!("stacksonde-fuzz-{name}.bin"));
        std::fs::write(&path, input).unwrap();
        eprintln!("{name} panicked on the {} bytes in {}", input.len(), path.display());
        resume_unwind(panic);
    }
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

enum Limit {
    Iterations(u64),
    Until(Instant),
}

impl Limit {
    fn allows(&self, iteration: u64) -> bool {
        match self {
            Self::Iterations(iterations) => iteration < *iterations,
            Self::Until(end) => Instant::now() < *end,
        }
    }
}

/// Numbers at which bounds checks go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    7,
    0x7F,
    0xFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0xFFFF_FFFF_FFFF_FFFF,
];

/// Changes `input` once: a bit, a byte, a number, its length, a part taken from elsewhere.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        input.extend_from_slice(&random.next().to_le_bytes());
        return;
    }
    let at = random.below(input.len());
    match random.below(9) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.next().to_le_bytes()[0],
        2 => input[at] = input[at].wrapping_add(1),
        3 => input[at] = input[at].wrapping_sub(1),
        4 => {
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(input.len() - at);
            input[at..at + width].copy_from_slice(&edge[..width]);
        }
        5 => input.truncate(at),
        6 => {
            let end = at + random.below((input.len() - at).min(64));
            input.drain(at..end);
        }
        7 => {
            let end = at + random.below((input.len() - at).min(64));
            input.extend_from_within(at..end);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            let length = random.below(64).min(other.len() - from).min(input.len() - at);
            input[at..at + length].copy_from_slice(&other[from..from + length]);
        }
    }
}

/// Marsaglia's xorshift64: the same seed gives the same numbers.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        // The state must not be zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_panic_that_one_byte_away_from_the_corpus_causes() {
        let caught =
            catch_unwind(|| run("self-test", &[vec![1; 8]], |bytes| assert_ne!(bytes.get(3), Some(&0))));
        assert!(caught.is_err());
    }
}
