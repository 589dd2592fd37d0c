//! Messages on standard output and standard error: the one way there for all commands, and harmless whatever was quoted
//! in them. Names of files and processes, what is in files, answers of servers: any of it may have been written to act on
//! the terminal of who reads it, there and then or in a log that is looked at later.

use super::text::plain_json;
use super::{Charset, stderr};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Text in lines without anything that acts on a terminal.
pub fn harmless(text: &str) -> Cow<'_, str> {
    Charset::Unicode.plain_lines(text, false)
}

/// Writes text to standard output.
///
/// # Errors
///
/// It cannot be written. That nobody reads any more (`| head`) is none.
pub fn out(text: &str) -> io::Result<()> {
    write(&charset(&io::stdout()).plain_lines(text, false))
}

/// Writes text with colours of ours to standard output. Names in it must be plain: theirs would pass, too.
///
/// # Errors
///
/// As of [`out`].
pub fn out_painted(text: &str) -> io::Result<()> {
    write(&charset(&io::stdout()).plain_lines(text, true))
}

/// Writes JSON to standard output; it means the same to who reads it.
///
/// # Errors
///
/// As of [`out`].
pub fn out_json(text: &str) -> io::Result<()> {
    write(&plain_json(text))
}

/// Writes a message to standard error. What follows its first line is indented, so that no name with a line break in it
/// passes for a message of ours.
pub fn err(text: &str) {
    stderr::say(&charset(&io::stderr()).plain_lines(text, false).replace('\n', "\n  "));
}

/// Tells what can be shown there. A file or a pipe may be read anywhere.
fn charset(stream: &impl IsTerminal) -> Charset {
    if stream.is_terminal() { Charset::of_locale() } else { Charset::Unicode }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
