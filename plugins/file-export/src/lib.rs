//! Stacksonde plugin `file-export`: profiles as files.
//!
//! Formats: pprof (`.pb.gz`), folded stacks (`.folded`) and an SVG flame graph (`.svg`). Files appear
//! under their names only when they are whole.
//!
//! ```text
//! config    what the operator asks for, checked ──▶ Sink
//! exporter  the plugin's role: batch in, files out
//! format    a batch as the bytes of a file: pprof, folded, svg
//! place     bytes under a name, whole or not at all
//! series    a directory of one file per batch, the oldest removed
//! ```

mod clock;
mod config;
mod exporter;
mod folded;
mod format;
mod place;
mod pprof;
mod series;
mod svg;

#[doc(hidden)]
pub mod fuzz;

pub use config::{Config, ConfigError};
pub use exporter::FileExport;
pub use format::{EncodeError, Format};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    exporter: FileExport,
}
