//! Memory that user space and the kernel share: the words of a memory-mapped BPF array.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

/// Words that the sampler reads while we write them, so each is atomic; or words of our own, where
/// there is no sampler.
#[derive(Debug)]
pub struct SharedWords {
    start: *const AtomicU64,
    words: usize,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    /// Length of the mapping in bytes.
    Mapped(usize),
    /// Keeps what `start` points at.
    Ours { _words: Box<[AtomicU64]> },
}

// SAFETY: the memory is reached through shared references to atomics only, and lives as long as this value.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the values of a BPF array made with `BPF_F_MMAPABLE`, `words` in all.
    pub(super) fn map(array: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        let bytes = words * size_of::<AtomicU64>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; nothing of ours is there.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, array.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast_const().cast(), words, memory: Memory::Mapped(bytes) })
    }

    /// Words that no kernel reads.
    pub fn ours(words: usize) -> Self {
        let memory: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { start: memory.as_ptr(), words, memory: Memory::Ours { _words: memory } }
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start` points at `words` aligned words (a page, or a boxed slice) that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        if let Memory::Mapped(bytes) = self.memory {
            // SAFETY: our own mapping, of which no reference outlives `self`.
            unsafe { libc::munmap(self.start.cast_mut().cast(), bytes) };
        }
    }
}
