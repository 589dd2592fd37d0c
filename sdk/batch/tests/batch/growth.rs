//! A batch of a later minor version: longer rows, longer front and directory, tables unknown to us.

use crate::content::{Content, any_content};
use proptest::prelude::*;
use stacksonde_batch::grown::grown;
use stacksonde_batch::{Batch, ReadError};

// Where numbers of the front lie.
const DIRECTORY_OFFSET: usize = 88;
const ENTRY: usize = 24;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    bytes[at..at + value.as_ref().len()].copy_from_slice(value.as_ref());
}

proptest! {
    #[test]
    fn a_batch_of_a_later_writer_is_read_as_far_as_it_is_known(content in any_content(), more in 0_u16..20) {
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
