//! Which pid namespace are we in? The sampler sees ids of the initial one, `/proc` shows ours.

use std::os::unix::fs::MetadataExt;

/// Our pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidNamespace {
    /// The initial one: ids are what the kernel says.
    Initial,
    /// One within it, identified by its file.
    Nested {
        /// Device of the file.
        device: u64,
        /// Inode of the file.
        inode: u64,
    },
}

/// PROC_PID_INIT_INO (include/linux/proc_ns.h).
const INITIAL: u64 = 0xeffffffc;

impl PidNamespace {
    /// Asks; where that is not possible it is taken for the initial one.
    pub fn detect() -> Self {
        match std::fs::metadata("/proc/self/ns/pid") {
            Ok(file) if file.ino() != INITIAL => Self::Nested { device: file.dev(), inode: file.ino() },
            _ => Self::Initial,
        }
    }

    /// Tells whether ids have to be translated.
    pub fn is_nested(self) -> bool {
        self != Self::Initial
    }

    /// Tells whether the `/proc` that is mounted shows the ids of our namespace.
    pub fn proc_is_ours() -> bool {
        let shown = std::fs::read_link("/proc/self").ok();
        shown.and_then(|link| link.to_str()?.parse::<u32>().ok()) == Some(std::process::id())
    }
}
