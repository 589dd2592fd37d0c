//! Ticks of idle CPUs that the kernel does not deliver.
//!
//! Usually an idle CPU's ticks run the sampler, which counts them. Some kernels deliver no perf event at
//! all from a CPU's idle task (seen in virtual machines, on single CPUs; `perf record -a -e cpu-clock`
//! shows no `swapper` of that CPU either). Such ticks are not lost samples: nothing was there to
//! sample. How many they are follows from the CPU's idle time.

use crate::kernel::system_file;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Returns how many of `missing` undelivered ticks of a CPU its idle time explains.
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

/// Times of a CPU since boot, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// It was idle.
    pub idle_ns: u64,
    /// The hypervisor ran something else on it.
    pub stolen_ns: u64,
    /// It was online; 0 where that is not known.
    pub online_ns: u64,
}

/// The source of times of CPUs.
#[derive(Debug)]
pub(super) enum CpuTimesSource {
    /// `/proc/stat`, to 10 ms, held open.
    Stat(File),
    /// Time of each CPU in each of its idle states, in sysfs.
    IdleStates,
    /// Nowhere.
    Nowhere,
}

impl CpuTimesSource {
    /// Finds the first that says something.
    pub(super) fn find() -> Self {
        let stat = system_file("stat").map(Self::Stat).ok();
        let mut sources = stat.into_iter().chain([Self::IdleStates]);
        sources.find(|source| !source.read().is_empty()).unwrap_or_else(|| {
            tracing::warn!(
                "how long CPUs are idle is not to be seen: /proc/stat cannot be read, and sysfs has no cpuidle; idle time \
                 in which the kernel delivers no ticks will be told as lost (undelivered); to change that: mount /proc \
                 without subset=pid (systemd: ProcSubset=all), or grant CAP_SYS_ADMIN"
            );
            Self::Nowhere
        })
    }

    /// Reads the times of all CPUs that are online.
    pub(super) fn read(&self) -> BTreeMap<u32, CpuTimes> {
        match self {
            Self::Stat(file) => {
                // SAFETY: a plain question. proc(5): the unit of /proc/stat, hundredths of a second nearly everywhere.
                let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
                let per_second = u64::try_from(per_second).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
                parse_cpu_times(&read_from_start(file), per_second)
            }
            Self::IdleStates => read_idle_states(Path::new("/sys/devices/system/cpu")),
            Self::Nowhere => BTreeMap::new(),
        }
    }
}

/// Reads a file of `/proc` that is held open.
fn read_from_start(file: &File) -> Vec<u8> {
    let mut text = vec![0; 1 << 14];
    let mut length = 0;
    while let Ok(read @ 1..) = file.read_at(&mut text[length..], length as u64) {
        length += read;
        // What is wanted stands first, before the counts of interrupts.
        if text[..length].windows(5).any(|word| word == b"\nintr") || length >= STAT_BYTES_MAX {
            break;
        }
        text.resize(2 * text.len().max(length), 0);
    }
    text.truncate(length);
    text
}

/// Lines of all CPUs take less: the kernel has 8192 at most.
const STAT_BYTES_MAX: usize = 4 << 20;

/// Reads the fields `idle` and `iowait`, `steal`, and the sum of all in each CPU's line (proc(5), `/proc/stat`).
pub fn parse_cpu_times(stat: &[u8], per_second: u64) -> BTreeMap<u32, CpuTimes> {
    let line = |line: &[u8]| {
        let line = str::from_utf8(line).ok()?.strip_prefix("cpu")?;
        // The first line adds up all of them.
        let mut words =
            line.starts_with(|it: char| it.is_ascii_digit()).then(|| line.split_ascii_whitespace())?;
        let cpu: u32 = words.next()?.parse().ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is a part of user and nice.
        let times: Vec<u64> = words.take(8).map_while(|time| time.parse().ok()).collect();
        let ns = |ticks: u64| ticks.saturating_mul(1_000_000_000 / per_second.max(1));
        let idle = times.get(3)?.saturating_add(*times.get(4)?);
        Some((
            cpu,
            CpuTimes {
                idle_ns: ns(idle),
                stolen_ns: ns(times.get(7).copied().unwrap_or(0)),
                online_ns: ns(times.iter().fold(0, |sum, time| sum.saturating_add(*time))),
            },
        ))
    };
    stat.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Adds up `cpu<N>/cpuidle/state<M>/time`, in microseconds (Documentation/admin-guide/pm/cpuidle.rst).
fn read_idle_states(cpus: &Path) -> BTreeMap<u32, CpuTimes> {
    let names = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = BTreeMap::new();
    for entry in names(cpus) {
        let number =
            entry.file_name().to_str().and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
        let Some(number) = number else { continue };
        let times = names(&entry.path().join("cpuidle")).filter_map(|state| {
            let text = std::fs::read(state.path().join("time")).ok()?;
            str::from_utf8(text.trim_ascii()).ok()?.parse::<u64>().ok()
        });
        if let Some(idle_us) = times.reduce(u64::saturating_add) {
            found.insert(number, CpuTimes { idle_ns: idle_us.saturating_mul(1000), ..CpuTimes::default() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_of_single_cpus() {
        let stat = b"cpu  9 9 9 9 9 9\ncpu0 1 0 2 30 4 0 0 7 5 5\ncpu12 1 0 2 5 0 0\ncpu13 1\ncpu\xff 1 2 3 4 5\nintr 5 6\n";
        let times = |idle: u64, stolen: u64, online: u64| CpuTimes {
            idle_ns: idle * 10_000_000,
            stolen_ns: stolen * 10_000_000,
            online_ns: online * 10_000_000,
        };
        let expected = [(0, times(34, 7, 44)), (12, times(5, 0, 8))];
        assert_eq!(parse_cpu_times(stat, 100), expected.into());
    }

    #[test]
    fn a_file_that_is_held_open_is_read_anew_and_not_to_its_end() {
        let source = CpuTimesSource::find();
        let CpuTimesSource::Stat(file) = &source else { panic!("{source:?}") };
        let (first, second) = (read_from_start(file), read_from_start(file));
        assert!(first.starts_with(b"cpu ") && second.starts_with(b"cpu "));
        let online = source.read().into_keys().collect::<Vec<_>>();
        assert_eq!(online, super::super::online_cpus());
    }

    #[test]
    fn adds_up_the_idle_states_of_each_cpu() {
        let folder = tempfile::tempdir().unwrap();
        for (state, text) in
            [("cpu0/cpuidle/state0", "5\n"), ("cpu0/cpuidle/state1", "7\n"), ("cpufreq/x", "9")]
        {
            std::fs::create_dir_all(folder.path().join(state)).unwrap();
            std::fs::write(folder.path().join(state).join("time"), text).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("cpu1")).unwrap();
        let idle = CpuTimes { idle_ns: 12_000, ..CpuTimes::default() };
        assert_eq!(read_idle_states(folder.path()), [(0, idle)].into());
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
