//! Probing what the running system offers, never inferring it from a version.
//!
//! Every probe does what the agent will do, once, and undoes it. None needs tracefs or a network.

use super::refusal::{IN_CONFIDENTIALITY, NO_LOCKDOWN, absent, explain};
use super::standing::{
    CAP_BPF, CAP_IPC_LOCK, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYSLOG, LOCKDOWN, Standing,
    securityfs_is_mounted,
};
use super::system_proc::open_kallsyms;
use super::version::{KernelVersion, Version};
use crate::bpf::{Trial, attempt, online_cpus, raise_memlock};
use stacksonde_plugin::{Capabilities, Outcome};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Capabilities that are probed by trying them.
const TRIALS: [(&str, Trial); 13] = [
    ("bpf.syscall", Trial::Map),
    ("bpf.prog.perf_event", Trial::PerfEventProgram),
    ("bpf.prog.raw_tracepoint", Trial::RawTracepointProgram),
    ("bpf.run.raw_tracepoint", Trial::RawTracepointRun),
    ("bpf.prog.tracepoint", Trial::TracepointProgram),
    ("bpf.helper.get_current_cgroup_id", Trial::CgroupIdHelper),
    ("bpf.helper.get_ns_current_pid_tgid", Trial::NamespaceIdsHelper),
    ("bpf.helper.probe_read_kernel", Trial::KernelReadHelper),
    ("bpf.map.ringbuf", Trial::RingBuffer),
    ("bpf.map.array_of_maps", Trial::ArrayOfMaps),
    ("perf.cpu_clock", Trial::CpuClock),
    ("perf.period", Trial::Period),
    ("perf.sideband", Trial::SideBand),
];

/// Capabilities of the process, by the bit that grants them and another that does too.
const PRIVILEGES: [(&str, &str, u32, u32); 5] = [
    ("cap.bpf", "CAP_BPF", CAP_BPF, CAP_SYS_ADMIN),
    ("cap.ipc_lock", "CAP_IPC_LOCK", CAP_IPC_LOCK, CAP_IPC_LOCK),
    ("cap.perfmon", "CAP_PERFMON", CAP_PERFMON, CAP_SYS_ADMIN),
    ("cap.sys_admin", "CAP_SYS_ADMIN", CAP_SYS_ADMIN, CAP_SYS_ADMIN),
    ("cap.sys_ptrace", "CAP_SYS_PTRACE", CAP_SYS_PTRACE, CAP_SYS_PTRACE),
];

/// A look at files.
type Look = fn(&Standing) -> Outcome;

/// Capabilities that are probed by looking at files.
const FILES: [(&str, Look); 4] = [
    ("kallsyms.addresses", kallsyms),
    ("kernel.btf", |_| btf(Path::new(BTF))),
    ("tracefs.mounted", |standing| {
        locked_tracefs(standing, tracefs(&TRACEFS.map(Path::new), "events", "tracefs is not mounted", MOUNT))
    }),
    ("tracefs.syscalls", |standing| {
        let said = "no syscall tracepoints in tracefs";
        locked_tracefs(standing, tracefs(&TRACEFS.map(Path::new), "events/syscalls", said, SYSCALLS))
    }),
];

const LOCKDOWN_NONE: &str = "lockdown.none";
const BTF: &str = "/sys/kernel/btf/vmlinux";
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const MOUNT: &str = "mount -t tracefs tracefs /sys/kernel/tracing";
const SYSCALLS: &str = "a kernel with CONFIG_FTRACE_SYSCALLS=y, and tracefs mounted";

/// The name of every capability that is probed, sorted.
pub fn known_names() -> Vec<&'static str> {
    let mut names: Vec<_> = TRIALS.iter().map(|(name, _)| *name).collect();
    names.extend(PRIVILEGES.iter().map(|(name, ..)| *name));
    names.extend(FILES.iter().map(|(name, _)| *name));
    names.push(LOCKDOWN_NONE);
    names.sort_unstable();
    names
}

