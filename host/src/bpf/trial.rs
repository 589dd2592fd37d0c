//! Tries one facility each, as the agent would use it, and leaves nothing behind.

use super::perf::Event;
use super::sideband::SideBand;
use aya_obj::generated::{bpf_insn, bpf_map_type::*, bpf_prog_type, bpf_prog_type::*};
use stacksonde_ebpf::raw::{create_map, load_program, run};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A feature of the kernel that can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// bpf(2) at all: creates the simplest map.
    Map,
    /// Loads a program of the type that perf events run.
    PerfEventProgram,
    /// Loads a program of the type raw tracepoint.
    RawTracepointProgram,
    /// Runs one on ourselves (BPF_PROG_TEST_RUN).
    RawTracepointRun,
    /// Loads a program of the type tracepoint.
    TracepointProgram,
    /// Loads a sampling program that asks for the cgroup.
    CgroupIdHelper,
    /// Loads a sampling program that asks for ids in a pid namespace.
    NamespaceIdsHelper,
    /// Loads a sampling program that reads kernel memory.
    KernelReadHelper,
    /// Creates a ring buffer.
    RingBuffer,
    /// Creates an array of ring buffers.
    ArrayOfMaps,
    /// Opens a CPU's software clock as a sampling event, switched off.
    CpuClock,
    /// Gives such an event another period.
    Period,
    /// Opens the process events of a CPU, switched off, with the smallest buffer.
    SideBand,
}

/// Tries it; the error is what the kernel answered.
pub fn attempt(trial: Trial, cpu: u32) -> io::Result<()> {
    let side_band = || SideBand::open(cpu, page_bytes()?).map(drop);
    match trial {
        Trial::Map => create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1, None).map(drop),
        Trial::PerfEventProgram => load(BPF_PROG_TYPE_PERF_EVENT).map(drop),
        Trial::RawTracepointProgram => load(BPF_PROG_TYPE_RAW_TRACEPOINT).map(drop),
        Trial::RawTracepointRun => {
            load(BPF_PROG_TYPE_RAW_TRACEPOINT).and_then(|program| run(program.as_fd()))
        }
        Trial::TracepointProgram => load(BPF_PROG_TYPE_TRACEPOINT).map(drop),
        Trial::CgroupIdHelper => load_program(BPF_PROG_TYPE_PERF_EVENT, &cgroup_id()).map(drop),
        Trial::NamespaceIdsHelper => load_program(BPF_PROG_TYPE_PERF_EVENT, &namespace_ids()).map(drop),
        Trial::KernelReadHelper => load_program(BPF_PROG_TYPE_PERF_EVENT, &kernel_read()).map(drop),
        Trial::RingBuffer => ring().map(drop),
        Trial::ArrayOfMaps => {
            create_map(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, Some(ring()?.as_fd())).map(drop)
        }
        Trial::CpuClock => Event::cpu_clock(cpu, HOUR_NS).map(drop),
        Trial::Period => Event::cpu_clock(cpu, HOUR_NS)?.set_period(2 * HOUR_NS),
        Trial::SideBand => side_band(),
    }
}

/// A period of an event that is never switched on.
const HOUR_NS: u64 = 3_600_000_000_000;

fn page_bytes() -> io::Result<u32> {
    // SAFETY: a plain question.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)
}

fn ring() -> io::Result<OwnedFd> {
    create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, page_bytes()?, None)
}

/// Loads `return 0`.
fn load(kind: bpf_prog_type) -> io::Result<OwnedFd> {
    load_program(kind, &[instruction(MOVE, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)])
}

/// `return bpf_get_current_cgroup_id()`
fn cgroup_id() -> [bpf_insn; 2] {
    [instruction(CALL, 0, 0, 0, 80), instruction(EXIT, 0, 0, 0, 0)]
}

/// `u64 ids = 0; bpf_get_ns_current_pid_tgid(0, 0, &ids, sizeof(ids)); return 0`
fn namespace_ids() -> [bpf_insn; 9] {
    [
        instruction(STORE, 10, 0, -8, 0),
        instruction(MOVE, 1, 0, 0, 0),
        instruction(MOVE, 2, 0, 0, 0),
        instruction(COPY, 3, 10, 0, 0),
        instruction(ADD, 3, 0, 0, -8),
        instruction(MOVE, 4, 0, 0, 8),
        instruction(CALL, 0, 0, 0, 120),
        instruction(MOVE, 0, 0, 0, 0),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// `u64 value = 0; bpf_probe_read_kernel(&value, sizeof(value), 0); return 0`
fn kernel_read() -> [bpf_insn; 8] {
    [
        instruction(STORE, 10, 0, -8, 0),
        instruction(COPY, 1, 10, 0, 0),
        instruction(ADD, 1, 0, 0, -8),
        instruction(MOVE, 2, 0, 0, 8),
        instruction(MOVE, 3, 0, 0, 0),
        instruction(CALL, 0, 0, 0, 113),
        instruction(MOVE, 0, 0, 0, 0),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// Calls bpf(2) with more than it takes, and so without an effect; the error is what was answered, `E2BIG` by the kernel.
/// Before Linux 5.19 it asks for CAP_BPF first.
pub fn ask_bpf() -> io::Error {
    // SAFETY: the kernel refuses the size before it reads anything.
    unsafe { libc::syscall(libc::SYS_bpf, -1, std::ptr::null::<u8>(), 1 << 20) };
    io::Error::last_os_error()
}

/// Calls perf_event_open(2) with flags that do not exist, and so without an effect; the error is what was answered,
/// `EINVAL` by the kernel, whoever asks.
pub fn ask_perf() -> io::Error {
    // SAFETY: the kernel refuses the flags before it reads anything.
    unsafe { libc::syscall(libc::SYS_perf_event_open, std::ptr::null::<u8>(), 0, -1, -1, !0_u64) };
    io::Error::last_os_error()
}

// Documentation/bpf/standardization/instruction-set.rst.
/// `dst = imm`
const MOVE: u8 = 0xb7;
/// `dst = src`
const COPY: u8 = 0xbf;
/// `dst += imm`
const ADD: u8 = 0x07;
/// `*(u64 *)(dst + off) = imm`
const STORE: u8 = 0x7a;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn { code, _bitfield_align_1: [], _bitfield_1: Default::default(), off, imm };
    instruction.set_dst_reg(to);
    instruction.set_src_reg(from);
    instruction
}
