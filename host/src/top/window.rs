//! The samples of the last seconds: batches taken in, and taken back when they are too old or there is no room.

use super::labels::Label;
use super::tree::{NodeId, Tree};
use crate::terminal::Charset;
use stacksonde_batch::tables::{EXCLUDED, KERNEL, Location, Stack};
use stacksonde_batch::{Batch, StringId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// The batches of a span of time.
#[derive(Debug)]
pub struct Window {
    pub(super) tree: Tree,
    slices: VecDeque<Slice>,
    length_ns: u64,
    /// Bytes that all of it may take, about.
    budget: usize,
    charset: Charset,
    /// Slices taken back before their time, for want of room.
    evicted: u64,
}

/// The content of one batch.
#[derive(Debug, Default)]
struct Slice {
    start_ns: u64,
    end_ns: u64,
    period_ns: u64,
    /// CPU time by the end of its stack, in nanoseconds.
    ends: Vec<(NodeId, u64)>,
    samples: u64,
    cpu_time_ns: u64,
    excluded: u64,
    /// Samples for which there was no room.
    left_out: u64,
    losses: Vec<(String, u64)>,
}

/// Sums over the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Length of what is shown.
    pub seconds: f64,
    /// Batches that are shown.
    pub batches: usize,
    /// CPU time that a sample stands for in the mean; 0 if that is not known.
    pub period_ns: u64,
    /// Samples that came.
    pub samples: u64,
    /// CPU time that they stand for, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Samples that the filter leaves out.
    pub excluded: u64,
    /// Samples that came and are not shown, because there was no room.
    pub left_out: u64,
    /// Samples that were lost, by reason.
    pub losses: BTreeMap<String, u64>,
    /// Times that something was forgotten before it was too old, because there was no room.
    pub evicted: u64,
}

impl Totals {
    /// Samples that were lost.
    pub fn lost(&self) -> u64 {
        self.losses.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// CPU time used on the whole machine, in CPUs.
    pub fn busy_cpus(&self) -> f64 {
        let stolen = self.losses.get(crate::telemetry::Loss::Stolen.name()).copied().unwrap_or(0);
        let elsewhere = self.excluded.saturating_add(self.lost()).saturating_sub(stolen);
        self.cpus(self.cpu_time_ns.saturating_add(elsewhere.saturating_mul(self.period_ns)))
    }

    /// So much CPU time, in CPUs.
    pub fn cpus(&self, cpu_time_ns: u64) -> f64 {
        if self.seconds > 0.0 { cpu_time_ns as f64 / 1e9 / self.seconds } else { 0.0 }
    }
}

impl Window {
    /// Of `length_ns`, in about `budget` bytes. Names are such as `charset` can show.
    pub fn new(length_ns: u64, budget: usize, charset: Charset) -> Self {
        Self { tree: Tree::default(), slices: VecDeque::new(), length_ns, budget, charset, evicted: 0 }
    }

    /// Takes a batch in. Those that are too old by it, or for which there is no room beside it, are taken back.
    pub fn take(&mut self, batch: &Batch<'_>) {
        let header = batch.header();
        let oldest = header.end_ns.saturating_sub(self.length_ns);
        // One that reaches into the window by less than half of it is out.
        while self.slices.front().is_some_and(|slice| slice.start_ns.midpoint(slice.end_ns) < oldest) {
            self.forget_oldest();
        }
        let mut slice = Slice {
            start_ns: header.start_ns,
            end_ns: header.end_ns.max(header.start_ns),
            period_ns: period_ns(batch),
            ..Slice::default()
        };
        for loss in batch.losses() {
            match batch.text(loss.reason) {
                EXCLUDED => slice.excluded = slice.excluded.saturating_add(loss.count),
                reason => slice.losses.push((self.charset.plain(reason).into_owned(), loss.count)),
            }
        }
        self.stacks(batch, &mut slice);
        self.slices.push_back(slice);
    }

