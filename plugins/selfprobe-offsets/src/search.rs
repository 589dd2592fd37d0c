//! Finding candidates in copied kernel memory: bytes in, offsets out.

/// Every kernel's page size is a multiple of this, and every kernel stack begins at a page.
const PAGE_BYTES: u64 = 4096;

/// A word of a task that may be the base of its kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its offset from the start of the task, in bytes.
    pub(crate) offset: u64,
    /// The address that it holds.
    pub(crate) base: u64,
}

/// Words of `task` that may point to its kernel stack, given another task's bytes.
///
/// A kernel stack begins at a page, in the upper half of the address space, and no two tasks
/// share one: a pointer that both tasks hold at the same offset is something else.
pub(crate) fn candidates(task: &[u8], other: &[u8]) -> Vec<Candidate> {
    let words = |bytes| <[u8]>::as_chunks::<8>(bytes).0.iter().map(|word| u64::from_ne_bytes(*word));
    words(task)
        .zip(words(other))
        .zip((0..).step_by(8))
        .filter(|((mine, theirs), _)| may_be_stack(*mine) && may_be_stack(*theirs) && mine != theirs)
        .map(|((base, _), offset)| Candidate { offset, base })
        .collect()
}

fn may_be_stack(address: u64) -> bool {
    // x86-64 and arm64 put the kernel into the upper half; the last page holds error pointers.
    address % PAGE_BYTES == 0 && address >> 63 == 1 && address < u64::MAX - PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn keeps_page_aligned_kernel_pointers_that_differ_between_tasks() {
        let mine = task(&[0, 0xffff_c900_0010_0000, 0xffff_8880_1234_5678, 0xffff_8880_0000_1000, 0x7000]);
        let other = task(&[0, 0xffff_c900_0020_0000, 0xffff_8880_1234_0000, 0xffff_8880_0000_1000, 0x8000]);
        assert_eq!(candidates(&mine, &other), [Candidate { offset: 8, base: 0xffff_c900_0010_0000 }]);
    }

    #[test]
    fn ignores_error_pointers() {
        assert_eq!(candidates(&task(&[u64::MAX - 4095]), &task(&[0xffff_8880_0000_1000])), []);
    }

    #[test]
    fn compares_only_what_both_copies_hold() {
        let mine = task(&[0xffff_c900_0010_0000, 0xffff_c900_0010_0000]);
        let other = task(&[0xffff_c900_0020_0000]);
        assert_eq!(candidates(&mine, &other[..7]), []);
        assert_eq!(candidates(&mine, &other).len(), 1);
        assert_eq!(candidates(&[], &[]), []);
    }
}
