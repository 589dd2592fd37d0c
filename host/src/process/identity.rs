//! The identity of a process: read once, when it is first sampled.

use super::living::by_living_task;
use super::proc_files::{cgroup_of, parent_in_stat, there};
use super::reader::{FileReader, Unseen};
use super::{Labels, comm_text, labels};
use crate::blocking::WaitsFor;
use crate::bpf::RawSample;
use std::hash::{Hash, Hasher};
use std::io;

/// The identity of a process: its names.
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
    /// Labels that it states of itself, and its container.
    pub labels: Labels,
}

impl Hash for Identity {
    /// By the id alone: few processes have had the same one, and texts are long.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pid.hash(state);
    }
}

/// Facts about a process that are known without a look at it: it may be gone by now.
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
    /// Looks at a sampled process; where it is gone, it is called as it was noticed. The second value says whether something
    /// could not be read that may be there, so that another look is worth while.
    pub(super) fn look(raw: &RawSample, noticed: Noticed<'_>, reader: &mut FileReader) -> (Self, bool) {
        let (pid, tid) = (raw.pid, raw.tid);
        let mut is_wanting = false;
        let mut seen = |read: io::Result<Option<String>>| {
            let read = there(read);
            is_wanting |= read.is_err();
            read.ok().flatten().flatten()
        };
        let text = |task: u32, file: &str| std::fs::read(format!("/proc/{task}/{file}"));
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let comm = noticed
            .comm
            .map(str::to_owned)
            .or_else(|| {
                seen(text(pid, "comm").map(|comm| Some(lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)))))
            })
            .unwrap_or_else(|| comm_text(&raw.comm));
        let link = |task| std::fs::read_link(format!("/proc/{task}/exe")).map(Some);
        let executable = by_living_task(pid, tid, link)
            .map(|path| path.map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned()));
        let executable = seen(executable).or_else(|| noticed.program.map(str::to_owned)).unwrap_or_default();
        // The parent's is that of a process that is gone, not of one that could not be looked at.
        let cgroup = match there(cgroup_of(pid, tid)) {
            Ok(path) => {
                path.flatten().map(|path| lossy(&path)).or_else(|| noticed.parent_cgroup.map(str::to_owned))
            }
            Err(_) => {
                is_wanting = true;
                None
            }
        };
        let cgroup = cgroup.unwrap_or_default();
        let parent_pid = match noticed.parent_pid {
            0 => {
                let stat = there(text(pid, "stat"));
                is_wanting |= stat.is_err();
                stat.ok().flatten().and_then(|stat| parent_in_stat(&stat)).unwrap_or(0)
            }
            parent => parent,
        };
        let name = format!("/proc/{pid}/environ");
        let environment =
            reader.look(pid, WaitsFor::Process(pid), &name, move || labels::environment(pid, tid));
        is_wanting |= matches!(environment, Err(Unseen::Unread(_)));
        let labels = labels::labels(&environment.unwrap_or_default(), &cgroup);
        (Self { pid, parent_pid, comm, executable, cgroup, labels }, is_wanting)
    }
}
