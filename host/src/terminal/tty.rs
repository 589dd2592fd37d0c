//! A terminal's size, settings and state.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Columns and rows; `None` where it has none, or is not a terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the request fills in a `winsize`, which lives through the call (ioctl_tty(2)).
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: all zeros is a value of it, and the kernel writes whole ones only.
    let size = unsafe { size.assume_init() };
    (done == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Tells whether this process may draw there: it is not in the background of a shell.
pub fn is_foreground(terminal: BorrowedFd<'_>) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// A terminal's settings.
#[derive(Clone, Copy)]
pub(super) struct Settings(libc::termios);

impl Settings {
    /// As they are now.
    pub(super) fn of(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the call fills in a `termios`, which lives through it.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it succeeded, so all of it was written.
        Ok(Self(unsafe { settings.assume_init() }))
    }

    /// These, but keys come one by one, are not shown, and mean nothing to the kernel.
    pub(super) fn raw(self) -> Self {
        let mut settings = self.0;
        // SAFETY: it only changes the structure that it is given.
        unsafe { libc::cfmakeraw(&raw mut settings) };
        Self(settings)
    }

    /// Puts them into force at once.
    pub(super) fn apply(&self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the settings live through the call.
        match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const self.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}
