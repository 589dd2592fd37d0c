//! Finding candidates in copied kernel memory: bytes in, offsets out.

/// Every kernel's page size is a multiple of this, and every kernel stack begins at a page.
const PAGE_BYTES: u64 = 4096;

/// A word of a task that may be the base of its kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its offset from the start of the task, in bytes.
    pub(super) offset: u64,
    /// The address that it holds.
    pub(super) base: u64,
}

/// Words of `task` that may point to its kernel stack, given another task's bytes.
///
/// A kernel stack begins at a page, in the upper half of the address space, and no two tasks
/// share one: a pointer that both tasks hold at the same offset is something else.
pub(super) fn candidates(task: &[u8], other: &[u8]) -> Vec<Candidate> {
    words(task)
        .zip(words(other))
        .zip((0..).step_by(8))
        .filter(|((mine, theirs), _)| may_be_stack(*mine) && may_be_stack(*theirs) && mine != theirs)
        .map(|((base, _), offset)| Candidate { offset, base })
        .collect()
}

fn may_be_stack(address: u64) -> bool {
    address.is_multiple_of(PAGE_BYTES) && is_kernel_pointer(address)
}

/// Tells whether a word may point to a structure of the kernel's.
pub(super) fn is_kernel_pointer(address: u64) -> bool {
    // x86-64 and arm64 put the kernel into the upper half; the last page holds error pointers.
    address.is_multiple_of(8) && address >> 63 == 1 && address < u64::MAX - PAGE_BYTES
}

/// The words of a copy, in order.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word))
}

/// The word at an offset in bytes.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_ne_bytes(*word))
}

/// The half word at an offset in bytes.
pub(super) fn half(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|half| u32::from_ne_bytes(*half))
}

/// Offsets, multiples of 8, of the words that equal `value`.
pub(super) fn find_word(bytes: &[u8], value: u64) -> Vec<usize> {
    words(bytes).zip((0..).step_by(8)).filter(|(word, _)| *word == value).map(|(_, at)| at).collect()
}

/// Offsets, multiples of 4, of the half words that equal `value`.
pub(super) fn find_half(bytes: &[u8], value: u32) -> Vec<usize> {
    (0..bytes.len()).step_by(4).filter(|at| half(bytes, *at) == Some(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|word| word.to_ne_bytes()).collect()
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
    fn finds_aligned_words_and_half_words() {
        let bytes = task(&[7, 0x0000_0009_0000_0007, 9]);
        assert_eq!(find_word(&bytes, 7), [0]);
        assert_eq!((find_half(&bytes, 7), find_half(&bytes, 9)), (vec![0, 8], vec![12, 16]));
        assert_eq!((find_word(&bytes[..7], 7), find_half(&bytes[..3], 7)), (vec![], vec![]));
        assert_eq!((word(&bytes, 16), word(&bytes, 17), half(&bytes, 20)), (Some(9), None, Some(0)));
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
