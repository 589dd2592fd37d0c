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

/// What a CPU did since boot apart from running programs, in nanoseconds, to 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// It was idle.
    pub idle_ns: u64,
    /// The hypervisor ran something else on it.
    pub stolen_ns: u64,
}

/// Times of all CPUs; empty where `/proc/stat` cannot be read.
pub(super) fn read_cpu_times() -> BTreeMap<u32, CpuTimes> {
    // SAFETY: a plain question. proc(5): the unit of /proc/stat, hundredths of a second nearly everywhere.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
    parse_cpu_times(&std::fs::read_to_string("/proc/stat").unwrap_or_default(), per_second)
}

/// The fields `idle` and `iowait`, and `steal`, of each CPU's line (proc(5), `/proc/stat`).
pub fn parse_cpu_times(stat: &str, per_second: u64) -> BTreeMap<u32, CpuTimes> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let cpu: u32 = words.next()?.parse().ok()?;
        let mut times = words.skip(3).map(|time| time.parse::<u64>().ok());
        let idle = times.next()??.saturating_add(times.next()??);
        // After those of interrupts; kernels before 2.6.11 have no more fields.
        let stolen = times.nth(2).flatten().unwrap_or(0);
        let ns = |ticks: u64| ticks.saturating_mul(1_000_000_000 / per_second.max(1));
        Some((cpu, CpuTimes { idle_ns: ns(idle), stolen_ns: ns(stolen) }))
    };
    stat.lines().filter(|text| !text.starts_with("cpu ")).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_of_single_cpus() {
        let stat = "cpu  9 9 9 9 9 9\ncpu0 1 0 2 30 4 0 0 7 0 0\ncpu12 1 0 2 5 0 0\ncpu13 1\nintr 5 6\n";
        let times = |idle_ns, stolen_ns| CpuTimes { idle_ns, stolen_ns };
        let expected = [(0, times(340_000_000, 70_000_000)), (12, times(50_000_000, 0))];
        assert_eq!(parse_cpu_times(stat, 100), expected.into());
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
