//! Selection of the processes to sample.
//!
//! ```text
//! glob     patterns
//! rules    which names and cgroups are left out; pure
//! tree     processes with their descendants, followed in time order
//! cgroups  a cgroup's path
//! slots    what the sampler knows is excluded
//! ```
//!
//! A process that was not judged yet is sampled, sent, and judged here, in time order with what happened to it, so
//! that the first sample of a wanted child is not missed. A verdict that excludes goes into the sampler's table; from
//! then on nothing is sent, only counted, until the name, the cgroup or the process behind the id is another one.

mod cgroups;
mod glob;
mod rules;
mod slots;
mod tree;

pub use cgroups::parse_mounts;
pub use glob::Glob;
pub use rules::Patterns;
pub use slots::{SlotCounters, Slots};
pub use tree::Tree;

use crate::bpf::{Notice, NoticeKind, RawSample};
use crate::process::there;
use cgroups::{Cgroups, RECHECK_NS};
use rules::name_text;
use std::collections::HashMap;

/// Rules for the processes to sample. Each kind of rule excludes by itself: a process is sampled if no rule excludes
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Only these processes.
    allow: Option<Tree>,
    /// Not these processes.
    deny: Option<Tree>,
    /// By the process's name.
    names: Patterns,
    /// By the cgroup's path.
    cgroups: Patterns,
}

impl Rules {
    /// Rules as configured.
    pub fn new(config: &crate::config::Filter) -> Self {
        let tree = |pids: &[u32]| (!pids.is_empty()).then(|| Tree::only(pids));
        Self {
            allow: tree(&config.pid),
            deny: tree(&config.deny_pid),
            names: Patterns::of_names(&config.comm, &config.deny_comm),
            cgroups: Patterns::of_cgroups(&config.cgroup, &config.deny_cgroup),
        }
    }

    /// The same, with this process and its descendants as the only ones.
    #[must_use]
    pub fn only(self, pid: u32) -> Self {
        Self { allow: Some(Tree::only(&[pid])), ..self }
    }
}

/// Counters of the filter, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounters {
    /// Samples that were sent and excluded here.
    pub excluded_in_user_space: u64,
    /// Times that names of processes were forgotten because the budget was reached.
    pub names_forgotten: u64,
}

/// Judges samples by rules.
#[derive(Debug)]
pub struct Filter {
    rules: Rules,
    slots: Slots,
    cgroups: Cgroups,
    /// Names of processes, as far as rules ask for them.
    names: HashMap<u32, [u8; 16]>,
    budget: usize,
    /// True if the parents of processes are read from `/proc`, because there are no fork events.
    by_proc: bool,
    /// When cached facts that may be stale were last dropped: CLOCK_MONOTONIC, nanoseconds.
    checked_ns: u64,
    /// Set if the descendants of processes could not be read, so that it is tried again.
    is_wanting: bool,
    counters: FilterCounters,
}

/// The reason for which a sample is left out.
enum Veto {
    Cgroup,
    Name,
    Process,
}

impl Filter {
    /// Everything is wanted. Of `budget` processes and cgroups it is remembered what they are called. `by_proc` where
    /// no event reports forks.
    pub fn new(slots: Slots, budget: usize, by_proc: bool) -> Self {
        Self {
            rules: Rules::default(),
            slots,
            cgroups: Cgroups::new(budget),
            names: HashMap::new(),
            budget,
            by_proc,
            checked_ns: 0,
            is_wanting: false,
            counters: FilterCounters::default(),
        }
    }

    /// Returns the counters so far.
    pub fn counters(&self) -> (FilterCounters, SlotCounters) {
        (self.counters, self.slots.counters())
    }

    /// The sampler's table.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// From now on these are the rules; whatever is judged was judged by others. The descendants that processes have
    /// already are read from `/proc` here, and not before: what they start later is noticed later.
    pub fn change(&mut self, rules: Rules) {
        let old = std::mem::replace(&mut self.rules, rules);
        self.is_wanting = false;
        // Of the same processes it is known better who descends from them: parents may have ended since.
        for (new, old) in [(&mut self.rules.allow, old.allow), (&mut self.rules.deny, old.deny)] {
            match (new, old) {
                (Some(new), Some(old)) if new.roots() == old.roots() => *new = old,
                (Some(new), _) => self.is_wanting |= !has_descendants(new),
                (None, _) => {}
            }
        }
        if !self.rules.cgroups.is_empty() && self.cgroups.is_by_process() {
            tracing::info!(
                seconds = RECHECK_NS / 1_000_000_000,
                "not every cgroup here is of version 2: what moves between others is noticed after so long"
            );
        }
        self.names.clear();
        self.cgroups.forget_processes();
        self.slots.begin(!self.rules.cgroups.is_empty(), !self.rules.names.is_empty());
    }

    /// Tells whether a sample is wanted. If not, the sampler is told, too.
    pub fn admits(&mut self, sample: &RawSample) -> bool {
        let is_checked = !self.rules.names.is_empty();
        let (name, is_known) = if is_checked { self.name_of(sample) } else { ([0; 16], true) };
        let Some((veto, by_id, is_lasting)) = self.veto(sample, &name) else {
            // It may have been left out under another name or in another cgroup, and its other threads still are.
            if sample.pid != 0 && (is_checked || !self.rules.cgroups.is_empty()) {
                self.slots.remove_process(sample.pid);
            }
            return true;
        };
        self.counters.excluded_in_user_space += 1;
        // What could not be found out is asked again at the next sample.
        if !is_known || !is_lasting {
            return false;
        }
        match veto {
            Veto::Cgroup if by_id => self.slots.add_cgroup(sample.cgroup_id),
            // Of other threads the sampler does not know what the process is called.
            Veto::Name if sample.pid == sample.tid => self.slots.add_name(&name),
            _ => self.slots.add_process(sample.pid, &name, sample.cgroup_id),
        }
        false
    }

