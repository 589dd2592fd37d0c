//! Reading a batch of any bytes allocates nothing, and putting batches together no more than a small multiple.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use proptest::prelude::*;
use stacksonde_batch::grown::grown;
use stacksonde_batch::tables::{Frame, Function, Line, Location, NONE, Process, Sample, Stack, Thread};
use stacksonde_batch::{Batch, Header, Writer, fuzz, merge};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread holds.
struct Counting;

fn count(bytes: i64) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `body` held at once, in bytes, beyond what was there before.
fn peak_of<R>(body: impl FnOnce() -> R) -> u64 {
    let before = LIVE.get();
    PEAK.set(before);
    drop(body());
    (PEAK.get() - before).unsigned_abs()
}

/// Many stacks of some frames.
fn batch(stacks: u32) -> Vec<u8> {
    let mut w = Writer::new(Header::default());
    let comm = w.string("many");
    let process = w.process(Process { pid: 1, comm, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 1, comm });
    for number in 0..stacks {
        let name = w.string(&format!("function_{number}"));
        let function = w.function(Function { name, ..Function::default() });
        let lines_start = w.line(Line { function, ..Line::default() });
        let address = number.into();
        let location = w.location(Location { mapping: NONE, address, lines_start, lines_count: 1, kind: 0 });
        let frames_start = w.frame(Frame { location });
        (1..30).for_each(|depth| _ = w.frame(Frame { location: location.saturating_sub(depth) }));
        let stack = w.stack(Stack { frames_start, frames_count: 30, complete: 1, ..Stack::default() });
        w.sample(Sample { thread, stack, count: 1, ..Sample::default() });
    }
    w.finish().unwrap()
}

#[test]
fn the_allocator_counts() {
    assert!(peak_of(|| vec![0_u8; 1 << 20]) >= 1 << 20);
}

#[test]
fn reading_a_large_batch_allocates_nothing() {
    let bytes = batch(8000);
    assert!(bytes.len() > 1_000_000);
    assert_eq!(peak_of(|| fuzz::fuzz_batch(&bytes)), 0);
    let later = grown(&bytes, 9);
    assert_eq!(peak_of(|| fuzz::fuzz_batch(&later)), 0);
}

#[test]
fn putting_batches_together_allocates_a_small_multiple() {
    let bytes = batch(4000);
    let batch = Batch::parse(&bytes).unwrap();
    let peak = peak_of(|| merge(&[batch, batch]).unwrap());
    assert!(peak < 12 * bytes.len() as u64, "{peak} bytes for twice {}", bytes.len());
}

proptest! {
    #[test]
    fn reading_damaged_bytes_allocates_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = batch(3);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(peak_of(|| fuzz::fuzz_batch(&bytes)), 0);
    }
}
