//! Looking at what belongs to other programs, from the path of samples: with a deadline, and what could not be looked at
//! is counted, named in the log, and never taken for what is not there.

use crate::blocking::{NoAnswer, WaitsFor, Worker};
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// A file that is at hand takes less than a millisecond, one on a slow disk some more. The rings and the channel behind them
/// hold the samples of several seconds meanwhile.
const DEADLINE: Duration = Duration::from_millis(250);
/// Names that are logged: after that there is something wrong that more names do not explain.
const NAMED_MAX: usize = 64;

/// Why something could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// It is not there, or not any more.
    Gone,
    /// It may be there. Another attempt may succeed.
    Unread(Unread),
}

/// Why something is not known that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Whoever has it does not answer.
    TimedOut,
    /// We have no descriptor or no memory for it.
    NoResource,
    /// The kernel or a file system refused it.
    Failed,
}

/// Attempts in vain, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadFiles {
    /// See [`Unread::TimedOut`].
    pub timed_out: u64,
    /// See [`Unread::NoResource`].
    pub no_resource: u64,
    /// See [`Unread::Failed`].
    pub failed: u64,
}

impl UnreadFiles {
    /// Returns the numbers with their names.
    pub fn by_reason(&self) -> [(&'static str, u64); 3] {
        [("timed_out", self.timed_out), ("no_resource", self.no_resource), ("failed", self.failed)]
    }

    /// Adds those of another interval.
    pub fn merge(&mut self, other: &Self) {
        self.timed_out += other.timed_out;
        self.no_resource += other.no_resource;
        self.failed += other.failed;
    }

    fn count(&mut self, reason: Unread) {
        match reason {
            Unread::TimedOut => self.timed_out += 1,
            Unread::NoResource => self.no_resource += 1,
            Unread::Failed => self.failed += 1,
        }
    }
}

/// Looks at files of other programs.
#[derive(Debug)]
pub struct FileReader {
    worker: Worker,
    unread: UnreadFiles,
    /// Of these the log told.
    named: HashSet<String>,
}

impl Default for FileReader {
    fn default() -> Self {
        Self { worker: Worker::new("files", DEADLINE), unread: UnreadFiles::default(), named: HashSet::new() }
    }
}

impl FileReader {
    /// Makes a call about process `pid` that looks at what the log calls `name` and may have to wait for `what`.
    pub fn look<T: Send + 'static>(
        &mut self,
        pid: u32,
        what: WaitsFor,
        name: &str,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Unseen> {
        match self.worker.run_about(pid, what, call) {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(match reason(&error) {
                Unseen::Unread(reason) => self.miss(name, reason, &error),
                Unseen::Gone => Unseen::Gone,
            }),
            Err(error) => {
                let reason = match error {
                    NoAnswer::TimedOut(_) | NoAnswer::StillWaiting(_) | NoAnswer::TooMany(_) => {
                        Unread::TimedOut
                    }
                    NoAnswer::NoThread(_) => Unread::NoResource,
                    NoAnswer::Panicked => Unread::Failed,
                };
                Err(self.miss(name, reason, &error))
            }
        }
    }

    /// Returns the attempts in vain since this was last asked.
    pub fn take_unread(&mut self) -> UnreadFiles {
        std::mem::take(&mut self.unread)
    }

    /// Counts an attempt in vain, and names it in the log if it is the first.
    pub(super) fn miss(&mut self, name: &str, reason: Unread, error: &dyn std::error::Error) -> Unseen {
        self.unread.count(reason);
        if self.named.len() < NAMED_MAX && self.named.insert(name.to_owned()) {
            let next = match reason {
                Unread::TimedOut => "samples go on without it; it is tried again",
                Unread::NoResource => "raise the limit of open files (LimitNOFILE=); it is tried again",
                Unread::Failed => "it is tried again",
            };
            tracing::warn!("cannot read {name:?}: {error}: {next}");
        } else {
            tracing::debug!("cannot read {name:?} again: {error}");
        }
        Unseen::Unread(reason)
    }
}

/// Tells from an error whether what was looked at is there.
pub(super) fn reason(error: &io::Error) -> Unseen {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR) => Unseen::Gone,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => Unseen::Unread(Unread::NoResource),
        Some(_) => Unseen::Unread(Unread::Failed),
        // Ours: it was looked at, and is another thing.
        None => Unseen::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_no_failure_and_every_failure_counts() {
        let mut reader = FileReader::default();
        let mut look = |errno| {
            reader
                .look(1, WaitsFor::Process(1), "x", move || Err::<(), _>(io::Error::from_raw_os_error(errno)))
        };
        assert_eq!(look(libc::ENOENT), Err(Unseen::Gone));
        assert_eq!(look(libc::ESRCH), Err(Unseen::Gone));
        assert_eq!(look(libc::EMFILE), Err(Unseen::Unread(Unread::NoResource)));
        assert_eq!(look(libc::EIO), Err(Unseen::Unread(Unread::Failed)));
        assert_eq!(look(libc::EIO), Err(Unseen::Unread(Unread::Failed)));
        let expected = UnreadFiles { timed_out: 0, no_resource: 1, failed: 2 };
        assert_eq!(reader.take_unread(), expected);
        assert_eq!(reader.take_unread(), UnreadFiles::default());
    }
}
