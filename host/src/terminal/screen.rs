//! A whole screen: raw, alternate, and given back whatever happens.
//!
//! What is drawn is written without waiting: a terminal that takes nothing (a connection that hangs, Ctrl-S) holds up
//! no key and no signal. While a picture is still on its way no other is drawn.

use super::tty::{self, Settings};
use super::{Key, Keys, Palette};
use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Alternate screen, cleared, no cursor, no wrapping at the last column.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J";
const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// The longest time that a terminal may take to accept the bytes that end its use.
const PATIENCE: Duration = Duration::from_millis(500);

/// The terminal and its settings, to give it back, while there is a screen.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

#[derive(Debug)]
struct Taken {
    terminal: File,
    settings: Settings,
    /// True if a sequence may be half written.
    is_cut: bool,
}

/// Leaves the screen, if there is one: to be called any number of times, from anywhere.
fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut taken) = taken else { return };
    // A terminal that is gone needs nothing.
    if taken.is_cut {
        // Cancels a sequence that is under way (ECMA-48, CAN).
        let _gone = write_patiently(&mut taken.terminal, b"\x18");
    }
    let _gone = write_patiently(&mut taken.terminal, LEAVE);
    let _gone = taken.settings.apply(taken.terminal.as_fd());
}

/// Has a panic of any thread give the terminal back first, so that its message can be read.
pub fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

fn write_patiently(terminal: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match terminal.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The terminal of this process, as a screen. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    terminal: AsyncFd<File>,
    palette: Palette,
    shown: Buffer,
    /// Bytes that are still to be written.
    pending: Vec<u8>,
    /// True if a picture was left out because another one was on its way.
    is_behind: bool,
    keys: Keys,
}

impl Screen {
    /// Takes the terminal. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened or set.
    pub fn take(palette: Palette) -> io::Result<Self> {
        // Opened again, so that whoever shares the terminal with us does not get a descriptor that never waits.
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        // Who has no controlling terminal may have one as its output all the same.
        let terminal = options.open("/dev/tty").or_else(|_| options.open("/proc/self/fd/1"))?;
        let settings = Settings::of(terminal.as_fd())?;
        let area = area(&terminal);
        // SAFETY: a `File` has one descriptor, the same and open for as long as it lives.
        let terminal =
            unsafe { AsyncFd::register_with_interest(terminal, Interest::READABLE | Interest::WRITABLE) }?;
        let mut screen = Self {
            terminal,
            palette,
            shown: Buffer::empty(area),
            pending: Vec::new(),
            is_behind: false,
            keys: Keys::default(),
        };
        screen.enter(settings)?;
        Ok(screen)
    }