    /// The hottest first, so that what finds no room are the others.
    fn stacks(&mut self, batch: &Batch<'_>, slice: &mut Slice) {
        let mut samples: Vec<_> = batch.samples().iter().filter(|sample| sample.count > 0).collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(batch.main_value(sample)));
        let mut ends = HashMap::<NodeId, u64>::new();
        // Labels by location, once one of its stacks is in the tree.
        let mut known = HashMap::<u32, Vec<u32>>::new();
        for sample in samples {
            // A batch is bytes of anybody; this way no sum of all of its rows overflows.
            let count = sample.count.min(u32::MAX.into());
            let cpu_time_ns = batch.main_value(&sample).min(MOST_CPU_TIME_NS);
            slice.samples += count;
            slice.cpu_time_ns = slice.cpu_time_ns.saturating_add(cpu_time_ns);
            let stack = batch.stacks().get(sample.stack).unwrap_or_default();
            let mut path = vec![self.tree.labels.acquire(process(batch, sample.thread, self.charset))];
            if stack.complete == 0 {
                path.push(self.tree.labels.acquire(incomplete(batch, &stack, self.charset)));
            }
            let own = path.len();
            let mut new = Vec::new();
            for frame in batch.frames().range(stack.frames_start, stack.frames_count).rev() {
                let labels = known.entry(frame.location).or_insert_with(|| {
                    new.push(frame.location);
                    let location = batch.locations().get(frame.location).unwrap_or_default();
                    let labels = functions(batch, &location, self.charset).into_iter();
                    labels.map(|label| self.tree.labels.acquire(label)).collect()
                });
                path.extend_from_slice(labels);
            }
            // What is kept of a batch beside the tree.
            let beside = ends.len() * 2 * size_of::<(NodeId, u64)>();
            match self.add(&path, cpu_time_ns, self.budget.saturating_sub(beside)) {
                Some(end) => *ends.entry(end).or_default() += cpu_time_ns,
                None => {
                    slice.left_out += count;
                    let labels = new.iter().filter_map(|location| known.remove(location)).flatten();
                    labels.for_each(|label| self.tree.labels.release(label));
                }
            }
            path[..own].iter().for_each(|label| self.tree.labels.release(*label));
        }
        slice.ends = ends.into_iter().collect();
        known.into_values().flatten().for_each(|label| self.tree.labels.release(label));
    }

    /// Adds a stack, if there is room once all that is older is forgotten.
    fn add(&mut self, path: &[u32], cpu_time_ns: u64, budget: usize) -> Option<NodeId> {
        loop {
            let end = self.tree.add(path, cpu_time_ns, budget);
            if end.is_some() || self.slices.is_empty() {
                return end;
            }
            self.forget_oldest();
            self.evicted += 1;
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(slice) = self.slices.pop_front() {
            for (end, cpu_time_ns) in slice.ends {
                self.tree.remove(end, cpu_time_ns);
            }
        }
    }

    /// Sums over all that is shown.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { batches: self.slices.len(), evicted: self.evicted, ..Totals::default() };
        for slice in &self.slices {
            totals.seconds += (slice.end_ns - slice.start_ns) as f64 / 1e9;
            totals.period_ns = slice.period_ns;
            totals.samples += slice.samples;
            totals.cpu_time_ns = totals.cpu_time_ns.saturating_add(slice.cpu_time_ns);
            totals.excluded = totals.excluded.saturating_add(slice.excluded);
            totals.left_out += slice.left_out;
            for (reason, count) in &slice.losses {
                let sum = totals.losses.entry(reason.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        totals
    }
}

/// CPU time of equal stacks of a thread in one batch at most: more than the longest interval.
const MOST_CPU_TIME_NS: u64 = 1 << 42;

/// CPU time that one sample stands for in the mean.
fn period_ns(batch: &Batch<'_>) -> u64 {
    let mut types = batch.value_types().iter();
    types.find(|value| batch.text(value.unit) == "nanoseconds").map_or(0, |value| value.per_sample)
}

fn text(batch: &Batch<'_>, id: StringId, charset: Charset) -> Arc<str> {
    charset.plain(batch.text(id).trim()).into()
}

fn process(batch: &Batch<'_>, thread: u32, charset: Charset) -> Label {
    let thread = batch.threads().get(thread).unwrap_or_default();
    let process = batch.processes().get(thread.process).unwrap_or_default();
    let comm = match text(batch, process.comm, charset) {
        name if name.is_empty() => "[no name]".into(),
        name => name,
    };
    Label::Process { pid: process.pid, comm }
}

fn incomplete(batch: &Batch<'_>, stack: &Stack, charset: Charset) -> Label {
    Label::Incomplete(text(batch, stack.outcome, charset))
}

/// The functions at a location, outermost first; file and address if it has no name.
fn functions(batch: &Batch<'_>, location: &Location, charset: Charset) -> Vec<Label> {
    let label = |name| if location.kind == KERNEL { Label::Kernel(name) } else { Label::User(name) };
    let lines = batch.lines().range(location.lines_start, location.lines_count).rev();
    let names = lines.filter_map(|line| batch.functions().get(line.function));
    let names: Vec<_> = names.map(|function| text(batch, function.name, charset)).collect();
    let named: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).map(label).collect();
    if !named.is_empty() {
        return named;
    }
    let mapping = batch.mappings().get(location.mapping).unwrap_or_default();
    let path = text(batch, mapping.path, charset);
    let name = match path.rsplit('/').next().unwrap_or_default() {
        "" => format!("{:#x}", location.address),
        file if location.kind == KERNEL => format!("{:#x} {file}", location.address),
        file => format!("{file}+{:#x}", location.address),
    };
    vec![label(name.into())]
}
