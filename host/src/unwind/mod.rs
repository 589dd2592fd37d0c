//! Complete user stacks without frame pointers.
//!
//! The sampler unwinds by tables as far as they reach. Where they do not, its record carries registers
//! and a copy of the stack, and the walk goes on here, by the same rules; the rows that it needed are
//! put into the tables, so that the next sample there is unwound in the kernel. So rows are
//! made for pages of code that were sampled, and for no others.
//!
//! ```text
//! source   an executable's call frame information, read page by page
//! index    which functions it describes, and where
//! go       the same for Go's code, by Go's own table
//! bare     code that both leave out, as far as it is known
//! scan     the rest of it, by its instructions (instruction)
//! made     code that was made at run time, where a thread stands in it
//! cfi      one function's entry -> rows (gimli)
//! rule     a row's meaning, in a word
//! page     rows of a page as the block that the sampler searches
//! slot     a process as the sampler finds it
//! tables   what is in the shared tables, within a budget
//! walk     leaving a frame in user space
//! beyond   stacks larger than their copy
//! ```

mod bare;
mod beyond;
mod cfi;
mod go;
mod index;
mod instruction;
mod made;
mod page;
mod pages;
mod rule;
mod scan;
mod slab;
mod slot;
mod source;
mod tables;
mod walk;

pub use beyond::Stack;
pub use cfi::{BadEntry, Entry, Row, rows};
pub use page::PageKey;
pub use rule::{Architecture, Rule};
pub use scan::rules as rules_of_code;
pub use slot::name_mark;
pub use source::CallFrames;
pub use tables::{TableMapping, Tables, TablesCounters};
pub use walk::leave;

use crate::blocking::Backoff;
use crate::bpf::{Notice, NoticeKind, RawSample, Rest};
use crate::map::Map;
use crate::process::{Code, Executable, Frame, Processes};
use beyond::{Beyond, Memory};
use made::MadeCode;
use stacksonde_ebpf::tables::{PAGE_BITS, mapping_kind};
use stacksonde_ebpf::{FRAME_EXACT, USER_FRAMES_MAX, user_end};
use std::io;
use std::sync::Arc;

/// Counters of unwinding in user space, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindCounters {
    /// Walks that the sampler left to user space.
    pub finished_in_user_space: u64,
    /// Of these, those for which the process itself was read, beyond the copy of its stack.
    pub beyond_copies: u64,
    /// Pages whose rows were read from files.
    pub pages_read: u64,
    /// Pages whose rows could not be read, though the file has some.
    pub pages_unreadable: u64,
}

/// Frames of a stack; of deeper ones the innermost are kept.
const FRAMES_MAX: usize = 1024;

/// Times that a walk comes to a stack that lies lower (`ebpf/bpf/unwind.h`).
const LOWERED_MAX: u32 = 8;

/// Processes whose code was replaced that are remembered, until they end; more are all forgotten, and with them
/// that the tables were wrong for the moment until the sampler saw that they were gone.
const MAX_REPLACED: usize = 4096;

/// The stage that finishes walks and keeps the tables.
#[derive(Debug)]
pub struct Unwinder {
    tables: Tables,
    /// By [`Executable::id`]; `None` for those without unwind information.
    sources: Map<u32, Option<Arc<CallFrames>>>,
    /// When what could not be read is tried again, within the same budget: a page of an executable, or (`None`) all of it.
    unread: Map<(u32, Option<u32>), Backoff>,
    /// Which state of a process's mappings is in the tables.
    versions: Map<u32, u64>,
    /// The last epoch of a process in which its tables were right, where other code took their place: what is
    /// walked by them from then on is not. The sampler may do so until it sees that they are gone.
    replaced: Map<u32, u32>,
    max_sources: usize,
    counters: UnwindCounters,
    /// Stacks of processes, beyond their copies; taken out while a walk reads.
    memory: Option<Memory>,
    made: MadeCode,
}

