//! Looking at our own task in the kernel, with neither BTF nor tracepoints nor tracefs.
//!
//! A small program of type raw tracepoint copies kernel memory. It is run by BPF_PROG_TEST_RUN
//! (5.10+), so it runs within our own system call: `current` is the calling thread, and the
//! registers with which that thread entered the kernel are at the top of its kernel stack. Values
//! planted in those registers make them recognisable; other values, planted by a second call,
//! prove that it was no chance.

mod call;
pub mod entry;

use crate::Peek;
use aya::maps::{Array, MapData};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader, Pod};
use entry::Planted;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Why the analysis program could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the program or its map.
    #[error("the kernel refused the analysis program: {0}")]
    Refused(String),
    /// The kernel loaded the program and refused to run it.
    #[error("the kernel refused to run the analysis program (BPF_PROG_TEST_RUN): {0}")]
    NotRun(#[source] io::Error),
    /// Kernel memory could not be read.
    #[error("reading kernel memory at {what} was refused: {error}")]
    Unreadable {
        /// The place, in words.
        what: String,
        /// What the kernel's read helper returned.
        #[source]
        error: io::Error,
    },
    /// The registers are not where they should be.
    #[error(
        "with task_struct.stack at {task_struct_stack:#x} and stack.pt_regs at {stack_pt_regs:#x} \
         our own entry registers are not there"
    )]
    NotThere {
        /// Offset that was tried, in bytes.
        task_struct_stack: u64,
        /// Distance that was tried, in bytes.
        stack_pt_regs: u64,
    },
    /// A thread, or random numbers, could not be had.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system answered.
        #[source]
        error: io::Error,
    },
}

/// A place in kernel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes after the start of the calling thread's `task_struct`.
    Task(u64),
    /// An address.
    Address(u64),
}

/// The analysis program, loaded. Dropping it removes it from the kernel.
pub struct Selfprobe {
    program: OwnedFd,
    peeks: Array<MapData, PeekValue>,
    /// Owns the program's maps.
    _object: Ebpf,
}

/// [`Peek`] for aya, which wants a type of ours.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PeekValue(Peek);

// SAFETY: `Peek` is u64 fields and an array of bytes whose size is a multiple of 8, repr(C): no padding.
unsafe impl Pod for PeekValue {}

/// What the program takes; `struct request` of `selfprobe.bpf.c`.
#[repr(C)]
struct Request {
    from_task: u64,
    address: u64,
    bytes: u64,
}

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
const BPF_PROG_TEST_RUN: u32 = 10;

