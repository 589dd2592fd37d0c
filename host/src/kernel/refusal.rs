//! Why did the kernel refuse? An error number means different things by call and by standing.

use super::standing::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Standing};
use crate::bpf::Trial;
use stacksonde_plugin::Outcome;
use std::io;

/// `ENOTSUPP`, which the kernel keeps to itself but lets out here (`include/linux/errno.h`).
const ENOTSUPP: i32 = 524;

/// Explains the error of a trial.
pub(super) fn explain(trial: Trial, error: &io::Error, standing: &Standing) -> Outcome {
    let call = call(trial);
    match error.raw_os_error() {
        Some(libc::ENOSYS) => no_such_call(call, standing),
        Some(libc::EPERM | libc::EACCES) => not_permitted(call, standing),
        Some(libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::E2BIG | ENOTSUPP) => {
            // In this mode the helper does not exist (kernel/trace/bpf_trace.c, bpf_tracing_func_proto).
            if trial == Trial::KernelReadHelper && standing.keeps_secrets() {
                return absent(
                    format!("BPF programs may not read kernel memory {IN_CONFIDENTIALITY}"),
                    NO_LOCKDOWN,
                );
            }
            let (reason, remedy) = unknown_to_kernel(trial);
            absent(reason, remedy)
        }
        _ => Outcome::Unknown { error: format!("{call}: {error}") },
    }
}

pub(super) fn absent(reason: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Outcome::Absent { reason: reason.into(), remedy: remedy.into() }
}

/// The remedy for lockdown.
pub(super) const NO_LOCKDOWN: &str = "boot without lockdown=, or without Secure Boot where that implies it";
/// Why something is not there.
pub(super) const IN_CONFIDENTIALITY: &str = "in the kernel's lockdown mode `confidentiality`";

const BPF: &str = "bpf(2)";
const PERF: &str = "perf_event_open(2)";

fn call(trial: Trial) -> &'static str {
    match trial {
        Trial::CpuClock | Trial::Period | Trial::SideBand => PERF,
        Trial::Map
        | Trial::PerfEventProgram
        | Trial::RawTracepointProgram
        | Trial::RawTracepointRun
        | Trial::TracepointProgram
        | Trial::CgroupIdHelper
        | Trial::NamespaceIdsHelper
        | Trial::KernelReadHelper
        | Trial::RingBuffer
        | Trial::ArrayOfMaps => BPF,
    }
}

fn no_such_call(call: &str, standing: &Standing) -> Outcome {
    let option = if call == PERF { "CONFIG_PERF_EVENTS" } else { "CONFIG_BPF_SYSCALL" };
    let remedy = format!("a kernel with {option}=y");
    if standing.seccomp_filter {
        // Some filters answer for calls that they do not allow as a kernel without them would.
        let remedy = format!("allow {call} in the seccomp profile, or {remedy}");
        absent(format!("{call} does not exist here, or a seccomp filter hides it"), remedy)
    } else {
        absent(format!("this kernel has no {call}"), remedy)
    }
}

