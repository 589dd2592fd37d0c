//! The sampler's filter (`ebpf/bpf/filter.h`), compiled for user space and run on plain memory.

use stacksonde::filter::Slots;
use stacksonde_ebpf::tables::WORDS;
use std::sync::atomic::AtomicU64;

/// `struct filter_desk` of desk.c.
#[repr(C)]
struct Desk {
    table: *const AtomicU64,
    lines: u64,
    name: [u64; 2],
    cgroup: u64,
    touched: u64,
    names: u64,
    cgroups: u64,
}

unsafe extern "C" {
    fn filter_desk_is_excluded(task: *mut Desk, pid: u32, tid: u32) -> libc::c_int;
}

/// The sampler's decision on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) excluded: bool,
    /// Lines of the table that were touched.
    pub(super) lines: u64,
    /// True if the kernel was asked for the task's name.
    pub(super) asked_name: bool,
    /// True if the kernel was asked for the task's cgroup.
    pub(super) asked_cgroup: bool,
}

/// Asks about a task.
pub(super) fn ask(slots: &Slots, pid: u32, tid: u32, name: [u8; 16], cgroup: u64) -> Answer {
    let memory = slots.memory();
    let mut desk = Desk {
        table: memory.as_ptr(),
        lines: (memory.len() / WORDS) as u64,
        name: [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| name[at + i]))),
        cgroup,
        touched: 0,
        names: 0,
        cgroups: 0,
    };
    // SAFETY: the table is live memory of the stated length, and the C code checks every index.
    let excluded = unsafe { filter_desk_is_excluded(&raw mut desk, pid, tid) };
    Answer {
        excluded: excluded != 0,
        lines: desk.touched,
        asked_name: desk.names > 0,
        asked_cgroup: desk.cgroups > 0,
    }
}
