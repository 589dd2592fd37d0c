//! The processes of the machine, as far as samples made them interesting.

use super::callers::CallersSeen;
use super::entry::{Process, Seen, What};
use super::executable::{Executables, Mapped, MappedAt};
use super::files::MappedFiles;
use super::identity::Noticed;
use super::mappings::Mapping;
use super::maps_file::read_executable_maps;
use super::proc_files::incarnation;
use super::reader::FileReader;
use super::{AttributedSample, Callers, Code, Frame, Identity, comm_text, of_user};
use crate::blocking::WaitsFor;
use crate::bpf::{Notice, NoticeKind, RawSample, monotonic_ns};
use crate::map::Map;
use stacksonde_ebpf::user_end;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Limits on what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Processes.
    pub processes: usize,
    /// Mappings of all processes.
    pub mappings: usize,
    /// Executable files.
    pub executables: usize,
}

/// Eviction counters of the table, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Processes forgotten because the budget of processes or mappings was reached.
    pub processes_evicted: u64,
    /// Executables not taken in because the budget was reached.
    pub executables_refused: u64,
    /// Times the mappings of a process were read from `/proc`.
    pub maps_read: u64,
    /// Mappings that are not taken in now, of processes that have more than half of the budget.
    pub mappings_left_out: u64,
    /// Samples of processes that our pid namespace does not show.
    pub strangers: u64,
}

/// The shortest time between two reads of the mappings of one process for an address that lies in none. Where a read
/// takes long it is done more rarely, so that it never takes more than a hundredth of the time.
const REREAD_NS: u64 = 1_000_000_000;
const REREAD_PAUSE: u64 = 100;
/// The same where an address was found, but what is known of the process may be out of date.
const RECHECK_PAUSE: u64 = 1000;

/// The time for which a process that was never sampled is known after its end: the kernel may report the end before the
/// last tick that can be sampled.
const LEAVING_NS: u64 = 100_000_000;

/// Every process that was sampled or was seen to start.
#[derive(Debug)]
pub struct Processes {
    known: Map<u32, Process>,
    executables: Executables,
    files: MappedFiles,
    /// Of this interval.
    callers: CallersSeen,
    budget: Budget,
    counters: TableCounters,
    mappings: usize,
    /// When processes ended that had not been sampled.
    leaving: VecDeque<(u64, u32)>,
    /// True if fork, exec and exit events may be missing.
    unnoticed: bool,
    /// When `/proc` was last looked through.
    swept_ns: u64,
    /// The last number that a state of mappings got.
    versions: u64,
    /// Grows with every interval; tells which files were already tried in this one.
    interval: u64,
}

impl Processes {
    /// An empty table.
    pub fn new(budget: Budget) -> Self {
        Self {
            known: Map::default(),
            executables: Executables::new(budget.executables),
            files: MappedFiles::default(),
            callers: CallersSeen::default(),
            budget,
            counters: TableCounters::default(),
            mappings: 0,
            leaving: VecDeque::new(),
            unnoticed: false,
            swept_ns: 0,
            versions: 0,
            interval: 1,
        }
    }

    /// For where fork, exec and exit may go unnoticed; then [`Processes::sweep`] is to be called now and then.
    #[must_use]
    pub fn unnoticed(self, unnoticed: bool) -> Self {
        Self { unnoticed, ..self }
    }

    /// Returns the eviction counters so far.
    pub fn counters(&self) -> TableCounters {
        let left_out = self.known.values().map(|process| process.left_out).sum();
        TableCounters { mappings_left_out: left_out, ..self.counters }
    }

    /// Returns what looks at files on the path of samples.
    pub fn reader(&mut self) -> &mut FileReader {
        self.executables.reader()
    }

