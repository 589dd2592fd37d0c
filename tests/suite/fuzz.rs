//! Every parser on damaged input: a line each. It may refuse, it must not panic.

use stacksonde_tests::{fuzz, profile};

/// `test: function of bytes, corpus of sound inputs;`
macro_rules! parsers {
    ($($test:ident: $target:path, $corpus:expr;)+) => {$(
        #[test]
        fn $test() {
            fuzz::run(stringify!($test), &$corpus, $target);
        }
    )+};
}

parsers! {
    a_damaged_batch_is_refused_or_read: stacksonde_batch::fuzz::fuzz_batch, batches();
    any_batch_that_is_read_can_be_written_to_files: stacksonde_file_export::fuzz::fuzz_formats, batches();
    damaged_maps_are_read_as_far_as_they_make_sense: stacksonde::fuzz::fuzz_maps, [file("/proc/self/maps")];
    a_damaged_elf_file_is_refused_or_read: stacksonde::fuzz::fuzz_elf, [head_of_our_own_program()];
    a_damaged_sample_is_refused_or_read: stacksonde::fuzz::fuzz_sample, [sample()];
    a_damaged_notice_is_refused_or_read: stacksonde::fuzz::fuzz_notice, [mapping_notice()];
}

fn batches() -> [Vec<u8>; 2] {
    [profile::batch(1), profile::empty_batch()]
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Headers and notes lie in the first pages.
fn head_of_our_own_program() -> Vec<u8> {
    let mut bytes = file("/proc/self/exe");
    bytes.truncate(8192);
    bytes
}

/// A sample of two kernel and three user frames.
fn sample() -> Vec<u8> {
    let mut bytes = vec![0; size_of::<stacksonde_ebpf::Sample>() + 5 * 8];
    bytes[std::mem::offset_of!(stacksonde_ebpf::Sample, kernel_frames)] = 2;
    bytes[std::mem::offset_of!(stacksonde_ebpf::Sample, user_frames)] = 3;
    bytes
}

/// PERF_RECORD_MMAP2 with a build id.
fn mapping_notice() -> Vec<u8> {
    let mut bytes = [10u32.to_ne_bytes(), (1u32 << 14).to_ne_bytes()].concat();
    bytes.extend([1u8; 8]);
    bytes.extend([0x1000u64, 0x1000, 0].iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend([20; 24]);
    bytes.extend([0; 8]);
    bytes.extend(b"/usr/bin/true\0\0\0");
    bytes.extend([0; 16]);
    bytes
}
