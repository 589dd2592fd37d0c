//! Division of `memory.max`.
//!
//! The numbers are those of the default, in MiB of 72; another budget is divided in the same proportions. The
//! tables that the sampler reads are BPF maps and are mapped by the agent, so they count on both sides.
//!
//! ```text
//! BPF maps            32   unwind rows 8, their index 0.25, rules 0.5, those found lately 0.25, mappings 2,
//!                          processes 0.125, rings of samples 4 at most (1 a CPU at most), scratch of each
//!                          CPU, filter; the rest is room
//! agent, resident     40   those tables 11 and rings 8 at most (each page of a ring is mapped twice), programs and
//!                          libraries 10, kernel functions 6, one profile 4, names 3, debug information of one file
//!                          4 while it is read
//! top, beside that     8   what it shows
//! ```

use super::{Config, Memory};

/// The default of `memory.max`, in MiB, of which everything is a share.
const WHOLE: u64 = 72;
/// The smallest ring that any kernel takes is a page, and those of arm64 may have 64 KiB.
const RING_LEAST: u64 = 64 << 10;
const SIDEBAND_LEAST: u64 = 16 << 10;

/// The memory that each consumer may take: the key's own value, where it is not 0, else its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// `memory.ring_bytes`
    pub ring_bytes: u32,
    /// `memory.sideband_bytes`
    pub sideband_bytes: u32,
    /// `memory.max_processes`
    pub max_processes: u32,
    /// `memory.max_mappings`
    pub max_mappings: u32,
    /// `memory.max_executables`
    pub max_executables: u32,
    /// `memory.unwind_rows_bytes`
    pub unwind_rows_bytes: u32,
    /// `memory.recent_rules_bytes`
    pub recent_rules_bytes: u32,
    /// `memory.max_stacks`
    pub max_stacks: u32,
    /// `symbolize.max_cached`
    pub max_cached: u32,
    /// Bytes of the profile that is being made.
    pub profile_bytes: u64,
    /// Bytes of names of addresses.
    pub names_bytes: u64,
    /// Bytes of the kernel's functions.
    pub kernel_names_bytes: u64,
    /// Bytes of one file's debug information, while it is looked at.
    pub debug_bytes: u64,
    /// Bytes of what `top` shows; beside what an agent takes that shows nothing.
    pub view_bytes: u64,
}

impl Memory {
    /// BPF maps may take so many bytes in all.
    pub fn map_bytes(&self) -> u64 {
        self.share(32, 1)
    }

    /// The agent may have so many bytes resident at its peak.
    pub fn resident_bytes(&self) -> u64 {
        self.share(40, 1)
    }

    /// `numerator / denominator` MiB of the default.
    fn share(&self, numerator: u64, denominator: u64) -> u64 {
        let bytes = u128::from(self.max) * u128::from(numerator) / u128::from(WHOLE * denominator);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Config {
    /// Divides `memory.max` on a machine with so many CPUs.
    pub fn shares(&self, cpus: usize) -> Shares {
        let memory = &self.memory;
        let cpus = cpus.max(1) as u64;
        let own = |value: u32, share: u64| match value {
            0 => u32::try_from(share).unwrap_or(u32::MAX).max(1),
            value => value,
        };
        // Of each CPU; a power of two, rounded down.
        let ring = |value: u32, all: u64, least: u64, most: u64| {
            // The kernel takes no ring of more pages than this.
            let each = (all / cpus).clamp(least, most.max(least)).min(1 << 30);
            own(value, 1 << each.ilog2())
        };
        // So many of something where the default has `count`.
        let many = |count: u64| self.memory.share(count, 1) >> 20;
        Shares {
            ring_bytes: ring(memory.ring_bytes, memory.share(4, 1), RING_LEAST, memory.share(1, 1)),
            sideband_bytes: ring(
                memory.sideband_bytes,
                memory.share(1, 1),
                SIDEBAND_LEAST,
                memory.share(1, 8),
            ),
            max_processes: own(memory.max_processes, many(4096)),
            max_mappings: own(memory.max_mappings, many(65_536)),
            max_executables: own(memory.max_executables, many(4096)),
            unwind_rows_bytes: own(memory.unwind_rows_bytes, memory.share(8, 1)),
            recent_rules_bytes: own(memory.recent_rules_bytes, memory.share(1, 4)),
            max_stacks: own(memory.max_stacks, many(65_536)),
            max_cached: own(self.symbolize.max_cached, many(65_536)),
            profile_bytes: memory.share(4, 1),
            names_bytes: memory.share(3, 1),
            kernel_names_bytes: memory.share(6, 1),
            debug_bytes: memory.share(4, 1),
            view_bytes: memory.share(8, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(max_mib: u64) -> Config {
        Config { memory: Memory { max: max_mib << 20, ..Memory::default() }, ..Config::default() }
    }

    #[test]
    fn the_default_is_what_the_file_says() {
        let config = config(WHOLE);
        assert_eq!(config, Config::default());
        assert_eq!((config.memory.map_bytes(), config.memory.resident_bytes()), (32 << 20, 40 << 20));
        let shares = config.shares(2);
        assert_eq!(
            (shares.ring_bytes, shares.sideband_bytes, shares.unwind_rows_bytes),
            (1 << 20, 1 << 17, 8 << 20)
        );
        assert_eq!((shares.max_processes, shares.max_mappings, shares.max_stacks), (4096, 65_536, 65_536));
    }

    #[test]
    fn rings_of_many_cpus_are_smaller_and_fit_all_together() {
        let shares = config(WHOLE).shares(32);
        assert_eq!((shares.ring_bytes, shares.sideband_bytes), (1 << 17, 1 << 15));
        assert_eq!(config(WHOLE).shares(1000).ring_bytes, 64 << 10);
    }

    #[test]
    fn another_budget_is_divided_alike_and_a_key_of_its_own_wins() {
        let mut config = config(2 * WHOLE);
        assert_eq!(config.shares(2).unwind_rows_bytes, 16 << 20);
        assert_eq!(config.shares(2).max_processes, 8192);
        config.memory.max_processes = 7;
        assert_eq!(config.shares(2).max_processes, 7);
    }
}