    /// Returns how many processes, mappings and executables are remembered.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.known.len(), self.mappings, self.executables.len())
    }

    /// Takes in what happened to a process.
    pub fn notice(&mut self, notice: &Notice) {
        // Of a process that our pid namespace does not show.
        if notice.pid == 0 {
            return;
        }
        let main_thread = notice.pid == notice.tid;
        match &notice.kind {
            NoticeKind::Fork { parent } if main_thread && *parent != notice.pid => self.fork(notice, *parent),
            NoticeKind::Exec { comm, mappings_follow } => self.exec(notice, comm, *mappings_follow),
            NoticeKind::Name { comm } if main_thread => {
                if let Some(process) = self.known.get_mut(&notice.pid) {
                    process.comm = Some(comm.clone());
                    process.identity = None;
                }
            }
            // Until its other mappings are known, the first sample reads them all at once.
            NoticeKind::Map { start, end, file_offset, identity, path }
                if self.known.get(&notice.pid).is_some_and(|process| process.whole) =>
            {
                let mapped = Mapped { path: path.clone(), identity: *identity };
                let what = What { mapped: self.files.one(mapped), executable: None };
                let mapping = Mapping { start: *start, end: *end, file_offset: *file_offset, what };
                self.map(notice, mapping);
            }
            // Whose they were is not known, so no table is believed whole any more.
            NoticeKind::Lost { .. } => self.known.values_mut().for_each(|process| process.whole = false),
            NoticeKind::Exit if main_thread => {
                if let Some(process) = self.known.get_mut(&notice.pid) {
                    process.ended = true;
                    if process.identity.is_none() {
                        self.leaving.push_back((notice.time_ns, notice.pid));
                    }
                }
                self.let_go(notice.time_ns);
            }
            _ => {}
        }
    }

    /// Forgets processes that ended a while ago and were not sampled even then.
    fn let_go(&mut self, now_ns: u64) {
        while let Some((ended, pid)) = self.leaving.front().copied()
            && ended + LEAVING_NS < now_ns
        {
            self.leaving.pop_front();
            // Others that were sampled are wanted for the rest of the interval, and another may have the id by now.
            if self.known.get(&pid).is_some_and(|process| process.ended && process.identity.is_none()) {
                self.forget(pid);
            }
        }
    }

    /// The next interval begins: processes that ended are forgotten.
    pub fn next_interval(&mut self) {
        self.interval += 1;
        // Files are to be held again.
        self.executables.release_files();
        self.callers.clear();
        self.known.retain(|_, process| !process.ended);
        self.mappings = self.known.values().map(|process| process.mappings.len()).sum();
    }

    /// Forgets a process whose samples are not wanted.
    pub fn forget(&mut self, pid: u32) {
        if let Some(old) = self.known.remove(&pid) {
            self.mappings = self.mappings.saturating_sub(old.mappings.len());
        }
    }

    /// Attributes the addresses of a sample.
    pub fn attribute(&mut self, raw: RawSample) -> AttributedSample {
        if raw.pid == 0 {
            return self.stranger(raw);
        }
        self.make_room(raw.pid);
        self.known.entry(raw.pid).or_default().touched_ns = raw.time_ns;
        let leaf = raw.user.first();
        let leaf = leaf.map(|at| match self.code_at(raw.pid, raw.tid, *at, raw.time_ns) {
            // It has another one, of which we have no copy.
            Code::File(executable, _) if raw.user_end == user_end::IS_32_BIT && executable.is_vdso() => {
                Frame::Unknown(*at)
            }
            code => Frame::of(code, *at),
        });
        let callers = self.callers(&raw);
        let process = self.identity(&raw);
        AttributedSample { raw, process, leaf, callers }
    }

    /// All user frames but the innermost.
    fn callers(&mut self, raw: &RawSample) -> Option<Arc<Callers>> {
        let addresses = raw.user.get(1..).filter(|addresses| !addresses.is_empty())?;
        // What is not believed whole may be another state in truth.
        let state = |this: &Self| {
            this.known.get(&raw.pid).filter(|process| process.whole).map(|process| process.version)
        };
        if let Some(known) = state(self).and_then(|version| self.callers.find(version, addresses)) {
            return Some(known);
        }
        let mut is_known = true;
        let frames = addresses.iter().map(|address| {
            let address = of_user(1, *address);
            let code = self.code_at(raw.pid, raw.tid, address, raw.time_ns);
            // An executable that could not be read may become another one.
            is_known &= match &code {
                Code::Nothing => false,
                Code::Anonymous => true,
                Code::File(executable, _) => !executable.segments.is_empty(),
            };
            Frame::of(code, address)
        });
        let frames = frames.collect();
        // An address in no mapping is looked for again.
        let lasting = state(self).filter(|_| is_known).map(|version| (version, addresses));
        Some(self.callers.make(frames, lasting))
    }

    /// Detects an exec by the new name of a main thread, where exec events may be missing: call this before anything
    /// else is asked about a sample.
    pub fn recognise(&mut self, raw: &RawSample) {
        if !self.unnoticed || raw.pid != raw.tid {
            return;
        }
        let Some(process) = self.known.get_mut(&raw.pid) else { return };
        if process.identity.as_ref().is_some_and(|identity| identity.comm != comm_text(&raw.comm)) {
            process.forget_program(next_version(&mut self.versions));
        }
    }

    /// A process that our pid namespace does not show keeps its name and its kernel frames.
    fn stranger(&mut self, raw: RawSample) -> AttributedSample {
        self.counters.strangers += 1;
        let user = raw.user.iter().enumerate();
        let mut user = user.map(|(depth, address)| Frame::Unknown(of_user(depth, *address)));
        let leaf = user.next();
        let callers: Box<[Frame]> = user.collect();
        let callers = (!callers.is_empty()).then(|| self.callers.make(callers, None));
        let process = Arc::new(Identity { comm: comm_text(&raw.comm), ..Identity::default() });
        AttributedSample { raw, process, leaf, callers }
    }

    /// Looks through `/proc` for changes that no event reported: processes that ended, or whose ids others got, or
    /// that run another program. For those that were sampled since the last time; returns those that are gone.
    pub fn sweep(&mut self) -> Vec<u32> {
        let mut gone = Vec::new();
        for (pid, process) in &mut self.known {
            if process.touched_ns <= self.swept_ns {
                continue;
            }
            // What cannot be found out now is found out the next time.
            let Ok(now) = incarnation(*pid) else { continue };
            let before = process.incarnation.replace(now.clone());
            if now.is_none() {
                process.ended = true;
                gone.push(*pid);
            } else if before.is_some_and(|before| before != now) {
                process.forget_program(next_version(&mut self.versions));
            }
        }
        self.swept_ns = crate::bpf::monotonic_ns();
        self.mappings = self.known.values().map(|process| process.mappings.len()).sum();
        gone
    }

    /// Returns the code at an address of a process. If it is a file's, the file is held open from now on, if it can be.
    pub fn code_at(&mut self, pid: u32, tid: u32, address: u64, time_ns: u64) -> Code {
        let process = self.known.entry(pid).or_default();
        let found = process.mappings.find(address).is_some();
        if !found && !process.whole {
            process.miss(address);
        }
        let pause = if found { RECHECK_PAUSE } else { REREAD_PAUSE };
        let pause_ns = process.reading_ns.saturating_mul(pause).max(REREAD_NS);
        if !(found && process.whole) && time_ns.saturating_sub(process.read_ns) > pause_ns {
            self.read_maps(pid, tid, time_ns);
        }
        let Some(process) = self.known.get_mut(&pid) else { return Code::Nothing };
        let Some(mapping) = process.mappings.find(address) else { return Code::Nothing };
        if mapping.what.mapped.is_anonymous() {
            return Code::Anonymous;
        }
        let (file_offset, mapped) = (mapping.offset_of(address), mapping.file_range());
        if let Some(seen) = &mapping.what.executable
            && seen.is_settled(self.interval, time_ns)
        {
            return Code::File(
                Arc::clone(&seen.executable),
                seen.executable.address_of(&mapped, file_offset),
            );
        }
        let at = MappedAt { pid, tid, start: mapping.start, end: mapping.end };
        let Some(executable) = self.executables.get(&mapping.what.mapped, at, time_ns) else {
            self.counters.executables_refused += 1;
            return Code::Nothing;
        };
        let code = Code::File(Arc::clone(&executable), executable.address_of(&mapped, file_offset));
        let mut mapping = mapping.clone();
        let before = mapping.what.executable.take();
        if before.as_ref().is_none_or(|before| before.executable != executable) {
            process.version = next_version(&mut self.versions);
        }
        let mut unheld = None;
        if executable.file().is_none() {
            unheld.insert(before.and_then(|before| before.unheld).unwrap_or_default()).fail(time_ns);
        }
        mapping.what.executable = Some(Seen { executable, interval: self.interval, unheld });
        Arc::make_mut(&mut process.mappings).insert(mapping);
        code
    }

    /// Tells whether a return to this address is one to the kernel's page for probes on returns (kernel/events/uprobes.c,
    /// `xol_area`), where the caller's address is not to be had.
    pub fn is_return_probe(&self, pid: u32, address: u64) -> bool {
        let mapping = self.known.get(&pid).and_then(|process| process.mappings.find(address));
        mapping.is_some_and(|mapping| mapping.what.mapped.path == "[uprobes]")
    }

    /// Tells whether a file that was mapped at this time may have been found unmapped when `/proc` was read after it, so
    /// that other code is known in its place, or none.
    pub fn is_replaced_since(&self, pid: u32, time_ns: u64) -> bool {
        self.known.get(&pid).is_some_and(|process| process.replaced_ns > time_ns)
    }

    /// The mappings of a process, {start, end, what is at the start}, as far as their files were seen in
    /// any process; and a number that changes whenever these do.
    pub fn code_of(&self, pid: u32) -> Option<(u64, impl Iterator<Item = (u64, u64, Code)> + '_)> {
        let process = self.known.get(&pid)?;
        let mappings = process.mappings.iter().map(|mapping| {
            let what = &mapping.what;
            let known = || self.executables.known(&what.mapped);
            let code = match what.executable.as_ref().map(|seen| Arc::clone(&seen.executable)).or_else(known)
            {
                _ if what.mapped.is_anonymous() => Code::Anonymous,
                Some(executable) => {
                    let address = executable.address_of(&mapping.file_range(), mapping.file_offset);
                    Code::File(executable, address)
                }
                None => Code::Nothing,
            };
            (mapping.start, mapping.end, code)
        });
        Some((process.version, mappings))
    }

    fn identity(&mut self, raw: &RawSample) -> Arc<Identity> {
        let Some(process) = self.known.get(&raw.pid) else { return Arc::default() };
        if let Some(identity) = &process.identity
            && process.unnamed.is_none_or(|backoff| !backoff.is_due(raw.time_ns))
        {
            return Arc::clone(identity);
        }
        let parent = self.known.get(&process.parent).and_then(|parent| parent.identity.as_ref());
        let noticed = Noticed {
            parent_pid: process.parent,
            parent_cgroup: parent.map(|parent| parent.cgroup.as_str()),
            comm: process.comm.as_deref(),
            program: process.first_program(),
        };
        let (identity, is_wanting) = Identity::look(raw, noticed, self.executables.reader());
        let identity = Arc::new(identity);
        if let Some(process) = self.known.get_mut(&raw.pid) {
            process.unnamed = is_wanting.then(|| {
                let mut backoff = process.unnamed.unwrap_or_default();
                backoff.fail(raw.time_ns);
                backoff
            });
            process.identity = Some(Arc::clone(&identity));
        }
        identity
    }

    fn fork(&mut self, notice: &Notice, parent: u32) {
        let mut child = Process { parent, touched_ns: notice.time_ns, ..Process::default() };
        if let Some(parent) = self.known.get(&parent) {
            child.mappings = Arc::clone(&parent.mappings);
            child.whole = parent.whole;
            child.comm.clone_from(&parent.comm);
        }
        self.make_room(notice.pid);
        self.mappings += child.mappings.len();
        self.replace(notice.pid, child);
    }

    fn exec(&mut self, notice: &Notice, comm: &str, whole: bool) {
        self.make_room(notice.pid);
        let parent = self.known.get(&notice.pid).map_or(0, |process| process.parent);
        let comm = Some(comm.to_owned());
        let process = Process { parent, comm, whole, touched_ns: notice.time_ns, ..Process::default() };
        self.replace(notice.pid, process);
    }

    fn map(&mut self, notice: &Notice, mapping: Mapping<What>) {
        let Some(process) = self.known.get_mut(&notice.pid) else { return };
        if process.mappings.len() >= self.budget.mappings / 2 {
            // Too many to follow one by one: they are read when a sample needs them.
            process.whole = false;
            return;
        }
        process.touched_ns = notice.time_ns;
        let before = process.mappings.len();
        Arc::make_mut(&mut process.mappings).insert(mapping);
        process.version = next_version(&mut self.versions);
        self.mappings = (self.mappings + process.mappings.len()).saturating_sub(before);
        self.make_room(notice.pid);
    }

    fn replace(&mut self, pid: u32, mut process: Process) {
        process.version = next_version(&mut self.versions);
        if let Some(old) = self.known.insert(pid, process) {
            self.mappings = self.mappings.saturating_sub(old.mappings.len());
        }
    }

    /// Reads the mappings of a process; of its parent where it is gone and was forked without an exec.
    fn read_maps(&mut self, pid: u32, tid: u32, time_ns: u64) {
        self.counters.maps_read += 1;
        let parent = self.known.get(&pid).map_or(0, |process| process.parent);
        // One process leaves room for others.
        let most = self.budget.mappings / 2;
        let began = Instant::now();
        let name = format!("/proc/{pid}/maps");
        let sampled = self.known.get_mut(&pid).map(Process::take_sampled).unwrap_or_default();
        let look = move || read_executable_maps((pid, tid, parent), most, &sampled);
        let maps = self.executables.reader().look(pid, WaitsFor::Process(pid), &name, look);
        let Some(process) = self.known.get_mut(&pid) else { return };
        process.read_ns = time_ns;
        let before = process.mappings.len();
        // What could not be read is soon tried again, however long that took.
        process.reading_ns = 0;
        let Ok(Some(maps)) = maps else { return };
        process.reading_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        process.take_maps(maps, monotonic_ns(), &mut self.files);
        process.version = next_version(&mut self.versions);
        self.mappings = (self.mappings + process.mappings.len()).saturating_sub(before);
        self.make_room(pid);
    }

    /// Forgets processes that were silent longest until the budget has room again; never `keep`.
    fn make_room(&mut self, keep: u32) {
        let full = |this: &Self| {
            let newcomer = usize::from(!this.known.contains_key(&keep));
            this.known.len() + newcomer > this.budget.processes || this.mappings > this.budget.mappings
        };
        if !full(self) {
            return;
        }
        let others = self.known.iter().filter(|(pid, _)| **pid != keep);
        let mut others: Vec<_> = others.map(|(pid, process)| (process.touched_ns, *pid)).collect();
        others.sort_unstable();
        // Several at once: to find those silent longest takes a look at all.
        let several = others.len() / 16;
        for (gone, (_, pid)) in others.into_iter().enumerate() {
            if gone >= several && !full(self) {
                return;
            }
            self.forget(pid);
            self.counters.processes_evicted += 1;
        }
    }
}

