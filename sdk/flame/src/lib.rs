//! Weighted stacks as a flame graph: one HTML file that needs nothing but a browser.
//!
//! ```text
//! Graph   frames, each once; stacks of them with their values
//! About   what the page says besides: when, how often, what is missing
//! page    both as a file: the text of the page, with the graph as JSON in it
//! ```
//!
//! The page has a Content-Security-Policy that allows its own script and style, by their hashes, and no request to
//! anywhere. `src/page/` holds its text, style and script.

mod graph;
mod page;

pub use graph::{Graph, Kind};
pub use page::{About, write};
