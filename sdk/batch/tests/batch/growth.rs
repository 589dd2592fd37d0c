//! A batch of a later minor version: longer rows, longer front and directory, tables unknown to us.

use crate::content::{Content, any_content};
use proptest::prelude::*;
use stacksonde_batch::{Batch, ReadError};

// Where the numbers of the front and of a directory entry lie; the layout is frozen, so are these.
const FRONT_BYTES: usize = 12;
const TOTAL_BYTES: usize = 16;
const DIRECTORY_OFFSET: usize = 88;
const DIRECTORY_COUNT: usize = 96;
const DIRECTORY_STRIDE: usize = 100;
const FRONT_END: usize = 104;
const ENTRY: usize = 24;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    bytes[at..at + value.as_ref().len()].copy_from_slice(value.as_ref());
}

/// Lays `batch` out anew with `more` bytes after each row, after each directory entry and after the
/// front, and with a table that nobody knows. Strings' bytes keep their stride.
fn grown(batch: &[u8], more: usize) -> Vec<u8> {
    let count = u32_at(batch, DIRECTORY_COUNT);
    let start = u64_at(batch, DIRECTORY_OFFSET) as usize;
    let mut out = batch[..FRONT_END].to_vec();
    out.resize(FRONT_END + more, 0xAA);
    let directory = out.len();
    out.resize(directory + (count as usize + 1) * (ENTRY + more), 0xBB);
    for index in 0..=count as usize {
        let entry = directory + index * (ENTRY + more);
        let offset = out.len() as u64;
        if index == count as usize {
            put(&mut out, entry, 4_000_000_000_u32.to_le_bytes());
            put(&mut out, entry + 4, 1_u32.to_le_bytes());
            put(&mut out, entry + 8, 3_u32.to_le_bytes());
            out.extend([1, 2, 3]);
        } else {
            let from = start + index * ENTRY;
            let (id, stride) = (u32_at(batch, from), u32_at(batch, from + 4));
            let more = if id == 16 { 0 } else { more };
            put(&mut out, entry, &batch[from..from + ENTRY]);
            put(&mut out, entry + 4, (stride + more as u32).to_le_bytes());
            let rows = u64_at(batch, from + 16) as usize;
            for row in 0..u32_at(batch, from + 8) as usize {
                out.extend(&batch[rows + row * stride as usize..][..stride as usize]);
                out.extend(std::iter::repeat_n(0xCC, more));
            }
        }
        put(&mut out, entry + 16, offset.to_le_bytes());
    }
    let total = out.len() as u64;
    put(&mut out, FRONT_BYTES, ((FRONT_END + more) as u32).to_le_bytes());
    put(&mut out, TOTAL_BYTES, total.to_le_bytes());
    put(&mut out, DIRECTORY_OFFSET, (directory as u64).to_le_bytes());
    put(&mut out, DIRECTORY_COUNT, (count + 1).to_le_bytes());
    put(&mut out, DIRECTORY_STRIDE, ((ENTRY + more) as u32).to_le_bytes());
    out
}

proptest! {
    #[test]
    fn a_batch_of_a_later_writer_is_read_as_far_as_it_is_known(content in any_content(), more in 0_usize..20) {
        let bytes = content.write();
        let later = grown(&bytes, more);
        prop_assert_eq!(Content::read(&later), Content::read(&bytes));
        let (batch, later) = (Batch::parse(&bytes).unwrap(), Batch::parse(&later).unwrap());
        for function in batch.functions() {
            prop_assert_eq!(later.text(function.name), batch.text(function.name));
        }
    }
}

#[test]
fn a_table_that_a_writer_leaves_out_is_empty() {
    let mut bytes = Content::default().write();
    let id = u64_at(&bytes, DIRECTORY_OFFSET) as usize;
    put(&mut bytes, id, 77_u32.to_le_bytes());
    assert!(Batch::parse(&bytes).unwrap().value_types().is_empty());
}

#[test]
fn rows_shorter_than_those_of_the_first_version_are_refused() {
    let mut bytes = Content::default().write();
    let stride = u64_at(&bytes, DIRECTORY_OFFSET) as usize + ENTRY + 4;
    put(&mut bytes, stride, 20_u32.to_le_bytes());
    assert_eq!(Batch::parse(&bytes).unwrap_err(), ReadError::Stride { id: 2, stride: 20, least: 24 });
}

#[test]
fn another_format_is_refused_with_its_number() {
    let mut bytes = Content::default().write();
    put(&mut bytes, 8, 2_u32.to_le_bytes());
    assert_eq!(Batch::parse(&bytes).unwrap_err(), ReadError::Format(2));
}
