//! Who may write to standard error: the log at once; the log and one line that is redrawn in its place; or nobody,
//! because a whole screen is on that terminal, so that the log is kept for later.

use super::{Charset, columns, fit, size};
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of the log that are kept while nobody may write; older ones are left out, and counted.
const KEPT_BYTES: usize = 64 << 10;

static STATE: Mutex<State> = Mutex::new(State { line: None, kept: None });

#[derive(Debug)]
struct State {
    /// The text of the line that is redrawn.
    line: Option<String>,
    kept: Option<Kept>,
}

/// Messages that were logged while none could be written.
#[derive(Clone, Debug, Default)]
struct Kept {
    messages: VecDeque<String>,
    bytes: usize,
    left_out: u64,
}

impl Kept {
    fn push(&mut self, message: &str) {
        let message = message.trim_end();
        // Nothing is longer than all that is kept.
        let end = message.floor_char_boundary_at(KEPT_BYTES);
        self.messages.push_back(message[..end].to_owned());
        self.bytes += end;
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.len();
            self.left_out += 1;
        }
    }
}

/// `str::floor_char_boundary` is newer than the oldest compiler that is supported.
trait Boundary {
    fn floor_char_boundary_at(&self, most: usize) -> usize;
}

impl Boundary for str {
    fn floor_char_boundary_at(&self, most: usize) -> usize {
        (0..=most.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on the log is kept rather than written, until [`release`].
pub fn hold() {
    lock().kept.get_or_insert_default();
}

/// Tells whether messages are kept.
pub fn is_held() -> bool {
    lock().kept.is_some()
}

/// Returns the messages kept so far, oldest first, and how many before them are left out.
pub fn kept() -> (Vec<String>, u64) {
    let state = lock();
    let kept = state.kept.as_ref();
    kept.map_or_else(Default::default, |kept| (kept.messages.iter().cloned().collect(), kept.left_out))
}

/// Returns how many messages were kept so far.
pub fn kept_count() -> u64 {
    lock().kept.as_ref().map_or(0, |kept| kept.messages.len() as u64 + kept.left_out)
}

/// Writes what was kept; from here on the log is written again.
pub fn release() {
    let mut state = lock();
    let Some(kept) = state.kept.take() else { return };
    let mut out = io::stderr().lock();
    // Nobody is left to be told if it cannot be written.
    if kept.left_out > 0 {
        let _gone = writeln!(out, "{} earlier messages are left out", kept.left_out);
    }
    for message in kept.messages {
        let _gone = writeln!(out, "{message}");
    }
}

/// Redraws the line, of as many of `parts` as fit the terminal; the first ones matter most. Parts are plain text.
pub fn show_line(parts: &[String]) {
    let columns = size(io::stderr().as_fd()).map_or(80, |(columns, _)| usize::from(columns));
    let charset = Charset::of_locale();
    // The last column stays free: some terminals wrap when it is written to.
    let line = join(parts, columns.saturating_sub(1), charset);
    let mut state = lock();
    let _gone = write!(io::stderr().lock(), "\r{line}\x1b[K");
    state.line = Some(line);
}

/// Takes the line away.
pub fn clear_line() {
    let mut state = lock();
    if state.line.take().is_some() {
        let _gone = write!(io::stderr().lock(), "\r\x1b[K");
    }
}

/// The parts that fit, in order; of the first as much as fits.
fn join(parts: &[String], most: usize, charset: Charset) -> String {
    const BETWEEN: &str = "  ";
    let mut line = parts.first().map(|first| fit(first, most, charset).into_owned()).unwrap_or_default();
    for part in parts.iter().skip(1) {
        if columns(&line) + BETWEEN.len() + columns(part) > most {
            break;
        }
        line.push_str(BETWEEN);
        line.push_str(part);
    }
    line
}

/// Writes a message and a line break, above the line that is redrawn. The message is harmless.
pub(super) fn say(message: &str) {
    let _gone = put(&format!("{message}\n"));
}

fn put(message: &str) -> io::Result<()> {
    let mut state = lock();
    if let Some(kept) = &mut state.kept {
        kept.push(message);
        return Ok(());
    }
    let mut out = io::stderr().lock();
    match &state.line {
        Some(line) => out.write_all(format!("\r\x1b[K{message}\r{line}").as_bytes()),
        None => out.write_all(message.as_bytes()),
    }
}

/// The place of the log. Each write is one message, in which the log's own colours stay: those of others it has made plain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let charset = if io::stderr().is_terminal() { Charset::of_locale() } else { Charset::Unicode };
        let text = String::from_utf8_lossy(bytes);
        let text = charset.plain_lines(text.trim_end_matches('\n'), true);
        // A line that begins like a message of ours is one.
        put(&format!("{}\n", text.replace('\n', "\n  ")))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_kept_the_oldest_is_left_out_and_counted() {
        let mut kept = Kept::default();
        for number in 0..100_000 {
            kept.push(&format!("message {number}\n"));
        }
        assert!(kept.bytes <= KEPT_BYTES, "{}", kept.bytes);
        assert_eq!(kept.messages.back().unwrap(), "message 99999");
        assert_eq!(kept.left_out + kept.messages.len() as u64, 100_000);
        kept.push(&"ä".repeat(KEPT_BYTES));
        assert_eq!((kept.messages.len(), kept.bytes), (1, KEPT_BYTES));
    }

    #[test]
    fn of_a_line_as_many_parts_are_shown_as_fit() {
        let parts = ["12 s left", "340 samples", "5 lost"].map(str::to_owned);
        assert_eq!(join(&parts, 80, Charset::Unicode), "12 s left  340 samples  5 lost");
        assert_eq!(join(&parts, 25, Charset::Unicode), "12 s left  340 samples");
        assert_eq!(join(&parts, 6, Charset::Unicode), "12 s …");
        assert_eq!(join(&[], 6, Charset::Unicode), "");
    }
}
