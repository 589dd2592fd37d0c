//! The sampler's unwinder (`ebpf/bpf/unwind.h`), compiled for user space and run on plain memory.

use stacksonde::bpf::{Registers, StackCopy, TableMemory};
use stacksonde_ebpf::tables::{MAPPING_WORDS, WORDS};
use stacksonde_ebpf::{LEAF_WORDS, USER_FRAMES_MAX};
use std::sync::atomic::AtomicU64;

/// `struct desk` of desk.c.
#[repr(C)]
struct Desk {
    processes: *const AtomicU64,
    mappings: *const AtomicU64,
    pages: *const AtomicU64,
    rows: *const AtomicU64,
    recent: *const AtomicU64,
    rules: *const AtomicU64,
    process_lines: u32,
    mapping_count: u32,
    page_lines: u32,
    row_lines: u32,
    recent_lines: u32,
    rule_count: u32,
    stack: *const u8,
    stack_start: u64,
    stack_bytes: u64,
}

/// `struct walk` of unwind.h.
#[repr(C)]
struct Walk {
    pc: u64,
    sp: u64,
    fp: u64,
    bx: u64,
    lr: u64,
    region: u64,
    epoch: u32,
    recalled: u32,
    looked_up: u32,
    mistaken: u32,
    lowered: u32,
    leaf_wanting: u32,
    leaf_made: u32,
    window_start: u64,
    count: u32,
    exact: u8,
    leaf: [u64; LEAF_WORDS],
    window: [u64; 128],
}

unsafe extern "C" {
    fn desk_walk(memory: *const Desk, pid: u32, name: u32, walk: *mut Walk, frames: *mut u64) -> libc::c_int;
    fn desk_walk_bytes() -> u64;
    fn desk_name_mark(name: *const u64) -> u32;
}

/// The mark of a name as the sampler makes it.
pub(super) fn name_mark(comm: &[u8; 16]) -> u32 {
    let words = stacksonde_ebpf::name_words(comm);
    // SAFETY: two words, as declared.
    unsafe { desk_name_mark(words.as_ptr()) }
}

/// Walks the stack of a process under a name (0: not known); returns the outcome (a value of
/// [`stacksonde_ebpf::user_end`]), the frames, and the registers of the last one.
pub(super) fn walk(
    memory: &TableMemory,
    (pid, name): (u32, u32),
    from: &Registers,
    leaf: [u64; LEAF_WORDS],
    stack: &StackCopy,
) -> (u8, Vec<u64>, Registers) {
    // SAFETY: takes nothing.
    assert_eq!(unsafe { desk_walk_bytes() }, size_of::<Walk>() as u64, "unwind.h and this file differ");
    let count = |words: &[AtomicU64], each: usize| u32::try_from(words.len() / each).unwrap();
    let desk = Desk {
        processes: memory.processes.as_ptr(),
        mappings: memory.mappings.as_ptr(),
        pages: memory.pages.as_ptr(),
        rows: memory.rows.as_ptr(),
        recent: memory.recent.as_ptr(),
        rules: memory.rules.as_ptr(),
        process_lines: count(&memory.processes, WORDS),
        mapping_count: count(&memory.mappings, MAPPING_WORDS),
        page_lines: count(&memory.pages, WORDS),
        row_lines: count(&memory.rows, WORDS),
        recent_lines: count(&memory.recent, WORDS),
        rule_count: count(&memory.rules, 1),
        stack: stack.bytes.as_ptr(),
        stack_start: stack.start,
        stack_bytes: stack.bytes.len() as u64,
    };
    let mut walk = Walk {
        pc: from.pc,
        sp: from.sp,
        fp: from.fp,
        bx: from.bx,
        lr: from.lr,
        region: 0,
        epoch: 0,
        recalled: 0,
        looked_up: 0,
        mistaken: 0,
        lowered: 0,
        leaf_wanting: 0,
        leaf_made: 0,
        window_start: 0,
        count: 0,
        exact: from.exact.into(),
        leaf,
        window: [0; 128],
    };
    let mut frames = vec![0u64; USER_FRAMES_MAX];
    // SAFETY: all pointers are to live memory of the stated lengths; the C code checks every index.
    let end = unsafe { desk_walk(&raw const desk, pid, name, &raw mut walk, frames.as_mut_ptr()) };
    frames.truncate(walk.count as usize);
    let last =
        Registers { pc: walk.pc, sp: walk.sp, fp: walk.fp, bx: walk.bx, lr: walk.lr, exact: walk.exact != 0 };
    (u8::try_from(end).unwrap(), frames, last)
}
