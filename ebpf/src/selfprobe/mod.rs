//! Looking at our own task in the kernel, without BTF.
//!
//! A small program copies kernel memory within our own system call: `current` is the calling thread,
//! and the registers with which that thread entered the kernel are at the top of its kernel stack.
//! There are several ways to have it run ([`Trigger`]); the best needs neither tracepoints nor tracefs.
//!
//! What lies where is found by *planted values*: numbers that only we have are put where the kernel
//! keeps something of ours (registers, a thread pointer, ids), found in the copy, changed, and found
//! again at the same place ([`measure`]).
//!
//! ```text
//! trigger   loads the program, and has it run by one of three ways
//! probe     reads places of kernel memory with it
//! call      the system calls with planted registers, by architecture
//! entry     recognises saved registers
//! process   children, in pid namespaces of their own, that look at themselves
//! measure   from copies to offsets
//! ```

mod call;
pub mod entry;
mod error;
mod load;
pub mod measure;
mod probe;
mod process;
mod trigger;

pub use error::Error;
pub use probe::{Look, Place, Selfprobe, on_another_thread};
pub use trigger::Trigger;