impl Unwinder {
    /// With empty tables; of `max_sources` executables it is remembered where their information lies.
    pub fn new(tables: Tables, max_sources: usize) -> Self {
        Self {
            tables,
            sources: Map::default(),
            unread: Map::default(),
            versions: Map::default(),
            replaced: Map::default(),
            max_sources,
            counters: UnwindCounters::default(),
            memory: Some(Memory::default()),
            made: MadeCode::default(),
        }
    }

    /// Returns the counters so far.
    pub fn counters(&self) -> (UnwindCounters, TablesCounters) {
        (self.counters, self.tables.counters())
    }

    /// Takes an event that changes a process's mappings, as `processes` knows already: until it is sampled again
    /// it is not in the tables. True if other code took the place of what they know.
    pub fn notice(&mut self, notice: &Notice, processes: &mut Processes) -> bool {
        if let NoticeKind::Lost { .. } = notice.kind {
            self.forget_processes();
            return false;
        }
        let concerns = match &notice.kind {
            NoticeKind::Exec { .. } => true,
            // A mapping beside those that are in takes nothing away; it is put in at the first sample there.
            NoticeKind::Map { start, end, .. } => self.tables.overlaps(notice.pid, *start..*end),
            NoticeKind::Exit | NoticeKind::Fork { .. } => notice.pid == notice.tid,
            _ => false,
        };
        let is_replaced = concerns && self.note_replaced(notice, processes);
        if concerns {
            self.forget_process(notice.pid);
        }
        is_replaced
    }

    /// Remembers until when the tables of a process were right, if other code takes the place of what they know.
    fn note_replaced(&mut self, notice: &Notice, processes: &mut Processes) -> bool {
        let range = match &notice.kind {
            NoticeKind::Exec { .. } => 0..u64::MAX,
            NoticeKind::Map { start, end, .. } => *start..*end,
            _ => {
                self.replaced.remove(&notice.pid);
                return false;
            }
        };
        let Some((epoch, mut known)) = self.tables.overlapping(notice.pid, range.clone()) else {
            return false;
        };
        // A mapping that got other rights is reported again, which code made at run time has all the time.
        let is_same = |known: TableMapping| {
            let address = known.start.max(range.start);
            match processes.code_at(notice.pid, notice.tid, address, notice.time_ns) {
                Code::Anonymous => known.kind == mapping_kind::FRAME_POINTERS,
                Code::File(executable, at) => {
                    (known.executable, known.bias) == (executable.id, at.0.wrapping_sub(address))
                }
                Code::Nothing => false,
            }
        };
        if !matches!(notice.kind, NoticeKind::Exec { .. }) && known.all(is_same) {
            return false;
        }
        if self.replaced.len() >= MAX_REPLACED {
            self.replaced.clear();
        }
        self.replaced.insert(notice.pid, epoch);
        true
    }

    /// Takes a process out of the tables until it is sampled again.
    pub fn forget_process(&mut self, pid: u32) {
        if self.tables.has_process(pid) {
            self.tables.remove_process(pid);
            self.versions.remove(&pid);
        }
    }

    /// Takes all processes out of the tables until they are sampled again: what happened to them may have
    /// gone unnoticed.
    pub fn forget_processes(&mut self) {
        self.versions.keys().for_each(|pid| self.tables.remove_process(*pid));
        self.versions.clear();
    }

