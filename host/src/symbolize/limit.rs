//! A limit of CPU time, by which the same file has the same names on a machine that is busy otherwise.

use crate::bpf::clock_ns;
use std::time::Duration;

/// CPU time of one thread, up to which it may go on.
#[derive(Clone, Copy, Debug)]
pub struct CpuLimit(Duration);

impl CpuLimit {
    /// Lets the thread that calls go on for so much more of its CPU time.
    pub fn after(time: Duration) -> Self {
        Self(cpu_time().saturating_add(time))
    }

    /// Tells whether the time is used up; to be asked by the thread that made it.
    pub fn is_over(self) -> bool {
        cpu_time() >= self.0
    }
}

/// Returns the CPU time of this thread.
pub(super) fn cpu_time() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_THREAD_CPUTIME_ID))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_thread_does_not_run_does_not_count() {
        let limit = CpuLimit::after(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!limit.is_over());
        while !limit.is_over() {}
    }
}
