//! Waiting for conditions. How long something takes says nothing on a busy machine; that it never comes does.

use std::time::{Duration, Instant};

/// Far longer than anything takes that happens at all, on any machine.
pub const LONG: Duration = Duration::from_secs(300);

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it never does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}