    /// Finishes a walk that the sampler could not, and puts into the tables what was wanting.
    pub fn finish(&mut self, sample: &mut RawSample, processes: &mut Processes) {
        self.tables.touch_process(sample.pid, name_of(sample), sample.time_ns);
        let right_until = self.replaced.get(&sample.pid);
        // An innermost frame that no table knew is looked for here.
        let is_anew = sample.user.len() == 1
            && matches!(sample.user_end, user_end::NO_PROCESS | user_end::NO_MAPPING | user_end::NO_ROWS);
        if !is_anew && right_until.is_some_and(|last| (1..=*last).contains(&sample.epoch)) {
            sample.user_end = user_end::CODE_REPLACED;
            sample.rest = None;
            return;
        }
        let Some(rest) = sample.rest.take() else { return };
        if sample.user_end == user_end::NO_LEAF_ROWS {
            self.add_leaf(sample, &rest, processes);
            return;
        }
        let is_wanting = matches!(
            sample.user_end,
            user_end::NO_PROCESS | user_end::NO_MAPPING | user_end::NO_ROWS | user_end::TOO_DEEP
        );
        if !is_wanting {
            return;
        }
        self.counters.finished_in_user_space += 1;
        let mut frames = sample.user.to_vec();
        let mut frame = rest.registers;
        let (pid, tid) = (sample.pid, sample.tid);
        let of_sample = (pid, sample.time_ns);
        let memory = self.memory.take();
        let read =
            |address, to: &mut [u8]| memory.as_ref().is_some_and(|memory| memory.read(pid, tid, address, to));
        let early = |address, to: &mut [u8]| rest.early.as_ref().is_some_and(|early| early.read(address, to));
        let stack = Beyond::new(&rest.stack, &early, &read);
        let mut lowered = 0;
        sample.user_end = loop {
            if frames.len() >= FRAMES_MAX {
                break user_end::TOO_DEEP;
            }
            let address = frame.address();
            let code = processes.code_at(sample.pid, sample.tid, address, sample.time_ns);
            let rule = match &code {
                // The sampled address itself may be a jump into nowhere; its caller is not.
                Code::Nothing if frames.len() > 1 || !frame.exact => {
                    if processes.is_return_probe(pid, frame.pc) {
                        frames.pop();
                        break user_end::RETURN_PROBED;
                    }
                    break user_end::NO_CODE;
                }
                Code::Anonymous if frame.exact => {
                    match self.made.rule_at((pid, frame.pc), sample.time_ns, &read) {
                        Ok(rule) => rule.unwrap_or(Rule::NONE),
                        Err(_) if is_gone(frame.sp, &read) => break user_end::MEMORY_GONE,
                        Err(_) => Rule::NONE,
                    }
                }
                Code::Nothing | Code::Anonymous => Rule::NONE,
                Code::File(executable, address) => {
                    // Go's runtime begins stacks with a frame pointer of zero: whether this is the place, rows say.
                    let is_leaf = frames.len() == 1 || frame.fp == 0;
                    self.rule(executable, address.0, is_leaf, processes, of_sample)
                }
            };
            let leaf = (frames.len() == 1).then_some(&rest.leaf);
            stack.leaving(frame.sp);
            let mut left = leave(&frame, rule, leaf, &stack, Architecture::OURS);
            if let (Err(_), Some(address)) = (left, stack.called_anew())
                && rule.is_large()
                && let now =
                    processes.code_at(sample.pid, sample.tid, address.wrapping_sub(1), sample.time_ns)
                && self.is_frame_of(&code, rule, &now, processes, of_sample)
            {
                stack.is_same_frame();
                left = leave(&frame, rule, leaf, &stack, Architecture::OURS);
            }
            match left {
                Ok(caller) => {
                    lowered += u32::from(caller.sp <= frame.sp);
                    if lowered > LOWERED_MAX {
                        break user_end::BAD_FRAME;
                    }
                    if let ([_, .., last], true) = (frames.as_mut_slice(), caller.exact) {
                        *last |= FRAME_EXACT;
                    }
                    frame = caller;
                    frames.push(frame.pc | if frame.exact { FRAME_EXACT } else { 0 });
                }
                Err(end) => {
                    if rule == Rule::ENTRY && frames.len() > 1 && !frame.exact {
                        frames.pop();
                    }
                    break end;
                }
            }
        };
        self.counters.beyond_copies += u64::from(stack.was_used());
        self.memory = memory;
        if processes.is_replaced_since(pid, sample.time_ns) {
            sample.user_end = user_end::CODE_REPLACED;
        }
        if sample.user_end == user_end::NO_CODE {
            tracing::debug!(pid, tid = sample.tid, ?frame, frames = frames.len(), "a return into no mapping");
        }
        sample.user = frames.into();
        self.install(sample, processes);
    }

