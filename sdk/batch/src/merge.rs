//! Several batches as one.

use crate::tables::{
    Attribute, Frame, Function, Label, Line, Location, Loss, Mapping, NONE, Process, Sample, Stack, StringId,
    Thread, Timestamp, Value, ValueType,
};
use crate::{Batch, Header, Writer};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Why batches cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("there is no batch to merge")]
    Nothing,
    /// Their samples do not count the same.
    #[error("their samples stand for different values")]
    Values,
    /// Together they are too large.
    #[error(transparent)]
    TooLarge(#[from] crate::TooLarge),
}

/// Puts `batches`, of one run and in order, together: from the start of the first to the end of the last, with
/// the sequence number of the first. What is the same in several of them is there once; counts of equal stacks
/// of a thread are added, unless they carry timestamps. Attributes are those of the last batch.
///
/// # Errors
///
/// There is no batch; their value types differ; a table of all of them outgrows 32 bits.
pub fn merge(batches: &[Batch<'_>]) -> Result<Vec<u8>, MergeError> {
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
        return Err(MergeError::Nothing);
    };
    let header = Header { end_ns: last.header().end_ns, ..*first.header() };
    let mut merged = Merged { writer: Some(Writer::new(header)), ..Merged::default() };
    let values = |batch: &Batch<'_>| -> Vec<_> {
        let text = |id| batch.text(id).to_owned();
        batch.value_types().iter().map(|it| (text(it.kind), text(it.unit), it.per_sample)).collect()
    };
    if batches.iter().any(|batch| values(batch) != values(first)) {
        return Err(MergeError::Values);
    }
    for batch in batches {
        merged.add(batch);
    }
    merged.finish(first, last)
}

/// Rows that are there, by their content; `K` holds indices into the merged tables.
type Known<K> = HashMap<K, u32>;

#[derive(Default)]
struct Merged {
    writer: Option<Writer>,
    functions: Known<[u32; 4]>,
    mappings: Known<([u32; 4], [u64; 3])>,
    locations: Known<(u32, u32, u64, Vec<[u32; 3]>)>,
    stacks: Known<(Vec<u32>, u32, u32, u32)>,
    processes: Known<([u32; 5], Vec<[u32; 2]>)>,
    threads: Known<[u32; 3]>,
    /// Counts and values of stacks by thread.
    counts: BTreeMap<(u32, u32), (u64, Vec<u64>)>,
    losses: BTreeMap<String, u64>,
}

fn known<K: Hash + Eq>(table: &mut Known<K>, key: K, add: impl FnOnce() -> u32) -> u32 {
    *table.entry(key).or_insert_with(add)
}

/// The index that `add` gave the first of the rows, 0 without any.
fn all<T>(rows: impl Iterator<Item = T>, mut add: impl FnMut(T) -> u32) -> u32 {
    let mut first = None;
    for row in rows {
        let index = add(row);
        first.get_or_insert(index);
    }
    first.unwrap_or(0)
}

fn count<T>(rows: &[T]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}

