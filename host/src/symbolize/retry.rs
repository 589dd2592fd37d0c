//! When to look again at files that could not be looked at: soon at first, then more rarely, and never for the last time,
//! since a file that hangs may come back.

use std::collections::HashMap;

/// Profiles that are let pass at most between two attempts.
const WAIT_MAX: u32 = 64;
/// Files that failed and are remembered.
const FILES_MAX: usize = 4096;

/// Executables that could not be looked at, by their ids.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<u32, Failures>);

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// Profiles to let pass.
    wait: u32,
}

impl Retries {
    /// Returns how often a file failed if it is to be looked at now; `None` if it has to wait. Asked once a profile.
    pub(super) fn turn_of(&mut self, id: u32) -> Option<u32> {
        let Some(failures) = self.0.get_mut(&id) else { return Some(0) };
        if failures.wait > 0 {
            failures.wait -= 1;
            return None;
        }
        Some(failures.count)
    }

    /// Returns how often a file failed of late.
    pub(super) fn failures_of(&self, id: u32) -> u32 {
        self.0.get(&id).map_or(0, |failures| failures.count)
    }

    /// Takes in that a file could not be looked at for a reason that is not the file's.
    pub(super) fn waits(&mut self, id: u32) {
        let before = self.failures_of(id);
        self.failed(id);
        if let Some(failures) = self.0.get_mut(&id) {
            failures.count = before;
        }
    }

    pub(super) fn failed(&mut self, id: u32) {
        if self.0.len() >= FILES_MAX && !self.0.contains_key(&id) {
            self.0.clear();
        }
        let failures = self.0.entry(id).or_default();
        // 0, 1, 3, 7 and so on.
        failures.wait = (1_u32.checked_shl(failures.count).unwrap_or(WAIT_MAX).min(WAIT_MAX)) - 1;
        failures.count = failures.count.saturating_add(1);
    }

    pub(super) fn succeeded(&mut self, id: u32) {
        self.0.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_and_never_end() {
        let mut retries = Retries::default();
        let mut attempts = Vec::new();
        for profile in 0..400 {
            if retries.turn_of(7).is_some() {
                attempts.push(profile);
                retries.failed(7);
            }
        }
        assert_eq!(attempts[..6], [0, 1, 3, 7, 15, 31]);
        assert!(attempts.windows(2).all(|two| two[1] - two[0] <= 64) && attempts.last() > Some(&330));
        assert_eq!(retries.turn_of(8), Some(0), "another file does not wait");
        retries.succeeded(7);
        assert_eq!(retries.turn_of(7), Some(0));
    }
}