    /// Tells whether `now`, inside a call, has the frame that `code` has by `rule`: of the same size in the same file.
    fn is_frame_of(
        &mut self,
        code: &Code,
        rule: Rule,
        now: &Code,
        processes: &mut Processes,
        of_sample: (u32, u64),
    ) -> bool {
        match (code, now) {
            (Code::File(executable, _), Code::File(other, address)) if executable == other => {
                self.rule(other, address.0, false, processes, of_sample) == rule
            }
            _ => false,
        }
    }

    /// Puts in the caller of an innermost frame that the sampler had no rows for, or that was made at run time, if its frame
    /// pointer is still that of the caller, so that the walk by frame pointers passed it over.
    fn add_leaf(&mut self, sample: &mut RawSample, rest: &Rest, processes: &mut Processes) {
        self.counters.finished_in_user_space += 1;
        sample.user_end = user_end::COMPLETE;
        let frame = rest.registers;
        let (pid, tid, time_ns) = (sample.pid, sample.tid, sample.time_ns);
        let code = processes.code_at(pid, tid, frame.pc, time_ns);
        let rule = match &code {
            Code::File(executable, address) => {
                Some(self.rule(executable, address.0, true, processes, (pid, time_ns)))
            }
            Code::Anonymous => {
                let memory = self.memory.as_ref();
                let read =
                    |address, to: &mut [u8]| memory.is_some_and(|memory| memory.read(pid, tid, address, to));
                self.made.rule_at((pid, frame.pc), time_ns, &read).unwrap_or_else(|_| {
                    if is_gone(frame.sp, &read) {
                        sample.user_end = user_end::MEMORY_GONE;
                    }
                    None
                })
            }
            Code::Nothing => None,
        };
        let Some(rule) = rule else { return };
        let is_made = code == Code::Anonymous;
        let called_from = sample.user.get(1).map(|address| address & !FRAME_EXACT);
        match leave(&frame, rule, Some(&rest.leaf), &rest.stack, Architecture::OURS) {
            Ok(caller)
                if is_made
                    && processes.code_at(pid, tid, caller.pc.wrapping_sub(1), time_ns) == Code::Nothing =>
            {
                sample.user = [frame.pc].into();
                sample.user_end = user_end::NO_CODE;
            }
            // The code knows better where the caller's frame lies; what frame pointers led to is none of it.
            Ok(caller) if is_made && caller.fp != frame.fp && called_from != Some(caller.pc) => {
                sample.user = [frame.pc, caller.pc].into();
                sample.user_end = user_end::BAD_FRAME_POINTER;
            }
            Ok(caller) if caller.fp == frame.fp => {
                let mut frames = sample.user.to_vec();
                frames.insert(1, caller.pc);
                frames.truncate(USER_FRAMES_MAX);
                sample.user = frames.into();
            }
            // The frame pointer was its own already.
            Ok(_) => {}
            Err(end) => tracing::debug!(pid, ?frame, end, "the innermost frame cannot be left by its code"),
        }
    }

    /// These frames were sampled: their pages are wanted longer than others.
    pub fn keep(&mut self, frames: &[Frame]) {
        for frame in frames {
            if let Frame::File(executable, address) = frame {
                self.tables.touch_page(executable.id, address.0);
            }
        }
    }