impl Merged {
    fn add(&mut self, batch: &Batch<'_>) {
        let Some(mut writer) = self.writer.take() else { return };
        let w = &mut writer;
        let mut functions = Vec::new();
        for function in batch.functions() {
            let texts = [function.name, function.system_name, function.file].map(|id| text(w, batch, id));
            let [name, system_name, file] = texts;
            let key = [name.0, system_name.0, file.0, function.start_line];
            let row = Function { name, system_name, file, ..function };
            functions.push(known(&mut self.functions, key, || w.function(row)));
        }
        let mut mappings = Vec::new();
        for mapping in batch.mappings() {
            let [path, build_id, htlhash] =
                [mapping.path, mapping.build_id, mapping.htlhash].map(|id| text(w, batch, id));
            let key = (
                [mapping.kind, path.0, build_id.0, htlhash.0],
                [mapping.start, mapping.limit, mapping.file_offset],
            );
            let mapping = Mapping { path, build_id, htlhash, ..mapping };
            mappings.push(known(&mut self.mappings, key, || w.mapping(mapping)));
        }
        let mut locations = Vec::new();
        for location in batch.locations() {
            let mapping = mappings.get(location.mapping as usize).copied().unwrap_or(NONE);
            let lines = batch.lines().range(location.lines_start, location.lines_count);
            let lines: Vec<_> =
                lines.map(|line| [functions[line.function as usize], line.line, line.column]).collect();
            let key = (location.kind, mapping, location.address, lines.clone());
            locations.push(known(&mut self.locations, key, || {
                let lines_start =
                    all(lines.iter(), |&[function, line, column]| w.line(Line { function, line, column }));
                w.location(Location { mapping, lines_start, lines_count: count(&lines), ..location })
            }));
        }
        let mut stacks = Vec::new();
        for stack in batch.stacks() {
            let frames = batch.frames().range(stack.frames_start, stack.frames_count);
            let frames: Vec<u32> = frames.map(|frame| locations[frame.location as usize]).collect();
            let outcome = text(w, batch, stack.outcome);
            let key = (frames.clone(), stack.kernel_frames, outcome.0, stack.complete);
            stacks.push(known(&mut self.stacks, key, || {
                let frames_start = all(frames.iter(), |&location| w.frame(Frame { location }));
                w.stack(Stack { frames_start, outcome, ..stack })
            }));
        }
        let threads = self.threads(w, batch);
        for sample in batch.samples() {
            let (thread, stack) = (threads[sample.thread as usize], stacks[sample.stack as usize]);
            if sample.timestamps_count == 0 {
                let (count, sums) = self.counts.entry((thread, stack)).or_default();
                *count = count.saturating_add(sample.count);
                sums.resize(batch.value_types().len() as usize, 0);
                for (sum, value) in sums.iter_mut().zip(batch.values(&sample)) {
                    *sum = sum.saturating_add(value);
                }
                continue;
            }
            let times = batch.timestamps().range(sample.timestamps_start, sample.timestamps_count);
            let timestamps_start = all(times, |time: Timestamp| w.timestamp(time));
            let values_start = all(batch.values_of(&sample), |value: Value| w.value(value));
            w.sample(Sample { thread, stack, timestamps_start, values_start, ..sample });
        }
        for loss in batch.losses() {
            let count = self.losses.entry(batch.text(loss.reason).to_owned()).or_default();
            *count = count.saturating_add(loss.count);
        }
        self.writer = Some(writer);
    }

    fn threads(&mut self, w: &mut Writer, batch: &Batch<'_>) -> Vec<u32> {
        let mut processes = Vec::new();
        for process in batch.processes() {
            let texts = [process.comm, process.executable, process.cgroup].map(|id| text(w, batch, id));
            let [comm, executable, cgroup] = texts;
            let labels = batch.labels().range(process.labels_start, process.labels_count);
            let labels: Vec<_> =
                labels.map(|label| [text(w, batch, label.key).0, text(w, batch, label.value).0]).collect();
            let key = ([process.pid, process.parent_pid, comm.0, executable.0, cgroup.0], labels.clone());
            processes.push(known(&mut self.processes, key, || {
                let labels_start = all(labels.iter(), |&[key, value]| {
                    w.label(Label { key: StringId(key), value: StringId(value) })
                });
                w.process(Process { comm, executable, cgroup, labels_start, ..process })
            }));
        }
        let mut threads = Vec::new();
        for thread in batch.threads() {
            let (process, comm) = (processes[thread.process as usize], text(w, batch, thread.comm));
            let key = [process, thread.tid, comm.0];
            threads.push(known(&mut self.threads, key, || w.thread(Thread { process, comm, ..thread })));
        }
        threads
    }

    fn finish(self, first: &Batch<'_>, last: &Batch<'_>) -> Result<Vec<u8>, MergeError> {
        let Some(mut w) = self.writer else { return Err(MergeError::Nothing) };
        for ((thread, stack), (count, values)) in self.counts {
            let types = first.value_types().iter().map(|kind| kind.per_sample);
            let values: Vec<_> = values.into_iter().zip(types).collect();
            let (values_start, values_count) = w.values(count, &values);
            w.sample(Sample { thread, stack, count, values_start, values_count, ..Sample::default() });
        }
        for value in first.value_types() {
            let [kind, unit] = [value.kind, value.unit].map(|id| text(&mut w, first, id));
            w.value_type(ValueType { kind, unit, ..value });
        }
        for attribute in last.attributes() {
            let [key, value] = [attribute.key, attribute.value].map(|id| text(&mut w, last, id));
            w.attribute(Attribute { key, value });
        }
        for (reason, count) in self.losses {
            let reason = w.string(&reason);
            w.loss(Loss { reason, count });
        }
        Ok(w.finish()?)
    }
}

fn text(writer: &mut Writer, batch: &Batch<'_>, id: StringId) -> StringId {
    writer.string(batch.text(id))
}