    /// Finds what leaves a sample out, whether the id of its cgroup alone does, and whether all that this depends on is
    /// known.
    fn veto(&mut self, sample: &RawSample, name: &[u8; 16]) -> Option<(Veto, bool, bool)> {
        if !self.rules.cgroups.is_empty() {
            let found = self.cgroups.find(sample.cgroup_id, (sample.pid, sample.tid), sample.time_ns);
            if self.rules.cgroups.exclude_cgroup(found.path.as_deref()) {
                return Some((Veto::Cgroup, found.by_id, found.is_known));
            }
        }
        if self.rules.names.exclude_name(name_text(name)) {
            return Some((Veto::Name, false, true));
        }
        let by_proc = self.by_proc;
        let mut is_known = true;
        let mut is_in = |tree: &mut Tree| {
            let found = tree.contains(sample.pid, by_proc);
            is_known &= found.is_ok();
            found.unwrap_or(false)
        };
        if self.rules.deny.as_mut().is_some_and(&mut is_in)
            || self.rules.allow.as_mut().is_some_and(|it| !is_in(it))
        {
            return Some((Veto::Process, false, is_known));
        }
        None
    }

    /// Finds what the process is called, as its main thread is, and whether that is known.
    fn name_of(&mut self, sample: &RawSample) -> ([u8; 16], bool) {
        if sample.pid == sample.tid {
            if self.names.contains_key(&sample.pid) {
                self.names.insert(sample.pid, sample.comm);
            }
            return (sample.comm, true);
        }
        if let Some(name) = self.names.get(&sample.pid) {
            return (*name, true);
        }
        let Ok(read) = there(std::fs::read(format!("/proc/{}/comm", sample.pid))) else {
            return (sample.comm, false);
        };
        let name = read.map_or(sample.comm, |text| name_of_text(text.strip_suffix(b"\n").unwrap_or(&text)));
        if self.names.len() >= self.budget {
            self.names.clear();
            self.counters.names_forgotten += 1;
        }
        self.names.insert(sample.pid, name);
        (name, true)
    }

    /// Takes in what happened to a process.
    pub fn notice(&mut self, notice: &Notice) {
        for tree in [&mut self.rules.allow, &mut self.rules.deny].into_iter().flatten() {
            tree.notice(notice);
        }
        if let NoticeKind::Lost { .. } = notice.kind {
            return self.forget_processes();
        }
        if notice.pid != notice.tid {
            return;
        }
        match &notice.kind {
            NoticeKind::Exec { comm, .. } | NoticeKind::Name { comm } => {
                // A name that is not UTF-8 was not kept as it is; it is read when it is asked for.
                if comm.contains(char::REPLACEMENT_CHARACTER) {
                    self.names.remove(&notice.pid);
                } else if let Some(name) = self.names.get_mut(&notice.pid) {
                    *name = name_of_text(comm.as_bytes());
                }
            }
            NoticeKind::Fork { .. } | NoticeKind::Exit => {
                self.names.remove(&notice.pid);
                self.cgroups.forget_process(notice.pid);
            }
            NoticeKind::Map { .. } | NoticeKind::KernelCode { .. } | NoticeKind::Lost { .. } => return,
        }
        self.slots.remove_process(notice.pid);
    }

    /// Periodically drops cached facts that may be stale.
    pub fn recheck(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.checked_ns) < RECHECK_NS {
            return;
        }
        self.checked_ns = now_ns;
        if !self.rules.cgroups.is_empty() {
            self.cgroups.look_for_mount();
        }
        if std::mem::take(&mut self.is_wanting) {
            for tree in [&mut self.rules.allow, &mut self.rules.deny].into_iter().flatten() {
                self.is_wanting |= !has_descendants(tree);
            }
        }
        if self.cgroups.believes_processes() {
            self.forget_processes();
        }
    }

    /// Forgets all verdicts, after events may have been lost: all processes are judged again. Those in `gone` have
    /// exited.
    pub fn forget(&mut self, gone: &[u32]) {
        for tree in [&mut self.rules.allow, &mut self.rules.deny].into_iter().flatten() {
            tree.forget(gone);
            tree.forget_strangers();
        }
        self.forget_processes();
    }

    fn forget_processes(&mut self) {
        self.names.clear();
        self.cgroups.forget_processes();
        self.slots.remove_processes();
    }

    /// The next interval begins.
    pub fn next_interval(&mut self) {
        for tree in [&mut self.rules.allow, &mut self.rules.deny].into_iter().flatten() {
            tree.next_interval();
        }
    }
}

/// Adds the descendants that a tree's processes have; false if that has to be tried again.
fn has_descendants(tree: &mut Tree) -> bool {
    tree.add_descendants()
        .inspect_err(|error| {
            tracing::warn!(
                "processes that were started before are left out of the filter's trees: /proc cannot be read: {error}; \
                 it is tried again"
            );
        })
        .is_ok()
}

/// A name as the kernel keeps it: cut at 15 bytes, zero padded.
fn name_of_text(text: &[u8]) -> [u8; 16] {
    let mut name = [0; 16];
    let length = text.len().min(name.len() - 1);
    name[..length].copy_from_slice(&text[..length]);
    name
}
