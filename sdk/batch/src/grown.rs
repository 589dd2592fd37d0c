//! A batch as a later minor version would write it, for tests of readers: longer rows, a longer front and
//! directory, and a table that nobody knows.

use crate::tables::STRING_BYTES;

// Where the numbers of the front and of a directory entry lie; the layout is frozen, so are these.
const FRONT_BYTES: usize = 12;
const TOTAL_BYTES: usize = 16;
const DIRECTORY_OFFSET: usize = 88;
const DIRECTORY_COUNT: usize = 96;
const DIRECTORY_STRIDE: usize = 100;
const FRONT_END: usize = 104;
const ENTRY: usize = 24;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |it| u64::from_le_bytes(*it));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    bytes[at..at + value.as_ref().len()].copy_from_slice(value.as_ref());
}

/// Lays `batch`, as [`Writer`](crate::Writer) makes it, out again with `more` bytes after each row, after each
/// directory entry and after the front, and with a table that nobody knows. Strings' bytes keep their stride.
///
/// # Panics
///
/// If `batch` is something else.
pub fn grown(batch: &[u8], more: u16) -> Vec<u8> {
    let extra = usize::from(more);
    let count = u32_at(batch, DIRECTORY_COUNT) as usize;
    let start = usize_at(batch, DIRECTORY_OFFSET);
    let mut out = batch[..FRONT_END].to_vec();
    out.resize(FRONT_END + extra, 0xAA);
    let directory = out.len();
    out.resize(directory + (count + 1) * (ENTRY + extra), 0xBB);
    for index in 0..=count {
        let entry = directory + index * (ENTRY + extra);
        let offset = out.len() as u64;
        if index == count {
            put(&mut out, entry, 4_000_000_000_u32.to_le_bytes());
            put(&mut out, entry + 4, 1_u32.to_le_bytes());
            put(&mut out, entry + 8, 3_u32.to_le_bytes());
            out.extend([1, 2, 3]);
        } else {
            let from = start + index * ENTRY;
            let (id, stride) = (u32_at(batch, from), u32_at(batch, from + 4));
            let more = if id == STRING_BYTES { 0 } else { more };
            put(&mut out, entry, &batch[from..from + ENTRY]);
            put(&mut out, entry + 4, (stride + u32::from(more)).to_le_bytes());
            let rows = usize_at(batch, from + 16);
            for row in 0..u32_at(batch, from + 8) as usize {
                out.extend(&batch[rows + row * stride as usize..][..stride as usize]);
                out.extend(std::iter::repeat_n(0xCC, more.into()));
            }
        }
        put(&mut out, entry + 16, offset.to_le_bytes());
    }
    let total = out.len() as u64;
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    put(&mut out, FRONT_BYTES, word(FRONT_END + extra));
    put(&mut out, TOTAL_BYTES, total.to_le_bytes());
    put(&mut out, DIRECTORY_OFFSET, (directory as u64).to_le_bytes());
    put(&mut out, DIRECTORY_COUNT, word(count + 1));
    put(&mut out, DIRECTORY_STRIDE, word(ENTRY + extra));
    out
}
