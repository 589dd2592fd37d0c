//! Reading places of kernel memory.

use super::entry::{self, Planted};
use super::error::Error;
use super::process;
use super::trigger::{Armed, Trigger, With, cookie};
use crate::{PEEK_BYTES, Peek, Request};
use std::io;

/// A place in kernel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes after the start of the calling thread's `task_struct`.
    Task(u64),
    /// An address.
    Address(u64),
    /// Memory that a pointer in the calling thread's `task_struct` leads to.
    Behind {
        /// Offset of the pointer in the task.
        pointer: u64,
        /// Bytes after what it points to.
        after: u64,
    },
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Address of the `task_struct` of the thread that looked.
    pub task: u64,
    /// Address that was read.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The analysis program, ready to run. Dropping it removes it from the kernel.
pub struct Selfprobe(Armed);

impl Selfprobe {
    /// Loads the program by the first of these ways that works.
    ///
    /// # Errors
    ///
    /// The first way's error, if none works.
    pub fn open(triggers: &[Trigger]) -> Result<Self, Error> {
        let mut first = None;
        for trigger in triggers {
            match Armed::load(*trigger).map(Self).and_then(Self::tried) {
                Ok(probe) => return Ok(probe),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Refused("no way to run it was allowed".into())))
    }

    /// Loads the program for BPF_PROG_TEST_RUN.
    pub fn load() -> Result<Self, Error> {
        Self::open(&[Trigger::TestRun])
    }

    /// The way in which it runs.
    pub fn trigger(&self) -> Trigger {
        self.0.trigger
    }

    /// A program that loads and attaches may still never run.
    fn tried(mut self) -> Result<Self, Error> {
        self.peek(Place::Task(0), 8, &Planted([0; entry::PLANTED_REGISTERS]))?;
        Ok(self)
    }

    /// Reads `bytes` bytes (at most [`PEEK_BYTES`]) while these values are planted.
    pub fn peek(&mut self, place: Place, bytes: usize, planted: &Planted) -> Result<Vec<u8>, Error> {
        self.look(place, bytes, &With::Registers(planted)).map(|look| look.bytes)
    }

    /// Reads `bytes` bytes (at most [`PEEK_BYTES`]).
    pub fn read(&mut self, place: Place, bytes: usize) -> Result<Look, Error> {
        self.look(place, bytes, &With::Registers(&Planted([0; entry::PLANTED_REGISTERS])))
    }

    /// Reads while this is the calling thread's thread pointer.
    pub(super) fn read_with_thread_pointer(
        &mut self,
        place: Place,
        bytes: usize,
        planted: u64,
    ) -> Result<Look, Error> {
        self.look(place, bytes, &With::ThreadPointer(planted))
    }

    /// Has a child process read, in as many pid namespaces within ours as `depth` says.
    pub(super) fn read_in_child(
        &mut self,
        place: Place,
        bytes: usize,
        depth: usize,
    ) -> Result<(Look, process::Ids), Error> {
        let request = request(place, bytes)?;
        self.0.prepare(&request)?;
        let planted = Planted([0; entry::PLANTED_REGISTERS]);
        let armed = &self.0;
        let ids = process::run(depth, || armed.fire(&request, &With::Registers(&planted)).is_ok())?;
        Ok((look(place, bytes, &self.0.answer(&request)?)?, ids))
    }

    fn look(&mut self, place: Place, bytes: usize, with: &With<'_>) -> Result<Look, Error> {
        // A tracepoint's program is skipped while another one, or a map system call, is under way on
        // that CPU and was preempted.
        const TRIES: usize = 5;
        let request = request(place, bytes)?;
        self.0.prepare(&request)?;
        let mut answer = Err(Error::Silent(self.0.trigger.name()));
        for _ in 0..TRIES {
            self.0.fire(&request, with)?;
            answer = self.0.answer(&request);
            if answer.is_ok() {
                break;
            }
        }
        look(place, bytes, &answer?)
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
}

fn request(place: Place, bytes: usize) -> Result<Request, Error> {
    let bytes = bytes.min(PEEK_BYTES) as u64;
    let all = Request { cookie: cookie()?, bytes, ..Request::default() };
    Ok(match place {
        Place::Task(address) => Request { from_task: 1, address, ..all },
        Place::Address(address) => Request { address, ..all },
        Place::Behind { pointer, after } => {
            Request { from_task: 1, address: pointer, follow: 1, after, ..all }
        }
    })
}

fn look(place: Place, bytes: usize, peek: &Peek) -> Result<Look, Error> {
    if peek.refused != 0 {
        let error = i32::try_from(peek.refused).map_or_else(io::Error::other, io::Error::from_raw_os_error);
        let what = match place {
            Place::Task(offset) => format!("byte {offset:#x} of our own task_struct"),
            Place::Address(_) => "an address that was asked for".into(),
            Place::Behind { pointer, .. } => {
                format!("what the word at {pointer:#x} of our own task_struct points to")
            }
        };
        return Err(Error::Unreadable { what, error });
    }
    let bytes = peek.bytes[..bytes.min(PEEK_BYTES)].to_vec();
    Ok(Look { task: peek.task, address: peek.address, bytes })
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
