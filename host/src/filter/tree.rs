//! Some processes with all their descendants, followed in time order.

use crate::bpf::{Notice, NoticeKind, monotonic_ns};
use crate::process::{parent_in_stat, there};
use std::collections::{HashMap, HashSet};
use std::io;

/// Processes and their descendants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// As they were named.
    roots: Vec<u32>,
    pids: HashSet<u32>,
    /// When they were named: CLOCK_MONOTONIC, nanoseconds.
    since_ns: u64,
    /// Processes of which `/proc` said that they are not descendants.
    strangers: HashSet<u32>,
    /// Processes that ended: in this interval, and before.
    ended: [Vec<u32>; 2],
}

/// Ancestors that are asked for; what is deeper is not a descendant.
const GENERATIONS: u32 = 64;

impl Tree {
    /// These processes, and what they start from now on; see [`Tree::add_descendants`] for what they started.
    pub fn only(roots: &[u32]) -> Self {
        let pids = roots.iter().copied().collect();
        Self { roots: roots.into(), pids, since_ns: monotonic_ns(), ..Self::default() }
    }

    /// Adds the descendants that they have now, read from `/proc`. An error if that could not be done; then those are
    /// wanting that were not seen.
    pub fn add_descendants(&mut self) -> io::Result<()> {
        let mut children = HashMap::<u32, Vec<u32>>::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(parent) = parent_of(pid)? {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut open: Vec<u32> = self.pids.iter().copied().collect();
        while let Some(pid) = open.pop() {
            let theirs = children.remove(&pid).unwrap_or_default();
            self.pids.extend(&theirs);
            open.extend(theirs);
        }
        Ok(())
    }

    /// Which processes it was made of.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// Says whether `pid` is one of them. `by_proc` where forks are not noticed: `/proc` is asked whose child it is, once
    /// if it answers. An error if it does not.
    pub fn contains(&mut self, pid: u32, by_proc: bool) -> io::Result<bool> {
        if self.pids.contains(&pid) || !by_proc || pid == 0 || self.strangers.contains(&pid) {
            return Ok(self.pids.contains(&pid));
        }
        let mut line = vec![pid];
        for _ in 0..GENERATIONS {
            let youngest = line.last().copied().unwrap_or_default();
            match parent_of(youngest)? {
                Some(parent) if self.pids.contains(&parent) => {
                    self.pids.extend(line);
                    return Ok(true);
                }
                Some(parent) if parent > 0 => line.push(parent),
                _ => break,
            }
        }
        self.strangers.insert(pid);
        Ok(false)
    }

    /// These ids may be other processes' from now on.
    pub fn forget(&mut self, gone: &[u32]) {
        for pid in gone {
            self.pids.remove(pid);
        }
    }

    /// Asks again about processes that are not descendants: ids are used again.
    pub fn forget_strangers(&mut self) {
        self.strangers.clear();
    }

    /// The next interval begins: processes that ended before the last one did are forgotten.
    pub fn next_interval(&mut self) {
        self.strangers.clear();
        let [now, before] = &mut self.ended;
        for pid in before.drain(..) {
            // Threads may go on when the main one ended, and the id may be another descendant's already.
            if std::fs::exists(format!("/proc/{pid}")).is_ok_and(|exists| !exists) {
                self.pids.remove(&pid);
            }
        }
        std::mem::swap(now, before);
    }

    /// Follows forks. An id stays after its process ended, since the rest of the end is still its time, until
    /// another process gets the id.
    pub fn notice(&mut self, notice: &Notice) {
        if notice.pid != notice.tid {
            return;
        }
        match notice.kind {
            NoticeKind::Exit if self.pids.contains(&notice.pid) => self.ended[0].push(notice.pid),
            NoticeKind::Fork { parent } if parent != notice.pid => {
                if self.pids.contains(&parent) {
                    self.pids.insert(notice.pid);
                } else if notice.time_ns > self.since_ns {
                    // Before that the id was the named process's own: a command is named after its fork.
                    self.pids.remove(&notice.pid);
                }
            }
            _ => {}
        }
    }
}

/// Reads the parent of a process; `None` if the process is gone.
fn parent_of(pid: u32) -> io::Result<Option<u32>> {
    let stat = there(std::fs::read(format!("/proc/{pid}/stat")))?;
    Ok(stat.and_then(|stat| parent_in_stat(&stat)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(pid: u32, tid: u32, kind: NoticeKind) -> Notice {
        Notice { time_ns: monotonic_ns(), pid, tid, kind }
    }

    fn fork(pid: u32, tid: u32, parent: u32) -> Notice {
        notice(pid, tid, NoticeKind::Fork { parent })
    }

    #[test]
    fn follows_children_and_their_children() {
        let mut tree = Tree::only(&[10]);
        tree.notice(&fork(11, 11, 10));
        tree.notice(&fork(12, 12, 11));
        tree.notice(&fork(20, 20, 1));
        assert!([10, 11, 12].iter().all(|pid| tree.contains(*pid, false).unwrap()));
        assert!(!tree.contains(20, false).unwrap());
    }

    #[test]
    fn drops_an_id_that_a_stranger_got() {
        let mut tree = Tree::only(&[10]);
        tree.notice(&fork(10, 10, 1));
        assert!(!tree.contains(10, false).unwrap());
    }

    #[test]
    fn keeps_an_id_that_was_forked_before_it_was_named() {
        let forked = fork(10, 10, 1);
        let mut tree = Tree::only(&[10]);
        tree.notice(&forked);
        assert!(tree.contains(10, false).unwrap());
    }

    #[test]
    fn a_new_thread_is_no_new_process() {
        let mut tree = Tree::only(&[10]);
        tree.notice(&fork(10, 13, 10));
        assert!(tree.contains(10, false).unwrap() && !tree.contains(13, false).unwrap());
    }

    #[test]
    fn an_id_outlives_its_process_for_an_interval_and_not_for_ever() {
        // No process has this id: it is larger than any.
        let gone = 5_000_000;
        let mut tree = Tree::only(&[10]);
        tree.notice(&fork(gone, gone, 10));
        tree.notice(&notice(gone, gone, NoticeKind::Exit));
        tree.next_interval();
        assert!(tree.contains(gone, false).unwrap());
        tree.next_interval();
        assert!(!tree.contains(gone, false).unwrap() && tree.contains(10, false).unwrap());
    }

    #[test]
    fn a_process_whose_main_thread_ended_stays() {
        let pid = std::process::id();
        let mut tree = Tree::only(&[pid]);
        tree.notice(&notice(pid, pid, NoticeKind::Exit));
        tree.next_interval();
        tree.next_interval();
        assert!(tree.contains(pid, false).unwrap());
    }

    #[test]
    fn without_notices_of_forks_proc_says_whose_child_it_is() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut tree = Tree::only(&[std::process::id()]);
        assert!(!tree.contains(child.id(), false).unwrap(), "forks are noticed elsewhere");
        assert!(tree.contains(child.id(), true).unwrap());
        assert!(!tree.contains(1, true).unwrap() && !tree.contains(0, true).unwrap());
        tree.forget(&[child.id()]);
        assert!(!tree.contains(child.id(), false).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn finds_the_descendants_that_are_there() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut tree = Tree::only(&[std::process::id()]);
        tree.add_descendants().unwrap();
        assert!(tree.contains(child.id(), false).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
