//! Ticks of idle CPUs that the kernel does not deliver.
//!
//! Usually an idle CPU's ticks run the sampler, which counts them. Some kernels deliver no perf event at
//! all from a CPU's idle task (seen in virtual machines, on single CPUs; `perf record -a -e cpu-clock`
//! shows no `swapper` of that CPU either). Such ticks are not lost samples: nothing was there to
//! sample. How many they are follows from the CPU's idle time.

use std::collections::BTreeMap;

/// How many of `missing` undelivered ticks of a CPU its idle time explains.
///
/// `idle_runs` and `busy_runs` are the ticks that were delivered, `idle_ticks` is the idle time in ticks.
/// Only a CPU that delivers less than half of its idle ticks has any explained.
///
/// Ticks sample idle time, they do not measure it: work that timers start tends to fall between two. So
/// if idle time explains all but the sampling error (three standard deviations of the busy ticks, and
/// 2 % of the missing), it explains all.
pub(super) fn idle_share(missing: u64, idle_runs: u64, busy_runs: u64, idle_ticks: u64) -> u64 {
    if missing == 0 || idle_runs * 2 >= idle_ticks {
        return 0;
    }
    let explained = idle_ticks - idle_runs;
    let unexplained = missing.saturating_sub(explained);
    let error = 3 * (busy_runs + unexplained).isqrt() + missing / 50;
    if unexplained <= error { missing } else { explained }
}

/// Time that each CPU has been idle since boot, in nanoseconds, to 10 ms; empty where `/proc/stat` cannot be read.
pub(super) fn read_idle_times() -> BTreeMap<u32, u64> {
    // SAFETY: a plain question. proc(5): the unit of /proc/stat, hundredths of a second nearly everywhere.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
    parse_idle_times(&std::fs::read_to_string("/proc/stat").unwrap_or_default(), per_second)
}

/// The sums of the fields `idle` and `iowait` of each CPU's line, in nanoseconds (proc(5), `/proc/stat`).
pub fn parse_idle_times(stat: &str, per_second: u64) -> BTreeMap<u32, u64> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let cpu: u32 = words.next()?.parse().ok()?;
        let mut times = words.skip(3).map(|time| time.parse::<u64>().ok());
        let idle = times.next()??.saturating_add(times.next()??);
        Some((cpu, idle.saturating_mul(1_000_000_000 / per_second.max(1))))
    };
    stat.lines().filter(|text| !text.starts_with("cpu ")).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_idle_times_of_single_cpus() {
        let stat = "cpu  9 9 9 9 9 9\ncpu0 1 0 2 30 4 0 0 0 0 0\ncpu12 1 0 2 5 0 0\ncpu13 1\nintr 5 6\n";
        assert_eq!(parse_idle_times(stat, 100), [(0, 340_000_000), (12, 50_000_000)].into());
    }

    #[test]
    fn idle_time_explains_missing_ticks() {
        // (missing, idle runs, busy runs, idle ticks) -> explained
        for (missing, idle, busy, idle_ticks, explained) in [
            // Nothing is missing.
            (0, 500, 400, 500, 0),
            // Idle ticks arrive, so what is missing was lost.
            (100, 500, 300, 500, 0),
            // Half of the time idle, nothing of it delivered.
            (2003, 0, 2496, 1998, 2003),
            // Hardly anything ran, and that fell between the ticks.
            (985, 0, 5, 970, 985),
            // Another BPF program ran besides.
            (4469, 0, 28, 1970, 1970),
            // Idle time is not known.
            (985, 0, 5, 0, 0),
        ] {
            assert_eq!(idle_share(missing, idle, busy, idle_ticks), explained, "{missing} missing");
        }
    }
}
