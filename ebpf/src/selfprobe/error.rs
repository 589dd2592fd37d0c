//! Errors of reading our own kernel memory.

use std::io;

/// Why the analysis program could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the program or its map.
    #[error("the kernel refused the analysis program: {0}")]
    Refused(String),
    /// The kernel loaded the program and refused to run it.
    #[error("the kernel refused to run the analysis program ({by}): {error}")]
    NotRun {
        /// The way that was tried.
        by: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The system call was made and the program did not run.
    #[error("the analysis program did not run in our own system call ({0})")]
    Silent(&'static str),
    /// Kernel memory could not be read.
    #[error("reading kernel memory at {what} was refused: {error}")]
    Unreadable {
        /// The place, in words.
        what: String,
        /// The error of the kernel's read helper.
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
    /// Our ids are not where they should be.
    #[error("with these offsets our own thread has the id {found} in place of {expected}")]
    OtherId {
        /// The number that lies there.
        found: u32,
        /// Our own id.
        expected: u32,
    },
    /// No place in our task, or in what it points to, holds what was planted.
    #[error("nothing in our own {place} holds {what}")]
    NotFound {
        /// The structure.
        place: &'static str,
        /// The value that was looked for.
        what: &'static str,
    },
    /// More than one place does, and none is taken rather than the wrong one.
    #[error("{count} places in our own {place} hold {what}, so that none is taken")]
    Ambiguous {
        /// Their number.
        count: usize,
        /// The structure.
        place: &'static str,
        /// The value that was looked for.
        what: &'static str,
    },
    /// A thread, a process or random numbers could not be had.
    #[error("{what}: {error}")]
    System {
        /// The step that was tried.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}