    /// The rule at a file address, from the tables or from the file; for a sample of this process at this time.
    fn rule(
        &mut self,
        executable: &Arc<Executable>,
        address: u64,
        is_leaf: bool,
        processes: &mut Processes,
        (pid, now_ns): (u32, u64),
    ) -> Rule {
        let id = executable.id;
        if let Some(rule) = self.tables.rule_at(id, address) {
            return rule;
        }
        let Some(key) = PageKey::of(id, address) else { return Rule::UNSUPPORTED };
        let source = match self.sources.get(&id) {
            Some(None) => return Rule::BARE,
            Some(Some(source)) if source.is_go() && !is_leaf => return Rule::BARE,
            Some(Some(source)) => Some(Arc::clone(source)),
            None => None,
        };
        // A file that is not at hand says nothing of whether it has unwind information.
        let Some(file) = executable.unchanged_file() else { return Rule::NONE };
        if [None, Some(key.page)].iter().any(|page| !self.is_due((id, *page), now_ns)) {
            return Rule::NONE;
        }
        let page = key.page.into();
        let waits_for = file.waits_for();
        let read = move || -> io::Result<_> {
            let file = file.open()?;
            let source = match source {
                Some(source) => Some(source),
                None => CallFrames::find(&file)?.map(Arc::new),
            };
            Ok(source.map(|source| {
                let rows = (is_leaf || !source.is_go()).then(|| source.rows_of_page(&file, page));
                (source, rows)
            }))
        };
        let found = match processes.reader().look(pid, waits_for, &executable.path, read) {
            Ok(found) => found,
            Err(_) => return self.fail((id, None), now_ns),
        };
        self.unread.remove(&(id, None));
        if self.sources.len() >= self.max_sources && !self.sources.contains_key(&id) {
            self.sources.clear();
        }
        self.sources.insert(id, found.as_ref().map(|(source, _)| Arc::clone(source)));
        match found.and_then(|(_, rows)| rows) {
            None => Rule::BARE,
            Some(Ok(rows)) => {
                self.counters.pages_read += 1;
                self.unread.remove(&(id, Some(key.page)));
                self.tables.add_page(key, &rows);
                let row = rows.iter().rev().find(|(start, _)| *start <= address);
                row.map_or(Rule::NONE, |(_, rule)| *rule)
            }
            Some(Err(error)) => {
                tracing::debug!(path = executable.path, page = key.page << PAGE_BITS, %error, "no unwind rows");
                self.fail((id, Some(key.page)), now_ns)
            }
        }
    }

    fn is_due(&self, what: (u32, Option<u32>), now_ns: u64) -> bool {
        self.unread.is_empty() || self.unread.get(&what).is_none_or(|backoff| backoff.is_due(now_ns))
    }

    /// Takes in that rows could not be read: callers are found by frame pointers until they can be.
    fn fail(&mut self, what: (u32, Option<u32>), now_ns: u64) -> Rule {
        self.counters.pages_unreadable += 1;
        if self.unread.len() >= self.max_sources && !self.unread.contains_key(&what) {
            self.unread.clear();
        }
        self.unread.entry(what).or_default().fail(now_ns);
        Rule::NONE
    }

    /// Puts the mappings of a process into the tables, if they are not what is there already.
    fn install(&mut self, sample: &RawSample, processes: &mut Processes) {
        let (pid, name) = (sample.pid, name_of(sample));
        let Some((version, mappings)) = processes.code_of(pid) else { return };
        let is_named = name == 0 || self.tables.name_of(pid) == name;
        if self.tables.has_process(pid) && is_named && self.versions.get(&pid) == Some(&version) {
            return;
        }
        let sources = &self.sources;
        let mappings: Vec<TableMapping> = mappings
            .filter_map(|(start, end, code)| {
                let (executable, bias, kind) = match code {
                    Code::Anonymous => (0, 0, mapping_kind::FRAME_POINTERS),
                    Code::File(executable, address) => {
                        let kind = match sources.get(&executable.id) {
                            Some(None) => mapping_kind::BARE,
                            Some(Some(source)) if source.is_go() => mapping_kind::GO,
                            _ => mapping_kind::ROWS,
                        };
                        (executable.id, address.0.wrapping_sub(start), kind)
                    }
                    Code::Nothing => return None,
                };
                Some(TableMapping { start, end, bias, executable, kind })
            })
            .collect();
        if self.tables.set_process(pid, &mappings, name, sample.time_ns) {
            self.versions.insert(pid, version);
            if self.versions.len() > 2 * self.tables.sizes().1 + 64 {
                let tables = &self.tables;
                self.versions.retain(|pid, _| tables.has_process(*pid));
            }
        }
    }
}

/// Tells whether a process has no memory any more: not even where its stack was.
fn is_gone(sp: u64, read: beyond::Read<'_>) -> bool {
    !read(sp, &mut [0])
}

/// The mark of the name of a sample's process, if the sample tells it: a process is called what its main thread is.
fn name_of(sample: &RawSample) -> u32 {
    if sample.pid == sample.tid { name_mark(&sample.comm) } else { 0 }
}