/// Probes everything. It never fails: what cannot be told is an outcome.
///
/// `version` only explains refusals (memlock before 5.11).
pub fn probe(version: Option<KernelVersion>) -> Capabilities {
    let standing = Standing::read(version.is_some_and(|v| v.version < Version([5, 11, 0])));
    let mut found = Capabilities::default();
    // Any CPU does, but CPU 0 may be offline.
    let cpu = online_cpus().first().copied().unwrap_or(0);
    for (name, trial) in TRIALS {
        let mut tried = attempt(trial, cpu);
        // Before 5.11 BPF's memory counts as locked, and this is how the kernel says that it is too much.
        if is_refused(&tried) && standing.memlock.is_some() && raise_memlock().is_ok() {
            tried = attempt(trial, cpu);
        }
        let outcome = match tried {
            Ok(()) => Outcome::Present,
            Err(error) if is_over_perf_mlock(trial, &error, &found) => absent(
                "the buffer of process events is more than may be locked",
                "grant CAP_IPC_LOCK or raise kernel.perf_event_mlock_kb",
            ),
            Err(error) => explain(trial, &error, &standing),
        };
        found.0.insert(name.into(), outcome);
    }
    for (name, capability, bit, other) in PRIVILEGES {
        found.0.insert(name.into(), privilege(&standing, capability, bit, other));
    }
    for (name, look) in FILES {
        found.0.insert(name.into(), look(&standing));
    }
    found.0.insert(LOCKDOWN_NONE.into(), lockdown(&standing));
    found
}

/// Tells whether the running kernel states its own types: `/sys/kernel/btf/vmlinux` can be read and is BTF.
pub fn btf_available() -> bool {
    btf(Path::new(BTF)) == Outcome::Present
}