    fn enter(&mut self, settings: Settings) -> io::Result<()> {
        let terminal = self.terminal.get_ref().try_clone()?;
        settings.raw().apply(terminal.as_fd())?;
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Taken { terminal, settings, is_cut: false });
        self.pending = ENTER.to_vec();
        self.shown = Buffer::empty(area(self.terminal.get_ref()));
        Ok(())
    }

    /// Gives the terminal back until the process is continued, as Ctrl-Z does elsewhere.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // SAFETY: a plain number; all of this process's group stops here, as the terminal itself would have it.
        unsafe { libc::kill(0, libc::SIGTSTP) };
        let settings = Settings::of(self.terminal.get_ref().as_fd())?;
        self.enter(settings)
    }

    /// Tells whether the terminal was given back by a panic elsewhere.
    pub fn is_given_back(&self) -> bool {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Draws on a screen of its present size, unless a picture is still on its way there.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) {
        self.is_behind = !self.pending.is_empty();
        if self.is_behind {
            return;
        }
        let area = area(self.terminal.get_ref());
        if area != self.shown.area {
            self.clear(area);
        }
        let mut next = Buffer::empty(area);
        draw(&mut next);
        encode(&self.shown.diff(&next), self.palette, &mut self.pending);
        self.shown = next;
    }

    /// Has all of it drawn again next time.
    pub fn redraw(&mut self) {
        // What is on its way ends with whole sequences, and this follows it.
        self.clear(self.shown.area);
    }

    fn clear(&mut self, area: Rect) {
        self.shown = Buffer::empty(area);
        self.pending.extend_from_slice(b"\x1b[0m\x1b[2J");
    }

    /// Tells whether a key may be under way; see [`Screen::settle`].
    pub fn is_waiting_for_keys(&self) -> bool {
        self.keys.is_waiting()
    }

    /// Nothing more came for a moment.
    pub fn settle(&mut self) -> Vec<Key> {
        self.keys.settle()
    }

    /// Writes what is to be written as the terminal takes it, and returns the next keys; none if it is time to draw.
    ///
    /// # Errors
    ///
    /// The terminal is gone, or was given back.
    pub async fn next(&mut self) -> io::Result<Vec<Key>> {
        loop {
            if self.is_given_back() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let interest = match self.pending.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let mut guard = self.terminal.ready(interest).await?;
            let ready = guard.ready();
            if ready.is_writable() && !self.pending.is_empty() {
                match guard.get_inner().write(&self.pending) {
                    Ok(written) => {
                        self.pending.drain(..written);
                        let is_due = self.is_behind && self.pending.is_empty();
                        if let Some(taken) = &mut *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) {
                            taken.is_cut = !self.pending.is_empty();
                        }
                        if is_due {
                            return Ok(Vec::new());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        guard.clear_ready_matching(tokio::io::Ready::WRITABLE);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            if ready.is_readable() || ready.is_read_closed() {
                let mut bytes = [0; 1024];
                match guard.get_inner().read(&mut bytes) {
                    // The other end is closed.
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => {
                        let keys = self.keys.read(&bytes[..read]);
                        return Ok(keys);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        guard.clear_ready_matching(tokio::io::Ready::READABLE);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn area(terminal: &File) -> Rect {
    let (width, height) = tty::size(terminal.as_fd()).unwrap_or((80, 24));
    Rect { x: 0, y: 0, width, height }
}

/// Cells that changed, as a terminal is told of them.
fn encode(changes: &[(u16, u16, &Cell)], palette: Palette, out: &mut Vec<u8>) {
    let mut style = None;
    let mut after = None;
    for (x, y, cell) in changes {
        // Writing to a `Vec` cannot fail.
        if after != Some((*x, *y)) {
            let _ = write!(out, "\x1b[{};{}H", y + 1, x + 1);
        }
        let wanted = (cell.fg, cell.bg, cell.modifier);
        if style != Some(wanted) {
            style_codes(wanted, palette, out);
            style = Some(wanted);
        }
        out.extend_from_slice(cell.symbol().as_bytes());
        // Of wide ones terminals differ in where they stand next.
        after = (super::columns(cell.symbol()) == 1).then_some((x + 1, *y));
    }
    if style.is_some() {
        out.extend_from_slice(b"\x1b[0m");
    }
}

fn style_codes((front, back, modifier): (Color, Color, Modifier), palette: Palette, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[0");
    let modifiers =
        [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::UNDERLINED, 4), (Modifier::REVERSED, 7)];
    for (known, code) in modifiers {
        if modifier.contains(known) {
            let _ = write!(out, ";{code}");
        }
    }
    if palette != Palette::None {
        for (colour, plain, bright, indexed) in [(front, 30, 90, 38), (back, 40, 100, 48)] {
            let _ = match colour {
                Color::Indexed(index @ 0..8) => write!(out, ";{}", plain + u16::from(index)),
                Color::Indexed(index) if palette == Palette::Many => write!(out, ";{indexed};5;{index}"),
                Color::Black => write!(out, ";{plain}"),
                Color::Red => write!(out, ";{}", plain + 1),
                Color::Green => write!(out, ";{}", plain + 2),
                Color::Yellow => write!(out, ";{}", plain + 3),
                Color::Blue => write!(out, ";{}", plain + 4),
                Color::Magenta => write!(out, ";{}", plain + 5),
                Color::Cyan => write!(out, ";{}", plain + 6),
                Color::Gray => write!(out, ";{}", plain + 7),
                Color::DarkGray => write!(out, ";{bright}"),
                _ => Ok(()),
            };
        }
    }
    out.push(b'm');
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui_core::style::Style;

    fn encoded(palette: Palette, style: Style) -> String {
        let blank = Buffer::empty(Rect::new(0, 0, 10, 2));
        let mut next = blank.clone();
        next.set_string(2, 1, "ab", style);
        let mut out = Vec::new();
        encode(&blank.diff(&next), palette, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_changed_is_written_and_styles_end_with_it() {
        let style = Style::new().fg(Color::Red).bg(Color::Indexed(208)).add_modifier(Modifier::BOLD);
        assert_eq!(encoded(Palette::Many, style), "\x1b[2;3H\x1b[0;1;31;48;5;208mab\x1b[0m");
        assert_eq!(encoded(Palette::Eight, style), "\x1b[2;3H\x1b[0;1;31mab\x1b[0m");
        assert_eq!(encoded(Palette::None, style), "\x1b[2;3H\x1b[0;1mab\x1b[0m");
        let mut nothing = Vec::new();
        encode(&[], Palette::Many, &mut nothing);
        assert!(nothing.is_empty());
    }
}
