//! CPU time as the kernel counts it. Tests expect samples by this measure and not by the clock: a program that a busy
//! machine lets run half of the time has half of the samples.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads the CPU time of a process with all of its threads, in the kernel and outside; `None` if there is none.
///
/// # Panics
///
/// If the kernel's line is not as proc(5) has it.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // utime and stime, in ticks of 10 ms (USER_HZ). The name before may hold anything.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    Some(Duration::from_millis(10 * ticks))
}

/// Makes a condition for [`record_until`](crate::agent::record_until), which holds once each of these processes has
/// used so much CPU time since it was first asked for.
///
/// # Panics
///
/// If one of them ends before it did.
pub fn used(pids: &[u32], time: Duration) -> impl FnMut(u32) -> bool + use<> {
    let pids = pids.to_vec();
    let mut goals: Option<Vec<Duration>> = None;
    move |_| {
        let now = pids.iter().map(|pid| cpu_time(*pid).unwrap_or_else(|| panic!("process {pid} has ended")));
        let now: Vec<_> = now.collect();
        let goals = goals.get_or_insert_with(|| now.iter().map(|now| *now + time).collect());
        now.iter().zip(goals.iter()).all(|(now, goal)| now >= goal)
    }
}

/// The CPU time that a program says it used, as `tests/targets/busy.c` prints it.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// CPU time in seconds.
    pub seconds: f64,
    /// Times that it was taken off a CPU: it ran in one piece more.
    pub switches: u32,
}

impl Used {
    /// Adds up all that is said in lines of two numbers.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn said_in(text: &str) -> Self {
        let line = |line: &str| {
            let (seconds, switches) = line.trim().split_once(' ')?;
            Some((seconds.parse::<f64>().ok()?, switches.parse::<u32>().ok()?))
        };
        let lines: Vec<_> = text.lines().filter_map(line).collect();
        assert!(!lines.is_empty(), "no CPU time in: {text}");
        Self {
            seconds: lines.iter().map(|line| line.0).sum(),
            switches: lines.iter().map(|line| line.1).sum(),
        }
    }

    /// Returns how many ticks of a clock of `hz` fall into this time: within two in a hundred, and what chance adds where
    /// the time is in pieces, since each piece holds one tick more or less (a standard deviation of at most a half;
    /// four of them).
    pub fn ticks(&self, hz: f64) -> RangeInclusive<f64> {
        let expected = self.seconds * hz;
        let tolerance = 0.02 * expected + 2.0 * f64::from(self.switches + 1).sqrt();
        expected - tolerance..=expected + tolerance
    }

    /// Checks that a program's samples, and those that were lost, of whomever, make up this time.
    ///
    /// # Panics
    ///
    /// If there are more samples than that, or fewer with those that were lost.
    pub fn check(&self, hz: f64, samples: u64, lost: u64) {
        let due = self.ticks(hz);
        let is_due = samples as f64 <= *due.end() && (samples + lost) as f64 >= *due.start();
        assert!(is_due, "{self:?} at {hz} Hz are {due:?}; {samples} were sampled and {lost} lost");
    }
}
