//! `stacksonde view`: files of profiles, ours and others', as a page for a browser on this machine.
//!
//! ```text
//! file     a file's bytes, unpacked within a budget ──▶ which format
//! pprof    protocol buffer ─┐
//! folded   lines of stacks ─┴▶ Profile: the graph, and what the page says of it
//! server   the page on a port of this machine, behind a path that nobody can guess
//! ```
//!
//! The page itself is the one that `file-export` writes, by the crate `stacksonde-flame`.

mod file;
mod folded;
mod pprof;
mod server;
mod wire;

use stacksonde_flame::{About, Graph};

pub use file::{FileError, Page, read};
pub use server::Server;

pub(crate) use file::parse as parse_file;
pub(crate) use folded::read as read_folded;
pub(crate) use pprof::read as read_pprof;
pub(crate) use server::host_is_this_machine;

/// A profile as a page shows it.
#[derive(Debug)]
pub struct Profile {
    /// The description on the page; without a title.
    pub about: About,
    /// The stacks.
    pub graph: Graph,
}
