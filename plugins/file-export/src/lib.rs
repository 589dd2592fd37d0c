//! Stacksonde plugin `file-export`: profiles as files.
//!
//! Formats: pprof (`.pb.gz`), folded stacks (`.folded`), a flame graph as a picture (`.svg`) and as a page (`.html`),
//! and what the Firefox Profiler (`.json`, `.json.gz`) and speedscope (`.speedscope.json`) open. Files appear under
//! their names only when they are whole.
//!
//! ```text
//! config    what the operator asks for, checked ──▶ Sink
//! exporter  the plugin's role: batch in, files out
//! format    a batch as the bytes of a file: pprof, folded, svg, html, firefox, speedscope
//! naming    how frames are called;  summary  what there is and what is missing;  order  samples by time
//! place     bytes under a name, whole or not at all
//! series    a directory of one file per batch, the oldest removed
//! ```

mod clock;
mod config;
mod exporter;
mod firefox;
mod folded;
mod format;
mod html;
mod naming;
mod order;
mod place;
mod pprof;
mod series;
mod speedscope;
mod summary;
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
