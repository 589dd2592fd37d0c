use crate::content::any_content;
use proptest::prelude::*;
use stacksonde_batch::tables::{Frame, Function, Line, Location, Process, Sample, Stack, Thread};
use stacksonde_batch::{Batch, Header, NONE, ReadError, StringId, Writer, fuzz};

proptest! {
    #[test]
    fn any_part_of_a_batch_is_refused(content in any_content(), part in any::<prop::sample::Index>()) {
        let bytes = content.write();
        prop_assert!(Batch::parse(&bytes[..part.index(bytes.len())]).is_err());
        prop_assert!(Batch::parse(&bytes[1 + part.index(bytes.len())..]).is_err());
    }

    #[test]
    fn a_batch_with_changed_bytes_is_refused_or_read_without_fault(
        content in any_content(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = content.write();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz::fuzz_batch(&bytes);
    }

    #[test]
    fn a_batch_with_a_changed_front_or_directory_is_refused_or_read_without_fault(
        content in any_content(),
        changes in prop::collection::vec((0_usize..480, any::<u8>()), 1..4),
    ) {
        let mut bytes = content.write();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        fuzz::fuzz_batch(&bytes);
    }

    #[test]
    fn any_bytes_are_refused_without_fault(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Batch::parse(&bytes).is_err());
    }
}

/// The message of the error that the batch made by `write` is refused with.
fn refusal(write: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::new(Header::default());
    write(&mut writer);
    Batch::parse(&writer.finish().unwrap()).unwrap_err().to_string()
}

#[test]
fn an_index_without_a_row_is_refused_by_name() {
    let location = Location { mapping: NONE, ..Location::default() };
    assert_eq!(
        refusal(|w| _ = w.frame(Frame { location: 0 })),
        "row 0 of the batch's frames names location 0, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.location(Location { mapping: 5, ..location })),
        "row 0 of the batch's locations names mapping 5, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.location(Location { lines_start: NONE, lines_count: NONE, ..location })),
        "row 0 of the batch's locations names lines 8589934589, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.line(Line::default())),
        "row 0 of the batch's lines names function 0, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.thread(Thread::default())),
        "row 0 of the batch's threads names process 0, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.sample(Sample::default())),
        "row 0 of the batch's samples names thread 0, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.process(Process { labels_count: 1, ..Process::default() })),
        "row 0 of the batch's processes names labels 0, which is not there"
    );
    assert_eq!(
        refusal(|w| _ = w.function(Function { file: StringId(1), ..Function::default() })),
        "row 0 of the batch's functions names file 1, which is not there"
    );
}

#[test]
fn columns_that_contradict_each_other_are_refused() {
    assert_eq!(
        refusal(|w| _ = w.stack(Stack { kernel_frames: 1, ..Stack::default() })),
        "row 0 of the batch's stacks is contradictory: kernel frames are part of the frames"
    );
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let mut writer = Writer::new(Header::default());
    writer.string("plain");
    let mut bytes = writer.finish().unwrap();
    *bytes.last_mut().unwrap() = 0xFF;
    assert_eq!(Batch::parse(&bytes).unwrap_err(), ReadError::Utf8(4));
}

#[test]
fn a_string_that_cuts_a_character_is_refused() {
    let mut writer = Writer::new(Header::default());
    writer.string("ab");
    writer.string("cd");
    let mut bytes = writer.finish().unwrap();
    let end = bytes.len();
    // The text is sound, its pieces are not.
    bytes[end - 3..end - 1].copy_from_slice("é".as_bytes());
    assert_eq!(Batch::parse(&bytes).unwrap_err(), ReadError::Text(1));
}
