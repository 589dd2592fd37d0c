//! Output for people, and the return of their terminal.
//!
//! ```text
//! colour   whether there are colours: flag, NO_COLOR, CLICOLOR_FORCE, TERM, and what is written to
//! say      messages of commands: harmless, whatever they quote
//! text     names that anybody may have chosen, made harmless; columns that text takes
//! stderr   who may write to standard error now: the log, a line that is redrawn, or nobody for a while
//! keys     bytes of a keyboard -> keys
//! screen   a whole screen: raw, alternate, written without waiting, given back whatever happens
//! tty      size, settings and state of a terminal
//! ```

mod colour;
mod keys;
mod say;
mod screen;
pub mod stderr;
mod text;
mod tty;

pub use colour::{Colour, Paint, Palette};
pub use keys::{Key, Keys};
pub use say::{err, harmless, out, out_json, out_painted};
pub use screen::{Screen, give_back_on_panic};
pub(crate) use text::plain_json;
pub use text::{Charset, columns, fit, fit_behind, fit_name, pad, wrap};
pub use tty::{is_foreground, size};