fn next_version(versions: &mut u64) -> u64 {
    *versions += 1;
    *versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Identity as FileIdentity;

    #[test]
    fn a_process_that_just_ended_is_known_a_little_longer() {
        // An id that no process has.
        let pid = u32::MAX / 2;
        let here = tests::a_process_that_just_ended_is_known_a_little_longer as fn() as usize as u64;
        let maps = super::super::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let map = maps.into_iter().find(|map| (map.start..map.end).contains(&here)).unwrap();
        let identity = FileIdentity { major: map.major, minor: map.minor, inode: map.inode };
        let (start, end, file_offset) = (map.start, map.end, map.file_offset);
        let mut processes = Processes::new(Budget { processes: 9, mappings: 99, executables: 9 });
        let tell = |processes: &mut Processes, time_ns, pid, kind| {
            processes.notice(&Notice { time_ns, pid, tid: pid, kind });
        };
        tell(&mut processes, 1, pid, NoticeKind::Exec { comm: "short".into(), mappings_follow: true });
        let mapped = NoticeKind::Map { start, end, file_offset, identity, path: map.path };
        tell(&mut processes, 2, pid, mapped);
        tell(&mut processes, 3, pid, NoticeKind::Exit);
        assert!(matches!(processes.code_at(pid, pid, here, 4), Code::File(..)), "sampled on its way out");
        assert_eq!(processes.sizes().0, 1);
        tell(&mut processes, 4 + LEAVING_NS, 77, NoticeKind::Exit);
        assert_eq!((processes.sizes().0, processes.leaving.len()), (0, 0), "nothing is kept for long");
    }
}
