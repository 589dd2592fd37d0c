//! Which upstream versions carry which known bug.

use super::version::{Version, VersionRange};

/// Versions in which `copy_from_user_nofault` can dead-lock in an interrupt, up to the releases
/// that carry mainline commit d319f344561d ("mm: Fix copy_from_user_nofault()", 6.4). 5.19, 6.0
/// and 6.2 ended without it.
const PROBE_READ: [VersionRange; 2] =
    [VersionRange::new([5, 19, 0], [6, 1, 36]), VersionRange::new([6, 2, 0], [6, 3, 10])];

/// Tells whether upstream's kernel of this version can dead-lock when user memory is read in an interrupt
/// (`bpf_probe_read_user` in a perf event's program).
///
/// It speaks of upstream's source only: a vendor may have fixed it, which is for a safety check
/// to prove. Give it a version from [`super::KernelVersion::detect`], not from `uname -r`.
pub fn has_probe_read_bug(version: Version) -> bool {
    PROBE_READ.iter().any(|range| range.contains(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_versions_can_dead_lock_on_user_reads() {
        let table = [
            ([5, 10, 0], false),
            ([5, 18, 19], false),
            ([5, 19, 0], true),
            ([5, 19, 17], true),
            ([6, 0, 0], true),
            ([6, 0, 19], true),
            ([6, 1, 0], true),
            ([6, 1, 35], true),
            ([6, 1, 36], false),
            ([6, 1, 192], false),
            ([6, 2, 0], true),
            ([6, 2, 16], true),
            ([6, 3, 0], true),
            ([6, 3, 9], true),
            ([6, 3, 10], false),
            ([6, 4, 0], false),
            ([6, 18, 44], false),
        ];
        for (version, buggy) in table {
            assert_eq!(has_probe_read_bug(Version(version)), buggy, "{version:?}");
        }
    }
}