/// The likeliest obstacle first: what we lack, then what judges us in spite of what we have.
fn not_permitted(call: &str, standing: &Standing) -> Outcome {
    let lacking = |capability| !standing.may(capability) && !standing.may(CAP_SYS_ADMIN);
    let (bpf_filtered, perf_filtered) = standing.filtered;
    if if call == PERF { perf_filtered } else { bpf_filtered } {
        let also = if lacking(CAP_PERFMON) { ", and grant CAP_BPF and CAP_PERFMON" } else { "" };
        return absent(
            format!("refused by a seccomp filter, which answers for {call} before the kernel does"),
            format!("allow {call} in the seccomp profile{also}"),
        );
    }
    if call == PERF && lacking(CAP_PERFMON) {
        let level = standing.perf_event_paranoid.map_or_else(|| "unknown".into(), |level| level.to_string());
        return absent(
            format!("not permitted: no CAP_PERFMON, and kernel.perf_event_paranoid is {level}"),
            "run as root, grant CAP_PERFMON, or set kernel.perf_event_paranoid to 0",
        );
    }
    // Debian's kernels go beyond upstream's 2.
    if let Some(level) = standing
        .perf_event_paranoid
        .filter(|level| call == PERF && *level > 2 && !standing.may(CAP_SYS_ADMIN))
    {
        return absent(
            format!(
                "not permitted: at a kernel.perf_event_paranoid of {level} this kernel asks for CAP_SYS_ADMIN"
            ),
            "set kernel.perf_event_paranoid to 2, or grant CAP_SYS_ADMIN, which is dropped when sampling begins",
        );
    }
    if call == BPF && (lacking(CAP_BPF) || lacking(CAP_PERFMON)) {
        return absent(
            "not permitted: no CAP_BPF with CAP_PERFMON, and no CAP_SYS_ADMIN",
            "run as root, or grant CAP_BPF and CAP_PERFMON",
        );
    }
    if standing.user_namespace {
        return absent(
            "not permitted: we are in a user namespace, whose capabilities do not count for this",
            "run in the initial user namespace (a container with the host's)",
        );
    }
    if standing.seccomp_filter {
        return absent(
            format!("refused, likely by a seccomp filter: {call} needs no capability that we lack"),
            format!("allow {call} in the seccomp profile"),
        );
    }
    if let Some(mode) = standing.lockdown.as_deref().filter(|mode| *mode != "none") {
        return absent(format!("refused, likely by the kernel's lockdown mode `{mode}`"), NO_LOCKDOWN);
    }
    if let Some(limit) = standing.memlock.filter(|_| call == BPF) {
        return absent(
            format!(
                "refused, likely for the memlock limit of {limit} bytes, to which this kernel charges BPF"
            ),
            "raise the limit (LimitMEMLOCK=infinity, ulimit -l unlimited)",
        );
    }
    absent(
        format!("{call} was refused although no capability is lacking: a security module's policy"),
        "look for the denial in the kernel's audit log",
    )
}

