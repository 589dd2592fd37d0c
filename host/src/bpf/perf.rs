//! Perf events: opening them, reading them, switching them on and off.

use super::opener;
use crate::system_call::opened;
use aya_obj::generated::{
    PERF_EVENT_IOC_DISABLE, PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_PERIOD, PERF_EVENT_IOC_SET_BPF,
    PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_event_sample_format::*, perf_sw_ids::*,
    perf_type_id::PERF_TYPE_SOFTWARE,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `PERF_FORMAT_TOTAL_TIME_ENABLED` in include/uapi/linux/perf_event.h.
const TOTAL_TIME_ENABLED: u64 = 1;

/// The clock of an event, in nanoseconds since it was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// Time in which it ticked. It stands still while the kernel throttles it.
    pub(super) count_ns: u64,
    /// Time in which it was on. It stands still when the CPU is offline, and goes on no more when the CPU comes back.
    pub(super) enabled_ns: u64,
}

/// A perf event of one CPU. Closing it ends it, and takes its program along.
#[derive(Debug)]
pub(super) struct Event {
    descriptor: OwnedFd,
}

impl Event {
    /// A tick of the CPU's software clock every `period_ns`, switched off. It counts nanoseconds.
    pub(super) fn cpu_clock(cpu: u32, period_ns: u64) -> io::Result<Self> {
        let mut attributes = software(PERF_COUNT_SW_CPU_CLOCK as u64);
        attributes.__bindgen_anon_1.sample_period = period_ns;
        attributes.read_format = TOTAL_TIME_ENABLED;
        attributes.set_disabled(1);
        opener::open(&attributes, cpu).map(|descriptor| Self { descriptor })
    }

    /// Events of fork, exec, executable mappings, exit and the kernel's own new code on one CPU, timed by CLOCK_MONOTONIC;
    /// switched off. Those of mappings name a file by device and inode; by its build id alone two files may be one.
    pub(super) fn side_band(cpu: u32, wake_bytes: u32) -> io::Result<Self> {
        let mut attributes = software(PERF_COUNT_SW_DUMMY as u64);
        attributes.set_disabled(1);
        attributes.set_mmap(1);
        attributes.set_mmap2(1);
        attributes.set_comm(1);
        attributes.set_comm_exec(1);
        attributes.set_task(1);
        attributes.set_ksymbol(1);
        attributes.set_use_clockid(1);
        attributes.clockid = libc::CLOCK_MONOTONIC;
        attributes.set_sample_id_all(1);
        attributes.sample_type = PERF_SAMPLE_TID as u64 | PERF_SAMPLE_TIME as u64;
        attributes.set_watermark(1);
        attributes.__bindgen_anon_2.wakeup_watermark = wake_bytes;
        opener::open(&attributes, cpu).map(|descriptor| Self { descriptor })
    }

    /// Runs `program` on every tick from now on.
    pub(super) fn attach(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())
    }

    /// Starts ticking or noticing.
    pub(super) fn enable(&self) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_ENABLE, 0)
    }

    /// Stops; the count stays readable.
    pub(super) fn disable(&self) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_DISABLE, 0)
    }

    /// Ticks every `period_ns` from now on: for the first time so long after this moment, however long ago the last tick was.
    pub(super) fn set_period(&self, period_ns: u64) -> io::Result<()> {
        // SAFETY: the kernel reads the eight bytes of a number that outlives the call.
        let result = unsafe {
            libc::ioctl(self.as_raw_fd(), PERF_EVENT_IOC_PERIOD.into(), std::ptr::from_ref(&period_ns))
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Reads a clock. `None` where the kernel has nothing to say of it any more: its CPU went offline.
    pub(super) fn read_clock(&self) -> io::Result<Option<Clock>> {
        let mut words = [0u64; 2];
        // SAFETY: the buffer has the size that is stated and outlives the call.
        let read = unsafe { libc::read(self.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
        let [count_ns, enabled_ns] = words;
        match read {
            16 => Ok(Some(Clock { count_ns, enabled_ns })),
            0 => Ok(None),
            -1 => Err(io::Error::last_os_error()),
            short => Err(io::Error::other(format!("a clock's count has 16 bytes, the kernel gave {short}"))),
        }
    }

    fn control(&self, request: u32, argument: libc::c_int) -> io::Result<()> {
        // SAFETY: these requests take a number, not a pointer.
        let result = unsafe { libc::ioctl(self.as_raw_fd(), request.into(), argument) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> libc::c_int {
        self.descriptor.as_raw_fd()
    }
}

/// Opens an event of one CPU by the rights of the calling thread.
pub(super) fn open_here(attributes: &perf_event_attr, cpu: u32) -> io::Result<OwnedFd> {
    let cpu = libc::c_int::try_from(cpu).map_err(io::Error::other)?;
    // SAFETY: `attributes` outlives the call and states its own size; the other arguments are plain numbers, and the
    // descriptor is new.
    unsafe {
        opened(libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attributes),
            -1 as libc::pid_t,
            cpu,
            -1 as libc::c_int,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        ))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the structure has 136 bytes")]
fn software(config: u64) -> perf_event_attr {
    // SAFETY: perf_event_attr is plain integers, for which zero is a value, the documented default.
    let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
    attributes.type_ = PERF_TYPE_SOFTWARE as u32;
    attributes.size = size_of::<perf_event_attr>() as u32;
    attributes.config = config;
    attributes
}
