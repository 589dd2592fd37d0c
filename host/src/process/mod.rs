//! Which executable an address belongs to, and what a process is called.
//!
//! Fed with events in time order: process events keep the table fresh, samples are attributed by it.
//! Nothing is read of a process that was never sampled.

mod callers;
mod elf;
mod entry;
mod executable;
mod files;
mod go;
mod identity;
mod labels;
mod living;
mod mappings;
mod maps_file;
mod pieces;
mod pinned;
mod proc_files;
mod reader;
mod selection;
mod table;
mod vdso;
mod watched;

pub use callers::Callers;
pub use elf::{NotElf, Segment, build_id_of, segment_of, segments};
pub use executable::{Executable, ExecutableKind, Executables, Mapped, MappedAt};
pub use identity::Identity;
pub use labels::Labels;
pub use mappings::{Mapping, Mappings};
pub use maps_file::{MapsLine, parse_maps, read_maps};
pub use pinned::PinnedFile;
pub use reader::{FileReader, Unread, UnreadFiles, Unseen};
pub use table::{Budget, Processes, TableCounters};

pub(crate) use executable::base_name;
pub(crate) use go::{GoFunction, GoFunctions};
pub(crate) use labels::labels;
pub(crate) use pieces::Pieces;
pub(crate) use proc_files::{
    cgroup_of, cgroup_path, default_cgroup_path, names_container, parent_in_stat, stat_field, there,
};
pub(crate) use vdso::in_memory;
#[cfg(test)]
pub(crate) use vdso::own_range as own_vdso;
pub(crate) use watched::{Headers, WatchedFile, fill};

use crate::bpf::RawSample;
use stacksonde_ebpf::FRAME_EXACT;
use std::sync::Arc;

/// An address as stated in a file: the space of ELF's `p_vaddr`, the same in every process.
/// Without an executable it is the address in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileAddress(pub u64);

/// One frame of a stack, attributed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// Code of the kernel or one of its modules, by its address in memory.
    Kernel(u64),
    /// Code of a file, at an address stated in it.
    File(Arc<Executable>, FileAddress),
    /// Code that belongs to no known file, by its address in the process.
    Unknown(u64),
}

impl Frame {
    /// The frame of `code`, which is at `address` of a process.
    fn of(code: Code, address: u64) -> Self {
        match code {
            Code::File(executable, address) => Self::File(executable, address),
            Code::Anonymous | Code::Nothing => Self::Unknown(address),
        }
    }
}

/// The code at an address of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing executable that is known.
    Nothing,
    /// Memory without a file.
    Anonymous,
    /// Code of a file, at an address stated in it.
    File(Arc<Executable>, FileAddress),
}

/// A sample whose addresses are attributed.
#[derive(Clone, Debug)]
pub struct AttributedSample {
    /// The sample.
    pub raw: RawSample,
    /// The process it was taken of.
    pub process: Arc<Identity>,
    /// The innermost user frame.
    pub leaf: Option<Frame>,
    /// The other user frames; `None` if there is none.
    pub callers: Option<Arc<Callers>>,
}

impl AttributedSample {
    /// The kernel's frames, leaf first. Addresses of callers lie inside the call.
    pub fn kernel(&self) -> impl Iterator<Item = Frame> + '_ {
        self.raw.kernel.iter().enumerate().map(|(depth, address)| Frame::Kernel(in_call(depth, *address)))
    }
}

/// Return addresses stand after the call; the byte before belongs to it.
fn in_call(depth: usize, address: u64) -> u64 {
    if depth == 0 { address } else { address.saturating_sub(1) }
}

/// The address by which a user frame is known: where execution stood, or the byte before a return address.
fn of_user(depth: usize, address: u64) -> u64 {
    match address & FRAME_EXACT {
        0 => in_call(depth, address),
        _ if depth == 0 => address,
        _ => address & !FRAME_EXACT,
    }
}

/// Text up to the first zero byte.
pub(crate) fn comm_text(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}