fn is_refused(tried: &io::Result<()>) -> bool {
    tried.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

/// An event opens and its buffer does not: then it is not the right to events that is lacking.
fn is_over_perf_mlock(trial: Trial, error: &io::Error, found: &Capabilities) -> bool {
    matches!(trial, Trial::SideBand)
        && error.raw_os_error() == Some(libc::EPERM)
        && found.has("perf.cpu_clock")
}

fn privilege(standing: &Standing, capability: &str, bit: u32, other: u32) -> Outcome {
    if standing.effective.is_none() {
        return Outcome::Unknown {
            error: "/proc/self/status does not say which capabilities we have".into(),
        };
    }
    if standing.may(bit) || standing.may(other) {
        return Outcome::Present;
    }
    let reason = match &standing.proc.hidepid {
        Some(hidepid) if bit == CAP_SYS_PTRACE => {
            format!(
                "not in our effective set, and /proc is mounted with hidepid={hidepid}: others' processes are hidden"
            )
        }
        _ => "not in our effective set".to_owned(),
    };
    absent(reason, format!("run as root, or grant {capability}"))
}

fn btf(path: &Path) -> Outcome {
    // The header's magic number (Documentation/bpf/btf.rst), in the machine's byte order.
    let magic = 0xeb9f_u16.to_ne_bytes();
    let mut first = [0; 2];
    match File::open(path).and_then(|mut file| file.read_exact(&mut first)) {
        Ok(()) if first == magic => Outcome::Present,
        Ok(()) => absent(format!("{} is not BTF", path.display()), "a kernel with CONFIG_DEBUG_INFO_BTF=y"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            absent(format!("there is no {}", path.display()), "a kernel with CONFIG_DEBUG_INFO_BTF=y")
        }
        Err(error) => unreadable(path, &error),
    }
}

/// In the strictest lockdown the kernel makes no tracefs of anything (kernel/trace/trace.c, `tracing_init_dentry`).
fn locked_tracefs(standing: &Standing, found: Outcome) -> Outcome {
    match found {
        Outcome::Absent { .. } if standing.keeps_secrets() => {
            absent(format!("the kernel allows no tracing {IN_CONFIDENTIALITY}"), NO_LOCKDOWN)
        }
        found => found,
    }
}

fn kallsyms(standing: &Standing) -> Outcome {
    let path = Path::new("/proc/kallsyms");
    // The first symbols of a kernel with per-CPU symbols count up from zero: look past them.
    let mut head = Vec::new();
    match open_kallsyms().and_then(|file| file.take(64 << 10).read_to_end(&mut head)) {
        Ok(_) if shows_addresses(&head) => Outcome::Present,
        Ok(_) if standing.may(CAP_SYSLOG) => absent(
            "the kernel hides the addresses in /proc/kallsyms from everybody",
            "set kernel.kptr_restrict to 1",
        ),
        Ok(_) => absent(
            "the kernel hides the addresses in /proc/kallsyms from who has no CAP_SYSLOG",
            "grant CAP_SYSLOG, and if kernel.kptr_restrict is 2, set it to 1",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound && standing.proc.only_processes => absent(
            "there is no /proc/kallsyms: /proc is mounted with subset=pid",
            "mount it without (ProcSubset=all of a unit), or grant CAP_SYS_ADMIN",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            absent("there is no /proc/kallsyms", "a kernel with CONFIG_KALLSYMS=y")
        }
        Err(error) => unreadable(path, &error),
    }
}

/// Tells whether any line begins with an address other than zero.
fn shows_addresses(kallsyms: &[u8]) -> bool {
    kallsyms
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').next())
        .any(|address| !address.is_empty() && address.iter().any(|digit| *digit != b'0'))
}

fn tracefs(roots: &[&Path], below: &str, reason: &str, remedy: &str) -> Outcome {
    let mut refused = None;
    for root in roots {
        let path = root.join(below);
        match std::fs::metadata(&path) {
            Ok(_) => return Outcome::Present,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refused = Some(unreadable(&path, &error)),
        }
    }
    refused.unwrap_or_else(|| absent(reason, remedy))
}

fn unreadable(path: &Path, error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return absent(format!("{} may not be read", path.display()), "run as root");
    }
    Outcome::Unknown { error: format!("{}: {error}", path.display()) }
}

fn lockdown(standing: &Standing) -> Outcome {
    match standing.lockdown.as_deref() {
        Some("none") => Outcome::Present,
        Some(mode) => absent(format!("the kernel is in lockdown mode `{mode}`"), NO_LOCKDOWN),
        // A kernel without lockdown has everything of securityfs but this file.
        None if securityfs_is_mounted() => Outcome::Present,
        None => Outcome::Unknown { error: format!("{LOCKDOWN} cannot be read: is securityfs mounted?") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_exactly_the_names_that_it_says_it_knows() {
        let probed: Vec<_> = probe(None).0.into_keys().collect();
        assert_eq!(probed, known_names());
    }

    #[test]
    fn takes_addresses_for_hidden_only_if_all_are_zero() {
        let table = [
            ("0000000000000000 T _text\n0000000000000000 T _stext\n", false),
            ("0000000000000000 A fixed_percpu_data\n0000000000001000 A cpu_debug_store\n", true),
            ("ffffffff81000000 T _text\n", true),
            ("", false),
        ];
        for (text, shown) in table {
            assert_eq!(shows_addresses(text.as_bytes()), shown, "{text}");
        }
    }

    #[test]
    fn finds_tracefs_under_either_root() {
        let folder = std::env::temp_dir().join(format!("stacksonde-tracefs-{}", std::process::id()));
        let (first, second) = (folder.join("tracing"), folder.join("debug/tracing"));
        std::fs::create_dir_all(second.join("events")).unwrap();
        let look = |below| tracefs(&[&first, &second], below, "not mounted", "mount it");
        let (mounted, syscalls) = (look("events"), look("events/syscalls"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(mounted, Outcome::Present);
        assert_eq!(syscalls, absent("not mounted", "mount it"));
    }

    #[test]
    fn tells_btf_from_something_else() {
        assert!(matches!(btf(Path::new("/proc/self/exe")), Outcome::Absent { .. }));
        assert!(matches!(btf(Path::new("/nonexistent")), Outcome::Absent { .. }));
        assert_eq!(btf(Path::new(BTF)) == Outcome::Present, Path::new(BTF).exists());
    }

    #[test]
    fn a_capability_may_be_granted_by_another() {
        let admin = Standing { effective: Some(1 << CAP_SYS_ADMIN), ..Standing::default() };
        assert_eq!(privilege(&admin, "CAP_BPF", CAP_BPF, CAP_SYS_ADMIN), Outcome::Present);
        assert!(matches!(
            privilege(&admin, "CAP_SYS_PTRACE", CAP_SYS_PTRACE, CAP_SYS_PTRACE),
            Outcome::Absent { .. }
        ));
        assert!(matches!(privilege(&Standing::default(), "X", 0, 0), Outcome::Unknown { .. }));
    }
}
