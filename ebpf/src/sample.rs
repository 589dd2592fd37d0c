//! Reading a record out of a ring: bytes in, values out.

use crate::{KERNEL_FRAMES_MAX, LEAF_AT, LEAF_WORDS, STACK_BYTES_MAX, Sample, USER_FRAMES_MAX};
#[cfg(test)]
use std::mem::offset_of;

/// Why bytes are not a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASample {
    /// Shorter than the fixed part.
    #[error("{0} bytes are fewer than a sample's fixed part of {size}", size = size_of::<Sample>())]
    TooShort(usize),
    /// A copy of the stack that is not there, or larger than the sampler makes.
    #[error("a copy of {0} bytes of stack does not fit the record")]
    NoStack(u32),
    /// More frames than the sampler writes, or fewer bytes than the frames need.
    #[error("{kernel} kernel and {user} user frames do not fit {bytes} bytes")]
    BadLength {
        /// Kernel frames that the record claims.
        kernel: u16,
        /// User frames that the record claims.
        user: u16,
        /// Bytes of the whole record.
        bytes: usize,
    },
}

/// A sample and its addresses, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The fixed part.
    pub head: Sample,
    kernel: &'a [u8],
    user: &'a [u8],
    leaf: &'a [u8],
    stack: &'a [u8],
}

impl<'a> Record<'a> {
    /// Registers of the innermost frame by DWARF number, where there is a copy of the stack; else zeros.
    pub fn leaf(&self) -> [u64; LEAF_WORDS] {
        let mut words = addresses(self.leaf);
        std::array::from_fn(|_| words.next().unwrap_or(0))
    }

    /// The copy of the stack from `head.stack_start` on, where there is one.
    pub fn stack(&self) -> Option<&'a [u8]> {
        (!self.stack.is_empty()).then_some(self.stack)
    }

    /// Reads one record. Bytes after the last address are ignored: rings pad.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotASample> {
        let (fixed, rest) =
            bytes.split_first_chunk::<{ size_of::<Sample>() }>().ok_or(NotASample::TooShort(bytes.len()))?;
        let head = Sample::from_bytes(fixed);
        let (kernel, user) = (usize::from(head.kernel_frames), usize::from(head.user_frames));
        let fits =
            kernel <= KERNEL_FRAMES_MAX && user <= USER_FRAMES_MAX && (kernel + user) * 8 <= rest.len();
        if !fits {
            return Err(NotASample::BadLength {
                kernel: head.kernel_frames,
                user: head.user_frames,
                bytes: bytes.len(),
            });
        }
        let (kernel, rest) = rest.split_at(kernel * 8);
        let no_stack = NotASample::NoStack(head.stack_bytes);
        let (leaf, stack) = match usize::try_from(head.stack_bytes) {
            Ok(0) => (&[][..], &[][..]),
            Ok(length @ ..=STACK_BYTES_MAX) => {
                let end = LEAF_AT + 8 * LEAF_WORDS + length;
                bytes.get(LEAF_AT..end).ok_or(no_stack)?.split_at(8 * LEAF_WORDS)
            }
            _ => return Err(no_stack),
        };
        Ok(Self { head, kernel, user: &rest[..user * 8], leaf, stack })
    }

    /// Addresses in the kernel, leaf first; all but the first are return addresses.
    pub fn kernel_frames(&self) -> impl ExactSizeIterator<Item = u64> + 'a {
        addresses(self.kernel)
    }

    /// Addresses in the process, leaf first; all but the first are return addresses.
    pub fn user_frames(&self) -> impl ExactSizeIterator<Item = u64> + 'a {
        addresses(self.user)
    }
}

fn addresses(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> + '_ {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kernel: u16, user: u16, addresses: usize) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Sample>() + addresses * 8];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Sample, pid), &42u32.to_ne_bytes());
        put(offset_of!(Sample, kernel_frames), &kernel.to_ne_bytes());
        put(offset_of!(Sample, user_frames), &user.to_ne_bytes());
        for i in 0..addresses {
            put(size_of::<Sample>() + i * 8, &(i as u64 + 1).to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn reads_kernel_and_user_addresses_in_order() {
        let bytes = record(2, 1, 3);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.head.pid, 42);
        assert_eq!(record.kernel_frames().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(record.user_frames().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn ignores_padding_after_the_addresses() {
        let bytes = record(1, 1, 4);
        assert_eq!(Record::parse(&bytes).unwrap().user_frames().len(), 1);
    }

    #[test]
    fn refuses_a_record_that_claims_more_than_it_has() {
        assert!(matches!(Record::parse(&record(2, 2, 3)), Err(NotASample::BadLength { .. })));
        assert!(matches!(Record::parse(&record(128, 0, 128)), Err(NotASample::BadLength { .. })));
        assert_eq!(Record::parse(&[0; 8]).unwrap_err(), NotASample::TooShort(8));
    }
}
