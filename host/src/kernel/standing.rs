//! The privileges of this process and the restrictions on it: read once, used to explain refusals.

use super::proc_mount::ProcMount;
use crate::bpf::{ask_bpf, ask_perf};
use crate::system_call::file_system_of;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

/// Bits of a capability set (`include/uapi/linux/capability.h`).
pub(super) const CAP_IPC_LOCK: u32 = 14;
pub(super) const CAP_SYS_PTRACE: u32 = 19;
pub(super) const CAP_SYS_ADMIN: u32 = 21;
pub(super) const CAP_SYSLOG: u32 = 34;
pub(super) const CAP_PERFMON: u32 = 38;
pub(super) const CAP_BPF: u32 = 39;

/// The privileges of this process and the restrictions on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The effective capability set; `None` if `/proc/self/status` could not be read.
    pub(super) effective: Option<u64>,
    /// True if a seccomp filter judges our system calls.
    pub(super) seccomp_filter: bool,
    /// Set if a seccomp filter is known to answer in the kernel's place for bpf(2), and for perf_event_open(2).
    pub(super) filtered: (bool, bool),
    /// The mount of `/proc`.
    pub(super) proc: ProcMount,
    /// True if we are in a user namespace, whose capabilities count for nothing here.
    pub(super) user_namespace: bool,
    /// The kernel's lockdown mode: `none`, `integrity`, `confidentiality`; `None` if unknown.
    pub(super) lockdown: Option<String>,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<i32>,
    /// The memlock limit in bytes, where BPF memory is still charged to it (before 5.11).
    pub(super) memlock: Option<u64>,
}

impl Standing {
    /// Reads it from `/proc` and `/sys`. `charges_memlock`: the kernel is older than 5.11.
    pub(super) fn read(charges_memlock: bool) -> Self {
        // The name of the process may be any bytes.
        let text =
            |path: &str| std::fs::read(path).ok().map(|text| String::from_utf8_lossy(&text).into_owned());
        let status = text("/proc/self/status").unwrap_or_default();
        let effective = status_field(&status, "CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
        // 2 is SECCOMP_MODE_FILTER.
        let seccomp_filter = status_field(&status, "Seccomp") == Some("2");
        let is_refusal = |error: io::Error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let has_bpf = effective.is_some_and(|set| set >> CAP_BPF & 1 == 1 || set >> CAP_SYS_ADMIN & 1 == 1);
        Self {
            effective,
            seccomp_filter,
            filtered: (
                seccomp_filter && has_bpf && is_refusal(ask_bpf()),
                seccomp_filter && is_refusal(ask_perf()),
            ),
            proc: ProcMount::read(),
            user_namespace: text("/proc/self/uid_map").is_some_and(|map| !is_initial_uid_map(&map)),
            lockdown: text(LOCKDOWN).and_then(|text| chosen(&text)),
            perf_event_paranoid: text("/proc/sys/kernel/perf_event_paranoid")
                .and_then(|text| text.trim().parse().ok()),
            memlock: charges_memlock.then(|| text("/proc/self/limits")).flatten().and_then(|t| memlock(&t)),
        }
    }

    /// Tells whether the kernel's lockdown lets nobody look into it.
    pub(super) fn keeps_secrets(&self) -> bool {
        self.lockdown.as_deref() == Some("confidentiality")
    }

    /// Tells whether the effective set has this capability. An unknown set counts as yes, since then it is not what
    /// explains a refusal.
    pub(super) fn may(&self, capability: u32) -> bool {
        self.effective.is_none_or(|set| set >> capability & 1 == 1)
    }
}

/// The file in which the kernel states its lockdown mode; it exists only if securityfs is mounted.
pub(super) const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Tells whether securityfs is mounted, whatever it holds: without security modules it is empty.
pub(super) fn securityfs_is_mounted() -> bool {
    is_securityfs("/sys/kernel/security")
}

fn is_securityfs(path: &str) -> bool {
    let folder = File::options().read(true).custom_flags(libc::O_PATH).open(path);
    folder.and_then(|folder| file_system_of(&folder)).is_ok_and(|kind| kind == libc::SECURITYFS_MAGIC)
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The initial user namespace maps every id to itself.
fn is_initial_uid_map(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.into())
}

/// The soft limit; `None` for `unlimited`.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_says_of_us() {
        let status = "Name:\tcat\nSeccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t000001fffeffffff\n";
        assert_eq!(status_field(status, "Seccomp"), Some("2"));
        assert_eq!(status_field(status, "CapEff"), Some("000001fffeffffff"));
        assert_eq!(status_field(status, "CapPrm"), None);
        let limits = "Max locked memory         8388608              8388608              bytes\n";
        assert_eq!(memlock(limits), Some(8 << 20));
        assert_eq!(memlock("Max locked memory unlimited unlimited bytes\n"), None);
    }

    #[test]
    fn tells_the_initial_user_namespace_from_others() {
        assert!(is_initial_uid_map("         0          0 4294967295\n"));
        assert!(!is_initial_uid_map("         0       1000          1\n"));
        assert!(!is_initial_uid_map(""));
    }

    #[test]
    fn reads_the_lockdown_mode_in_brackets() {
        assert_eq!(chosen("[none] integrity confidentiality\n").as_deref(), Some("none"));
        assert_eq!(chosen("none integrity [confidentiality]\n").as_deref(), Some("confidentiality"));
        assert_eq!(chosen("none\n"), None);
    }

    #[test]
    fn knows_securityfs_by_its_kind_and_not_by_what_it_holds() {
        assert!(!is_securityfs("/proc"));
        assert!(!is_securityfs("/nonexistent"));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/kernel/security"));
        assert_eq!(securityfs_is_mounted(), mounted);
    }

    #[test]
    fn does_not_blame_a_capability_set_that_could_not_be_read() {
        assert!(Standing::default().may(CAP_BPF));
        let none = Standing { effective: Some(0), ..Standing::default() };
        assert!(!none.may(CAP_BPF));
        let bpf = Standing { effective: Some(1 << CAP_BPF), ..Standing::default() };
        assert!(bpf.may(CAP_BPF) && !bpf.may(CAP_PERFMON));
    }
}