impl Selfprobe {
    /// Loads the program.
    pub fn load() -> Result<Self, Error> {
        let refused = |error: &dyn std::error::Error| Error::Refused(chain(error));
        let missing = |what: &str| Error::Refused(format!("this build's object has no `{what}`"));
        let mut object = EbpfLoader::new()
            // The kernel's own BTF is not needed: no relocation refers to it.
            .btf(None)
            .load(crate::selfprobe_object())
            .map_err(|error| refused(&error))?;
        let program: &mut RawTracePoint = object
            .program_mut("selfprobe")
            .ok_or_else(|| missing("selfprobe"))?
            .try_into()
            .map_err(|error| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        let program = program.fd().map_err(|error| refused(&error))?.as_fd().try_clone_to_owned();
        let program = program.map_err(|error| refused(&error))?;
        let peeks = object.take_map("peeks").ok_or_else(|| missing("peeks"))?;
        let peeks = Array::try_from(peeks).map_err(|error| refused(&error))?;
        Ok(Self { program, peeks, _object: object })
    }

    /// Reads `bytes` bytes (at most [`crate::PEEK_BYTES`]) while these values are planted.
    pub fn peek(&mut self, place: Place, bytes: usize, planted: &Planted) -> Result<Vec<u8>, Error> {
        let bytes = bytes.min(crate::PEEK_BYTES);
        let (from_task, address) = match place {
            Place::Task(offset) => (1, offset),
            Place::Address(address) => (0, address),
        };
        let request = Request { from_task, address, bytes: bytes as u64 };
        self.run(&request, planted).map_err(Error::NotRun)?;
        let PeekValue(peek) = self.peeks.get(&0, 0).map_err(|error| Error::Refused(chain(&error)))?;
        if peek.refused != 0 {
            let error =
                i32::try_from(peek.refused).map_or_else(io::Error::other, io::Error::from_raw_os_error);
            let what = match place {
                Place::Task(offset) => format!("byte {offset:#x} of our own task_struct"),
                Place::Address(_) => "the kernel stack that a candidate points to".into(),
            };
            return Err(Error::Unreadable { what, error });
        }
        Ok(peek.bytes[..bytes].to_vec())
    }

    /// Proves both facts on the calling thread, twice, with different values planted, and on a
    /// second thread.
    pub fn confirm(&mut self, task_struct_stack: u64, stack_pt_regs: u64) -> Result<(), Error> {
        self.confirm_here(task_struct_stack, stack_pt_regs)?;
        self.confirm_here(task_struct_stack, stack_pt_regs)?;
        on_another_thread(|| self.confirm_here(task_struct_stack, stack_pt_regs))?
    }

    fn confirm_here(&mut self, task_struct_stack: u64, stack_pt_regs: u64) -> Result<(), Error> {
        let planted = Planted::random()?;
        let not_there = || Error::NotThere { task_struct_stack, stack_pt_regs };
        let base = self.peek(Place::Task(task_struct_stack), 8, &planted)?;
        let base = base.first_chunk().map(|base| u64::from_ne_bytes(*base)).ok_or_else(not_there)?;
        let address = base.checked_add(stack_pt_regs).ok_or_else(not_there)?;
        let area = self.peek(Place::Address(address), entry::NATIVE.bytes(), &planted)?;
        if entry::NATIVE.holds(&area, &planted) { Ok(()) } else { Err(not_there()) }
    }

    fn run(&self, request: &Request, planted: &Planted) -> io::Result<()> {
        let mut attributes = TestRun {
            prog_fd: u32::try_from(self.program.as_raw_fd()).map_err(io::Error::other)?,
            ctx_size_in: u32::try_from(size_of::<Request>()).map_err(io::Error::other)?,
            ctx_in: std::ptr::from_ref(request).expose_provenance() as u64,
            ..TestRun::default()
        };
        // SAFETY: the attributes are those of the command; `ctx_in` points to a live request of
        // the stated size, which the kernel only reads.
        let result = unsafe {
            call::bpf(
                BPF_PROG_TEST_RUN,
                std::ptr::from_mut(&mut attributes).cast(),
                size_of::<TestRun>(),
                planted,
            )
        };
        match i32::try_from(result) {
            Ok(0) if attributes.retval == 0 => Ok(()),
            Ok(0) => Err(io::Error::other("it did not understand the request; this build is broken")),
            Ok(negative) => Err(io::Error::from_raw_os_error(-negative)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Planted {
    /// Values that nobody else has.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [[0u8; 8]; entry::PLANTED_REGISTERS];
        // SAFETY: the buffer has the stated size.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), size_of_val(&bytes), 0) };
        if usize::try_from(got) != Ok(size_of_val(&bytes)) {
            return Err(Error::System { what: "getrandom", error: io::Error::last_os_error() });
        }
        Ok(Self(bytes.map(u64::from_ne_bytes)))
    }
}

/// Runs `work` on a thread of its own, which has a task and a kernel stack of its own.
pub fn on_another_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let failed = |error| Error::System { what: "cannot start a second thread to compare with", error };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("selfprobe".into()).spawn_scoped(scope, work).map_err(failed)?;
        thread.join().map_err(|_| failed(io::Error::other("it panicked")))
    })
}

/// An error and its causes in one line, of the verifier's log the last line that says something.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        let line = said.lines().rev().find(|l| !l.trim().is_empty() && !l.starts_with("processed "));
        if let Some(line) = line.filter(|line| !text.ends_with(line)) {
            text = if text.is_empty() { line.into() } else { format!("{text}: {line}") };
        }
        next = error.source();
    }
    text
}
