//! What a process is called: read once, when it is first sampled.

use super::proc_files::{cgroup_path, parent_in_stat};
use super::{Labels, comm_text, labels};
use crate::bpf::RawSample;
use std::hash::{Hash, Hasher};

/// What a process is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Parent's process id; 0 if unknown.
    pub parent_pid: u32,
    /// Name of the main thread.
    pub comm: String,
    /// Path of the executable; empty for kernel threads and where it could not be read.
    pub executable: String,
    /// Path of the cgroup; empty where it could not be read.
    pub cgroup: String,
    /// What it says of itself, and its container.
    pub labels: Labels,
}

impl Hash for Identity {
    /// By the id alone: few processes have had the same one, and texts are long.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pid.hash(state);
    }
}

/// What is known of a process without looking: it may be gone by now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noticed<'a> {
    /// Parent's process id; 0 if unknown.
    pub(super) parent_pid: u32,
    /// Path of the parent's cgroup.
    pub(super) parent_cgroup: Option<&'a str>,
    /// Name of the main thread.
    pub(super) comm: Option<&'a str>,
    /// Path of the file that was mapped first.
    pub(super) program: Option<&'a str>,
}

impl Identity {
    /// That of a sampled process; where it is gone, as far as it was noticed.
    pub(super) fn look(raw: &RawSample, noticed: Noticed<'_>) -> Self {
        let proc = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", raw.pid)).ok();
        let comm = noticed
            .comm
            .map(str::to_owned)
            .or_else(|| proc("comm").map(|comm| comm.trim_end().to_owned()))
            .unwrap_or_else(|| comm_text(&raw.comm));
        let executable = std::fs::read_link(format!("/proc/{}/exe", raw.pid))
            .map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned())
            .ok()
            .or_else(|| noticed.program.map(str::to_owned))
            .unwrap_or_default();
        let cgroup = proc("cgroup")
            .and_then(|text| cgroup_path(&text))
            .or_else(|| noticed.parent_cgroup.map(str::to_owned))
            .unwrap_or_default();
        let parent_pid = match noticed.parent_pid {
            0 => proc("stat").and_then(|stat| parent_in_stat(&stat)).unwrap_or(0),
            parent => parent,
        };
        let labels = labels::of_process(raw.pid, &cgroup);
        Self { pid: raw.pid, parent_pid, comm, executable, cgroup, labels }
    }
}
