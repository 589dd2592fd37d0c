//! Having the analysis program run within our own system call.

use super::call;
use super::entry::Planted;
use super::error::Error;
use super::load::{attach_tracepoint, load};
use crate::raw::{One, Plain, open_raw_tracepoint};
use crate::{PEEK_BYTES, Peek, Request};
use aya_obj::generated::bpf_prog_type::{self, BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_TRACEPOINT};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A way to have the program run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// BPF_PROG_TEST_RUN of a raw tracepoint's program (5.10+, CONFIG_NET): attaches nothing.
    TestRun,
    /// The tracepoint `syscalls:sys_enter_bpf`: CONFIG_FTRACE_SYSCALLS, and tracefs for its number.
    SyscallTracepoint,
    /// The raw tracepoint `sys_enter`: by name, so without tracefs; it runs in everybody's system
    /// calls for as long as it is attached.
    RawTracepoint,
}

impl Trigger {
    /// Every way, the cheapest first.
    pub const ALL: [Self; 3] = [Self::TestRun, Self::SyscallTracepoint, Self::RawTracepoint];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::TestRun => "BPF_PROG_TEST_RUN",
            Self::SyscallTracepoint => "the tracepoint syscalls:sys_enter_bpf",
            Self::RawTracepoint => "the raw tracepoint sys_enter",
        }
    }

    fn program(self) -> (&'static str, bpf_prog_type) {
        match self {
            Self::TestRun => ("selfprobe", BPF_PROG_TYPE_RAW_TRACEPOINT),
            Self::SyscallTracepoint => ("on_bpf", BPF_PROG_TYPE_TRACEPOINT),
            Self::RawTracepoint => ("on_sys_enter", BPF_PROG_TYPE_RAW_TRACEPOINT),
        }
    }
}

/// The program, loaded and, where that is the way, attached. Dropping it removes it from the kernel.
pub(super) struct Armed {
    pub(super) trigger: Trigger,
    program: OwnedFd,
    /// The link that keeps it attached.
    link: Option<OwnedFd>,
    peeks: One<Peek>,
    requests: One<Request>,
}

// SAFETY: u64 fields and an array of bytes whose size is a multiple of 8, repr(C): no padding.
unsafe impl Plain for Peek {}

// SAFETY: u64 fields only, repr(C): no padding.
unsafe impl Plain for Request {}

/// The part of `union bpf_attr` that BPF_PROG_TEST_RUN of a raw tracepoint reads
/// (`include/uapi/linux/bpf.h`, 5.10).
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
}

/// `enum bpf_cmd`.
const BPF_PROG_TEST_RUN: u64 = 10;
/// A command that bpf(2) does not have: the call is only there to be seen. It takes 32 bits; the
/// other half of the register is ours.
const NO_COMMAND: u64 = 0x7fff_ffff;

impl Armed {
    pub(super) fn load(trigger: Trigger) -> Result<Self, Error> {
        let (name, kind) = trigger.program();
        let refused = |error: io::Error| Error::Refused(error.to_string());
        let peeks = One::<Peek>::create().map_err(refused)?;
        let requests = One::<Request>::create().map_err(refused)?;
        let maps = [("peeks", peeks.as_fd()), ("requests", requests.as_fd())];
        let program = load(crate::selfprobe_object(), name, kind, &maps)?;
        let not_attached = |error| Error::NotRun { by: trigger.name(), error };
        let link = match trigger {
            Trigger::TestRun => None,
            Trigger::SyscallTracepoint => {
                Some(attach_tracepoint("syscalls", "sys_enter_bpf", program.as_fd()))
            }
            Trigger::RawTracepoint => Some(open_raw_tracepoint(c"sys_enter", program.as_fd())),
        };
        let link = link.transpose().map_err(not_attached)?;
        Ok(Self { trigger, program, link, peeks, requests })
    }

    /// Makes `request` the one that [`Armed::fire`] has answered. Not for a forked child.
    pub(super) fn prepare(&mut self, request: &Request) -> Result<(), Error> {
        if self.link.is_none() {
            return Ok(());
        }
        self.requests.set(request).map_err(|error| Error::Refused(error.to_string()))
    }

    /// Makes the system call in which the request is answered. Allocates nothing and takes no lock, so
    /// that a forked child may do it.
    pub(super) fn fire(&self, request: &Request, with: &With<'_>) -> Result<(), Error> {
        let not_run = |error| Error::NotRun { by: self.trigger.name(), error };
        if self.link.is_some() {
            // It fails, as it should: there is no such command.
            let mut nothing = 0u64;
            // SAFETY: no byte of the attributes is read: their size is 0.
            unsafe { with.bpf(request.cookie, std::ptr::from_mut(&mut nothing).cast(), 0) };
            return Ok(());
        }
        let mut attributes = TestRun {
            prog_fd: u32::try_from(self.program.as_raw_fd()).map_err(io::Error::other).map_err(not_run)?,
            ctx_size_in: u32::try_from(size_of::<Request>()).map_err(io::Error::other).map_err(not_run)?,
            ctx_in: std::ptr::from_ref(request).expose_provenance() as u64,
            ..TestRun::default()
        };
        // SAFETY: the attributes are those of the command; `ctx_in` points to a live request of
        // the stated size, which the kernel only reads.
        let result = unsafe {
            with.bpf(BPF_PROG_TEST_RUN, std::ptr::from_mut(&mut attributes).cast(), size_of::<TestRun>())
        };
        match i32::try_from(result) {
            Ok(0) if attributes.retval == 0 => Ok(()),
            Ok(0) => {
                Err(not_run(io::Error::other("it did not understand the request; this build is broken")))
            }
            Ok(negative) => Err(not_run(io::Error::from_raw_os_error(-negative))),
            Err(error) => Err(not_run(io::Error::other(error))),
        }
    }

    /// Returns the bytes that the program read for `request`.
    pub(super) fn answer(&self, request: &Request) -> Result<Peek, Error> {
        let mut peek = EMPTY;
        self.peeks.get(&mut peek).map_err(|error| Error::Refused(error.to_string()))?;
        if peek.cookie == request.cookie { Ok(peek) } else { Err(Error::Silent(self.trigger.name())) }
    }
}

/// Nothing read yet.
const EMPTY: Peek = Peek { address: 0, refused: 0, cookie: 0, task: 0, bytes: [0; PEEK_BYTES] };

/// Values that are planted while the system call is made.
pub(super) enum With<'a> {
    /// Values in registers that the kernel saves on entry.
    Registers(&'a Planted),
    /// A thread pointer; the thread's own is back when the call returns.
    ThreadPointer(u64),
}

impl With<'_> {
    /// # Safety
    ///
    /// As for bpf(2): `attributes` points to `size` bytes that the command may read and write.
    unsafe fn bpf(&self, command: u64, attributes: *mut std::ffi::c_void, size: usize) -> std::ffi::c_long {
        // SAFETY: as the caller promised.
        unsafe {
            match self {
                Self::Registers(planted) => call::bpf(command, attributes, size, planted),
                Self::ThreadPointer(planted) => {
                    call::bpf_with_thread_pointer(command, attributes, size, *planted)
                }
            }
        }
    }
}

/// A cookie that nobody else has, and that bpf(2) does not take for a command.
pub(super) fn cookie() -> Result<u64, Error> {
    let Planted([random, ..]) = Planted::random()?;
    Ok(random << 32 | NO_COMMAND)
}
