use crate::content::{Content, any_content};
use proptest::prelude::*;
use stacksonde_batch::tables::{Frame, Location, Stack};
use stacksonde_batch::{Batch, Header, NONE, StringId, Writer};

proptest! {
    #[test]
    fn every_row_and_text_is_read_as_it_was_written(content in any_content()) {
        let bytes = content.write();
        let batch = Batch::parse(&bytes).unwrap();
        for (id, text) in (0..).zip(&content.texts) {
            prop_assert_eq!(batch.text(StringId(id)), text);
        }
        let read = Content { texts: content.texts.clone(), ..Content::read(&bytes) };
        prop_assert_eq!(read, content);
    }
}

#[test]
fn an_empty_batch_is_a_batch() {
    let header = Header { sequence: 3, start_ns: 5, end_ns: 9, ..Header::default() };
    let bytes = Writer::new(header).finish().unwrap();
    let batch = Batch::parse(&bytes).unwrap();
    assert_eq!(*batch.header(), header);
    assert!(batch.samples().is_empty());
    assert_eq!(batch.text(StringId(0)), "");
}

#[test]
fn equal_texts_are_stored_once() {
    let mut writer = Writer::new(Header::default());
    assert_eq!(writer.string(""), StringId(0));
    let once = writer.string("main");
    assert_eq!(writer.string("main"), once);
    assert_ne!(writer.string("mäin"), once);
}

#[test]
fn a_stack_is_read_from_either_end() {
    let mut writer = Writer::new(Header::default());
    for address in [10, 20, 30, 40] {
        let location = writer.location(Location { address, mapping: NONE, ..Location::default() });
        writer.frame(Frame { location });
    }
    writer.stack(Stack { frames_start: 1, frames_count: 3, ..Stack::default() });
    let bytes = writer.finish().unwrap();
    let batch = Batch::parse(&bytes).unwrap();
    let stack = batch.stacks().get(0).unwrap();
    let frames = batch.frames().range(stack.frames_start, stack.frames_count);
    let address = |frame: Frame| batch.locations().get(frame.location).unwrap().address;
    assert_eq!(frames.len(), 3);
    assert_eq!(frames.clone().map(address).collect::<Vec<_>>(), [20, 30, 40]);
    assert_eq!(frames.rev().map(address).collect::<Vec<_>>(), [40, 30, 20]);
}

#[test]
fn what_is_not_there_is_none_or_empty() {
    let bytes = Writer::new(Header::default()).finish().unwrap();
    let batch = Batch::parse(&bytes).unwrap();
    assert_eq!(batch.mappings().get(NONE), None);
    assert_eq!(batch.frames().range(7, NONE).count(), 0);
    assert_eq!(batch.text(StringId(99)), "");
}

#[test]
fn times_are_moved_to_the_wall_clock() {
    let header = Header { unix_minus_monotonic_ns: 1_000, ..Header::default() };
    assert_eq!(header.unix_ns(5), 1_005);
    let header = Header { unix_minus_monotonic_ns: -10, ..Header::default() };
    assert_eq!(header.unix_ns(5), 0);
}
