//! Whose samples are kept: everyone's, or those of some processes and all their descendants.

use crate::bpf::{Notice, NoticeKind, monotonic_ns};
use std::collections::{HashMap, HashSet};

/// The processes whose samples are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// `None` for every process.
    pids: Option<HashSet<u32>>,
    /// When they were named: CLOCK_MONOTONIC, nanoseconds.
    since_ns: u64,
    /// Whether `/proc` says whose children processes are, because nobody gives notice of forks.
    by_proc: bool,
    /// Processes of which `/proc` said that they are no descendants.
    strangers: HashSet<u32>,
}

/// Ancestors that are asked for; what is deeper is no descendant.
const GENERATIONS: u32 = 64;

impl Targets {
    /// Every process.
    pub fn all() -> Self {
        Self::default()
    }

    /// These processes, and what they start from now on.
    pub fn only(pids: impl IntoIterator<Item = u32>) -> Self {
        Self { pids: Some(pids.into_iter().collect()), since_ns: monotonic_ns(), ..Self::default() }
    }

    /// These processes with the descendants that they have now, read from `/proc`.
    pub fn with_descendants(pids: impl IntoIterator<Item = u32>) -> Self {
        let since_ns = monotonic_ns();
        let mut children = HashMap::<u32, Vec<u32>>::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(parent) = super::table::parent_in_stat(&stat) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = HashSet::new();
        let mut open: Vec<u32> = pids.into_iter().collect();
        while let Some(pid) = open.pop() {
            if found.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        Self { pids: Some(found), since_ns, ..Self::default() }
    }

    /// Whether the samples of `pid` are kept.
    pub fn contains(&self, pid: u32) -> bool {
        self.pids.as_ref().is_none_or(|pids| pids.contains(&pid))
    }

    /// Asks `/proc` whose child a process is, when it is first sampled: for where forks are not noticed.
    #[must_use]
    pub fn following_by_proc(self, by_proc: bool) -> Self {
        Self { by_proc, ..self }
    }

    /// Whether the samples of `pid` are kept; one that is not known may be a descendant that was not noticed.
    pub fn admits(&mut self, pid: u32) -> bool {
        let Some(pids) = &mut self.pids else { return true };
        if pids.contains(&pid) || !self.by_proc || pid == 0 || self.strangers.contains(&pid) {
            return pids.contains(&pid);
        }
        let mut line = vec![pid];
        for _ in 0..GENERATIONS {
            let youngest = line.last().copied().unwrap_or_default();
            let stat = std::fs::read_to_string(format!("/proc/{youngest}/stat")).unwrap_or_default();
            match super::table::parent_in_stat(&stat) {
                Some(parent) if pids.contains(&parent) => {
                    pids.extend(line);
                    return true;
                }
                Some(parent) if parent > 0 => line.push(parent),
                _ => break,
            }
        }
        self.strangers.insert(pid);
        false
    }

    /// These ids may be other processes' from now on.
    pub fn forget(&mut self, gone: &[u32]) {
        for pid in gone {
            self.strangers.remove(pid);
            if let Some(pids) = &mut self.pids {
                pids.remove(pid);
            }
        }
    }

    /// Asks anew about processes that are no descendants: ids are used again.
    pub fn next_interval(&mut self) {
        self.strangers.clear();
    }

    /// Follows a fork. An id stays a target after its process ended, since the rest of the end is
    /// still its time, until another process gets the id.
    pub fn notice(&mut self, notice: &Notice) {
        let (Some(pids), NoticeKind::Fork { parent }) = (&mut self.pids, &notice.kind) else { return };
        if notice.pid != notice.tid || *parent == notice.pid {
            return;
        }
        if pids.contains(parent) {
            pids.insert(notice.pid);
        } else if notice.time_ns > self.since_ns {
            // Before that the id was the named process's own: a command is named after its fork.
            pids.remove(&notice.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork(pid: u32, tid: u32, parent: u32) -> Notice {
        Notice { time_ns: monotonic_ns(), pid, tid, kind: NoticeKind::Fork { parent } }
    }

    #[test]
    fn follows_children_and_their_children() {
        let mut targets = Targets::only([10]);
        targets.notice(&fork(11, 11, 10));
        targets.notice(&fork(12, 12, 11));
        targets.notice(&fork(20, 20, 1));
        assert!([10, 11, 12].iter().all(|pid| targets.contains(*pid)));
        assert!(!targets.contains(20));
    }

    #[test]
    fn drops_an_id_that_a_stranger_got() {
        let mut targets = Targets::only([10]);
        targets.notice(&fork(10, 10, 1));
        assert!(!targets.contains(10));
    }

    #[test]
    fn keeps_an_id_that_was_forked_before_it_was_named() {
        let forked = fork(10, 10, 1);
        let mut targets = Targets::only([10]);
        targets.notice(&forked);
        assert!(targets.contains(10));
    }

    #[test]
    fn a_new_thread_is_no_new_process() {
        let mut targets = Targets::only([10]);
        targets.notice(&fork(10, 13, 10));
        assert!(targets.contains(10) && !targets.contains(13));
    }

    #[test]
    fn without_notices_of_forks_proc_says_whose_child_it_is() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut targets = Targets::only([std::process::id()]);
        assert!(!targets.admits(child.id()), "forks are noticed elsewhere");
        let mut targets = targets.following_by_proc(true);
        assert!(targets.admits(child.id()));
        assert!(!targets.admits(1) && !targets.admits(0));
        targets.forget(&[child.id()]);
        assert!(!targets.contains(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn finds_the_descendants_that_are_there() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let targets = Targets::with_descendants([std::process::id()]);
        assert!(targets.contains(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
