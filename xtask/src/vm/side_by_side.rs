//! Several guests at once, as many as there are cores (two for each) and memory for.

use anyhow::Context;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A guest that is to be booted.
pub(super) struct Job<'a> {
    /// Its name while it runs.
    pub(super) title: String,
    /// Memory that it takes, in MiB.
    pub(super) memory_mib: u64,
    /// Boots it, keeps what came out, and returns what of it is not as expected.
    pub(super) boot: Box<dyn FnOnce() -> Vec<String> + Send + 'a>,
}

/// Boots all in this order, and says of each when it begins and how it went.
pub(super) fn boot(jobs: Vec<Job<'_>>) -> anyhow::Result<()> {
    // A guest has two CPUs, and keeps as many cores busy.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let guests = (cores / 2).clamp(1, jobs.len().max(1));
    let room = Room::new(available_mib()? * 3 / 4);
    let jobs = Mutex::new(jobs.into_iter());
    let work = || {
        loop {
            // A statement of its own: in the condition of a loop the lock would be held while the guest runs.
            let job = locked(&jobs).next();
            let Some(job) = job else { return };
            let taken = room.take(job.memory_mib);
            println!("booting {}", job.title);
            let start = Instant::now();
            let complaints = (job.boot)();
            room.give_back(taken);
            let verdict = if complaints.is_empty() { "as expected" } else { "NOT as expected" };
            let complaints: String = complaints.iter().map(|c| format!("\n  not as expected: {c}")).collect();
            // At once, so that guests which end together do not mix their lines.
            println!("  {verdict} after {} s: {}{complaints}", start.elapsed().as_secs(), job.title);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..guests {
            scope.spawn(work);
        }
    });
    Ok(())
}

/// Memory for guests, in MiB.
struct Room {
    all: u64,
    free: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    fn new(all: u64) -> Self {
        Self { all, free: Mutex::new(all), changed: Condvar::new() }
    }

    /// Waits until there is as much, and returns what was taken. Who wants more than there ever is gets all of it: one
    /// guest can always be tried.
    fn take(&self, wanted: u64) -> u64 {
        let wanted = wanted.min(self.all);
        let free = self.changed.wait_while(locked(&self.free), |free| *free < wanted);
        *free.unwrap_or_else(PoisonError::into_inner) -= wanted;
        wanted
    }

    fn give_back(&self, taken: u64) {
        *locked(&self.free) += taken;
        self.changed.notify_all();
    }
}

/// Returns the memory that programs can have without swapping, in MiB.
fn available_mib() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo says no MemAvailable")? / 1024)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    #[test]
    fn boots_all_even_those_that_want_more_memory_than_there_is() {
        let outcomes: Vec<OnceLock<u64>> = (0..9).map(|_| OnceLock::new()).collect();
        let memory = (0..8).chain([u64::MAX]);
        let jobs = memory.zip(&outcomes).map(|(memory_mib, outcome)| {
            let boot = Box::new(move || {
                outcome.set(memory_mib).unwrap();
                Vec::new()
            });
            Job { title: String::new(), memory_mib, boot }
        });
        boot(jobs.collect()).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.get().is_some()));
    }

    #[test]
    fn who_finds_no_room_waits_for_who_has_it() {
        let room = Room::new(10);
        let first = room.take(8);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| room.take(20));
            assert!(!second.is_finished());
            assert_eq!(*locked(&room.free), 2);
            room.give_back(first);
            assert_eq!(second.join().unwrap(), 10);
        });
        assert_eq!(*locked(&room.free), 0);
    }
}