fn unknown_to_kernel(trial: Trial) -> (&'static str, &'static str) {
    match trial {
        Trial::Map => ("bpf(2) refused the simplest map", "report this, with the kernel's version"),
        Trial::Period => {
            ("this kernel does not change the period of an event", "report this, with the kernel's version")
        }
        Trial::PerfEventProgram => {
            ("this kernel has no BPF programs for perf events", "a kernel with CONFIG_BPF_EVENTS=y")
        }
        Trial::RawTracepointProgram => (
            "this kernel has no BPF programs of type raw tracepoint",
            "Linux 4.17 or newer with CONFIG_BPF_EVENTS=y",
        ),
        Trial::RawTracepointRun => (
            "this kernel cannot run such a program on request",
            "Linux 5.10 or newer with CONFIG_NET=y and CONFIG_BPF_EVENTS=y",
        ),
        Trial::TracepointProgram => {
            ("this kernel has no BPF programs for tracepoints", "a kernel with CONFIG_BPF_EVENTS=y")
        }
        Trial::CgroupIdHelper => {
            ("this kernel's sampling programs cannot ask for the cgroup", "a kernel with CONFIG_CGROUPS=y")
        }
        Trial::NamespaceIdsHelper => {
            ("this kernel's sampling programs cannot ask for ids in a namespace", "Linux 5.7 or newer")
        }
        Trial::KernelReadHelper => (
            "this kernel's sampling programs cannot read kernel memory, as in lockdown mode `confidentiality`",
            "boot without lockdown=confidentiality, or Linux 5.5 or newer",
        ),
        Trial::RingBuffer => ("this kernel has no BPF ring buffers", "Linux 5.8 or newer"),
        Trial::ArrayOfMaps => ("this kernel has no arrays of ring buffers", "Linux 5.8 or newer"),
        Trial::CpuClock => ("this kernel has no software CPU clock", "a kernel with CONFIG_PERF_EVENTS=y"),
        Trial::SideBand => ("this kernel reports no mappings", "a kernel with CONFIG_PERF_EVENTS=y"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::standing::{CAP_IPC_LOCK, CAP_SYS_PTRACE};
    use super::*;

    fn with(capabilities: &[u32]) -> Standing {
        let set = capabilities.iter().fold(0, |set, bit| set | 1 << bit);
        Standing { effective: Some(set), ..Standing::default() }
    }

    fn said(trial: Trial, errno: i32, standing: &Standing) -> String {
        match explain(trial, &io::Error::from_raw_os_error(errno), standing) {
            Outcome::Absent { reason, remedy } => {
                assert!(!remedy.is_empty());
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tells_refusals_apart_by_error_and_standing() {
        use libc::{EACCES, EINVAL, ENOSYS, EPERM};
        let nobody = with(&[]);
        let root = with(&[CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF, CAP_IPC_LOCK, CAP_SYS_PTRACE]);
        let admin = with(&[CAP_SYS_ADMIN]);
        let bpf_only = with(&[CAP_BPF]);
        let filtered = Standing { seccomp_filter: true, ..root.clone() };
        let locked = Standing { lockdown: Some("integrity".into()), ..root.clone() };
        let confidential = Standing { lockdown: Some("confidentiality".into()), ..root.clone() };
        let blocked = Standing { filtered: (true, true), seccomp_filter: true, ..root.clone() };
        let both = Standing { filtered: (false, true), seccomp_filter: true, ..nobody.clone() };
        let open = Standing { lockdown: Some("none".into()), ..root.clone() };
        let nested = Standing { user_namespace: true, ..root.clone() };
        let limited = Standing { memlock: Some(65536), ..root.clone() };
        let paranoid = Standing { perf_event_paranoid: Some(2), ..nobody.clone() };
        let perfmon = with(&[CAP_PERFMON, CAP_BPF]);
        let debian = Standing { perf_event_paranoid: Some(3), seccomp_filter: true, ..perfmon.clone() };
        let upstream = Standing { perf_event_paranoid: Some(2), ..perfmon };
        let table = [
            (Trial::CpuClock, EACCES, &debian, "asks for CAP_SYS_ADMIN"),
            (Trial::CpuClock, EACCES, &upstream, "security module"),
            (Trial::Map, ENOSYS, &root, "this kernel has no bpf(2)"),
            (Trial::CpuClock, ENOSYS, &root, "this kernel has no perf_event_open(2)"),
            (Trial::Map, ENOSYS, &filtered, "seccomp filter hides it"),
            (Trial::Map, EPERM, &nobody, "no CAP_BPF"),
            (Trial::PerfEventProgram, EPERM, &bpf_only, "no CAP_BPF with CAP_PERFMON"),
            (Trial::CpuClock, EACCES, &paranoid, "kernel.perf_event_paranoid is 2"),
            (Trial::Map, EPERM, &filtered, "likely by a seccomp filter"),
            (Trial::Map, EPERM, &blocked, "by a seccomp filter, which answers for bpf(2)"),
            (Trial::CpuClock, EPERM, &both, "by a seccomp filter, which answers for perf_event_open(2)"),
            (Trial::Map, EPERM, &both, "no CAP_BPF"),
            (Trial::KernelReadHelper, EINVAL, &confidential, "lockdown mode `confidentiality`"),
            (Trial::CgroupIdHelper, EINVAL, &confidential, "cannot ask for the cgroup"),
            (Trial::Map, EPERM, &locked, "lockdown mode `integrity`"),
            (Trial::Map, EPERM, &nested, "user namespace"),
            (Trial::Map, EPERM, &limited, "memlock limit of 65536 bytes"),
            (Trial::Map, EPERM, &open, "security module"),
            (Trial::CpuClock, EACCES, &admin, "security module"),
            (Trial::RingBuffer, EINVAL, &root, "no BPF ring buffers"),
            (Trial::RawTracepointRun, ENOTSUPP, &root, "cannot run such a program"),
        ];
        for (trial, errno, standing, expected) in table {
            let reason = said(trial, errno, standing);
            assert!(reason.contains(expected), "{trial:?} {errno} {standing:?}: {reason}");
        }
    }

    #[test]
    fn an_error_that_says_nothing_about_the_facility_stays_unknown() {
        for errno in [libc::ENOMEM, libc::EMFILE, libc::EINTR, libc::EBUSY] {
            let outcome = explain(Trial::Map, &io::Error::from_raw_os_error(errno), &Standing::default());
            let Outcome::Unknown { error } = outcome else { panic!("{outcome:?}") };
            assert!(error.starts_with("bpf(2): "), "{error}");
        }
    }
}
