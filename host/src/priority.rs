//! Which of our threads go before other programs, and when.
//!
//! What they do is little, and while it waits for a CPU something is lost: rings fill, stacks are copied for want of
//! tables, and until sampling begins nothing is sampled. The start alone has some dozens of steps, each of which
//! would wait on a busy machine, and that is where one starts a profiler. What plugins do goes as usual. Where
//! precedence is refused (it takes CAP_SYS_NICE) all go as usual, and where groups of tasks share the CPU by weight
//! (sched(7), "The autogroup feature"; cgroups) it is only the order within ours.

use libc::{PRIO_PROCESS, c_int};
use std::sync::OnceLock;

/// Niceness of what goes first.
const FIRST: c_int = -15;

/// Niceness of the thread that first went before others for a while.
static USUAL: OnceLock<c_int> = OnceLock::new();

/// While it lives its thread has another place than before.
#[must_use]
#[derive(Debug)]
pub(crate) struct Turn {
    before: c_int,
}

impl Turn {
    /// The calling thread goes before other programs.
    pub(crate) fn first() -> Self {
        let before = niceness();
        USUAL.get_or_init(|| before);
        go_first();
        Self { before }
    }

    /// The calling thread goes as usual.
    pub(crate) fn as_usual() -> Self {
        let before = niceness();
        go_as_usual();
        Self { before }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        set(self.before);
    }
}

/// The calling thread goes first as long as it lives.
pub(crate) fn go_first() {
    set(niceness().min(FIRST));
}

/// The calling thread does not go first, even if the one that started it did.
pub(crate) fn go_as_usual() {
    if let Some(usual) = USUAL.get() {
        set(*usual);
    }
}

// 0 is the calling thread, for both (setpriority(2), "C library/kernel differences").

fn niceness() -> c_int {
    // SAFETY: plain numbers.
    unsafe { libc::getpriority(PRIO_PROCESS, 0) }
}

fn set(niceness: c_int) {
    // SAFETY: plain numbers.
    if unsafe { libc::setpriority(PRIO_PROCESS, 0, niceness) } != 0 {
        tracing::debug!(niceness, error = %std::io::Error::last_os_error(), "the order of threads stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_first_for_a_while_and_those_that_it_starts_as_usual() {
        let before = niceness();
        let first = Turn::first();
        let during = niceness();
        let started = std::thread::spawn(|| {
            let inherited = niceness();
            go_as_usual();
            (inherited, niceness())
        });
        let started = started.join().unwrap();
        drop(first);
        // Without the right to it everything is as before. Who has it is asked of the kernel by another way.
        let asks = || {
            // SAFETY: plain numbers.
            unsafe { libc::setpriority(PRIO_PROCESS, 0, FIRST) == 0 }
        };
        let may = before <= FIRST || std::thread::spawn(asks).join().unwrap();
        assert_eq!(during, if may { before.min(FIRST) } else { before });
        assert_eq!(started, (during, before));
        // To give precedence up is nobody refused.
        assert_eq!(niceness(), before);
    }
}
