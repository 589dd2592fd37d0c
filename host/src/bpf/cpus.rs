//! Which CPUs there are, by the kernel's own word.
//!
//! Usually that is `online` and `possible` in sysfs. Either may be missing (no `/sys`), or be another file's content
//! (lxcfs mounts files of its own there, which show a container's share). Then each CPU is asked for by
//! perf_event_open(2), which tells a CPU that is online from one that is not, and from one that cannot be.

use super::perf::Event;
use crate::system_call::file_system_of;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Once;

const ONLINE: &str = "/sys/devices/system/cpu/online";
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
/// No kernel has more CPUs (CONFIG_NR_CPUS).
const CPUS_MAX: u32 = 8192;
/// A list is longer only if it is none.
const LIST_BYTES_MAX: u64 = 1 << 16;
/// `SYSFS_MAGIC` in include/uapi/linux/magic.h.
const SYSFS_MAGIC: libc::c_long = 0x6265_6572;

/// The CPUs that are online.
pub fn online_cpus() -> Vec<u32> {
    Cpus::find().online
}

/// The machine's CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// Those that are online.
    pub(super) online: Vec<u32>,
    /// One more than the highest number that a CPU can have.
    pub(super) limit: u32,
    /// Set if sysfs says both; else [`Cpus::listed`] says nothing.
    is_listed: bool,
}

impl Cpus {
    /// Looks for them.
    pub(super) fn find() -> Self {
        let (online, possible) = (read_list(ONLINE), read_list(POSSIBLE));
        let ours = affinity();
        if let (Ok(online), Ok(possible)) = (&online, &possible)
            && ours.iter().all(|cpu| online.contains(cpu))
            && online.iter().all(|cpu| possible.contains(cpu))
            && let Some(last) = possible.iter().max()
        {
            return Self { online: online.clone(), limit: last + 1, is_listed: true };
        }
        let found = Self::try_each(ours);
        found.warn(&[(ONLINE, &online), (POSSIBLE, &possible)]);
        found
    }

    /// Those that are online now, where sysfs can be believed.
    pub(super) fn listed(&self) -> Option<Vec<u32>> {
        // A CPU that this process may run on and that is not in the list was just taken offline, or will be in the next.
        self.is_listed.then(|| read_list(ONLINE).ok()).flatten()
    }

    /// Asks the kernel for an event of each; where that is refused, those that this process may run on are taken.
    fn try_each(ours: Vec<u32>) -> Self {
        let mut online = Vec::new();
        for cpu in 0..CPUS_MAX {
            // An hour: it is never switched on.
            match Event::cpu_clock(cpu, 3_600_000_000_000) {
                Ok(_) => online.push(cpu),
                Err(error) if is_offline(&error) => {}
                // EINVAL says that no CPU can have this number.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !online.is_empty() => {
                    return Self { online, limit: cpu, is_listed: false };
                }
                Err(_) => break,
            }
        }
        if online.is_empty() {
            online = if ours.is_empty() { vec![0] } else { ours };
        }
        let limit = online.iter().max().map_or(1, |last| last + 1);
        Self { online, limit, is_listed: false }
    }

    /// Says once which file is not believed, and what is done instead.
    fn warn(&self, files: &[(&str, &io::Result<Vec<u32>>)]) {
        static SAID: Once = Once::new();
        let says = |(path, list): &(&str, &io::Result<Vec<u32>>)| match list {
            Ok(list) => format!("{path} says {}", ranges(list)),
            Err(error) => format!("{path}: {error}"),
        };
        let said: Vec<_> = files.iter().map(says).collect();
        SAID.call_once(|| {
            tracing::warn!(
                "the list of CPUs is not the kernel's ({}); asking for an event of each found CPUs {}, which are sampled",
                said.join("; "),
                ranges(&self.online)
            );
        });
    }
}

/// Tells whether perf_event_open(2) failed because that CPU is not online.
pub(super) fn is_offline(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}

/// Reads a list of CPUs, if it is sysfs that says it.
fn read_list(path: &str) -> io::Result<Vec<u32>> {
    let file = File::open(path)?;
    let system = file_system_of(&file)?;
    let mut text = Vec::new();
    file.take(LIST_BYTES_MAX).read_to_end(&mut text)?;
    let text = text.trim_ascii();
    if system != SYSFS_MAGIC {
        let text = String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned();
        return Err(io::Error::other(format!(
            "a file of another file system was mounted there, which says `{text}`"
        )));
    }
    parse_cpu_list(text)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| io::Error::other("it is not a list of CPUs"))
}

/// The CPUs that this process may run on, which are online: sched_getaffinity(2).
fn affinity() -> Vec<u32> {
    let mut mask = vec![0_u64; (CPUS_MAX / u64::BITS) as usize];
    // SAFETY: the buffer has the size that is stated and outlives the call.
    let bytes =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&*mask), mask.as_mut_ptr()) };
    if bytes < 0 {
        return Vec::new();
    }
    (0..CPUS_MAX).filter(|cpu| mask[(cpu / u64::BITS) as usize] >> (cpu % u64::BITS) & 1 == 1).collect()
}

/// Reads a list such as `0-3,8` (Documentation/admin-guide/cputopology.rst), sorted.
pub fn parse_cpu_list(list: &[u8]) -> Option<Vec<u32>> {
    let list = str::from_utf8(list).ok()?;
    let mut cpus = std::collections::BTreeSet::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CPUS_MAX || first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

/// Writes a sorted list as the kernel does.
fn ranges(cpus: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cpu_lists_and_writes_them() {
        for (text, cpus) in [("0", &[0][..]), ("0-2,5,7-8", &[0, 1, 2, 5, 7, 8]), ("", &[])] {
            assert_eq!(parse_cpu_list(text.as_bytes()).unwrap(), cpus);
            assert_eq!(ranges(cpus), text);
        }
        assert_eq!(parse_cpu_list(b"5,0-1,1").unwrap(), [0, 1, 5]);
    }

    #[test]
    fn refuses_what_is_not_a_cpu_list() {
        for bad in [&b"x"[..], b"3-1", b"0-4294967295", b"8192", b"1-", b"-1", b"0,\xff"] {
            assert_eq!(parse_cpu_list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_sysfs_is_believed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"0-7\n").unwrap();
        let said = read_list(file.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(said.contains("another file system") && said.contains("`0-7`"), "{said}");
    }

    #[test]
    fn this_process_runs_on_cpus_that_are_online() {
        let (found, ours) = (Cpus::find(), affinity());
        assert!(!ours.is_empty() && ours.iter().all(|cpu| found.online.contains(cpu)), "{ours:?} {found:?}");
        assert!(found.online.iter().all(|cpu| *cpu < found.limit), "{found:?}");
    }
}
