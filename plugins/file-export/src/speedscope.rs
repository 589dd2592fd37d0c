//! The format of speedscope (<https://www.speedscope.app/file-format-schema.json>).
//!
//! One profile of everything, with processes and threads as frames, then one for each process, the heaviest first.
//! Samples are in the order of time where the batch has times, and weigh the CPU time that they stand for.

use crate::naming;
use crate::order;
use crate::summary::Summary;
use serde_json::{Value, json};
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::KERNEL;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

/// Writes the text of a file.
pub(crate) fn write(batch: &Batch<'_>, to: &mut dyn Write) -> io::Result<()> {
    let frames = Frames::of(batch);
    let summary = Summary::of(batch);
    write!(
        to,
        "{{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"exporter\":\"stacksonde\""
    )?;
    write!(
        to,
        ",\"name\":{},\"activeProfileIndex\":0",
        Value::from(format!("CPU profile, {}", summary.sentence()))
    )?;
    list(to, ",\"shared\":{\"frames\":", frames.rows.iter(), |row, to| Ok(serde_json::to_writer(to, row)?))?;
    let times = order::by_time(batch);
    write!(to, "}},\"profiles\":[")?;
    profile(batch, &frames, &summary, "all processes", &times, to)?;
    let processes = by_process(batch, &times);
    // One alone is all.
    for (process, times) in processes.iter().filter(|_| processes.len() > 1) {
        let pid = batch.processes().get(*process).unwrap_or_default().pid;
        write!(to, ",")?;
        let name = format!("{} (pid {pid})", naming::process(batch, *process));
        profile(batch, &frames, &summary, &name, times, to)?;
    }
    write!(to, "]}}")
}

/// The samples of each process, of the process with the most of them first.
fn by_process(batch: &Batch<'_>, times: &[order::Time]) -> Vec<(u32, Vec<order::Time>)> {
    let mut processes = BTreeMap::<u32, Vec<order::Time>>::new();
    for time in times {
        let sample = batch.samples().get(time.sample).unwrap_or_default();
        let thread = batch.threads().get(sample.thread).unwrap_or_default();
        processes.entry(thread.process).or_default().push(*time);
    }
    let mut processes: Vec<_> = processes.into_iter().collect();
    let weight = |times: &[order::Time]| times.iter().fold(0_u64, |sum, time| sum.saturating_add(time.count));
    processes.sort_by_cached_key(|(process, times)| (std::cmp::Reverse(weight(times)), *process));
    processes
}

fn profile(
    batch: &Batch<'_>,
    frames: &Frames,
    summary: &Summary,
    name: &str,
    times: &[order::Time],
    to: &mut dyn Write,
) -> io::Result<()> {
    let unit = if summary.period_ns.is_some() { "nanoseconds" } else { "none" };
    let weight = |time: &order::Time| if summary.period_ns.is_some() { time.value } else { time.count };
    let end = times.iter().fold(0_u64, |sum, time| sum.saturating_add(weight(time)));
    write!(to, "{{\"type\":\"sampled\",\"name\":{},\"unit\":\"{unit}\"", Value::from(name))?;
    write!(to, ",\"startValue\":0,\"endValue\":{end}")?;
    list(to, ",\"samples\":", times.iter(), |time, to| {
        list(to, "", frames.stack(batch, time.sample).into_iter(), |frame, to| write!(to, "{frame}"))
    })?;
    list(to, ",\"weights\":", times.iter(), |time, to| write!(to, "{}", weight(time)))?;
    write!(to, "}}")
}

fn list<T>(
    to: &mut dyn Write,
    before: &str,
    values: impl Iterator<Item = T>,
    each: impl Fn(T, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write!(to, "{before}[")?;
    for (index, value) in values.enumerate() {
        if index > 0 {
            write!(to, ",")?;
        }
        each(value, to)?;
    }
    write!(to, "]")
}

/// Frames, each once, and where to find those of a stack.
struct Frames {
    rows: Vec<Value>,
    /// By location, outermost function first.
    locations: Vec<Vec<u32>>,
    /// By thread: the process, and the thread.
    threads: Vec<[u32; 2]>,
    /// By stack, of those that are not whole.
    incomplete: HashMap<u32, u32>,
}

impl Frames {
    fn of(batch: &Batch<'_>) -> Self {
        let mut rows = Rows::default();
        let mut locations = Vec::with_capacity(batch.locations().len() as usize);
        for location in batch.locations() {
            let module = naming::module(batch, &location);
            let suffix = if location.kind == KERNEL { " [kernel]" } else { "" };
            let names = naming::functions(batch, &location);
            locations
                .push(names.iter().map(|name| rows.number(&format!("{name}{suffix}"), module)).collect());
        }
        let mut threads = Vec::with_capacity(batch.threads().len() as usize);
        for (number, thread) in (0..).zip(batch.threads()) {
            let executable = batch.processes().get(thread.process).unwrap_or_default().executable;
            let process = rows.number(&naming::process(batch, thread.process), batch.text(executable));
            threads.push([process, rows.number(&naming::thread(batch, number), "")]);
        }
        let mut incomplete = HashMap::new();
        for (number, stack) in (0..).zip(batch.stacks()).filter(|(_, stack)| stack.complete == 0) {
            incomplete.insert(number, rows.number(&naming::incomplete(batch, stack.outcome), ""));
        }
        Self { rows: rows.rows, locations, threads, incomplete }
    }

    /// The frames of a sample, root first.
    fn stack(&self, batch: &Batch<'_>, sample: u32) -> Vec<u32> {
        let sample = batch.samples().get(sample).unwrap_or_default();
        let stack = batch.stacks().get(sample.stack).unwrap_or_default();
        let mut numbers: Vec<u32> =
            self.threads.get(sample.thread as usize).into_iter().flatten().copied().collect();
        numbers.extend(self.incomplete.get(&sample.stack));
        for frame in batch.frames().range(stack.frames_start, stack.frames_count).rev() {
            numbers.extend(self.locations.get(frame.location as usize).into_iter().flatten());
        }
        numbers
    }
}

/// Frames under construction.
#[derive(Default)]
struct Rows {
    rows: Vec<Value>,
    numbers: HashMap<(String, String), u32>,
}

impl Rows {
    fn number(&mut self, name: &str, file: &str) -> u32 {
        let next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        *self.numbers.entry((name.to_owned(), file.to_owned())).or_insert_with(|| {
            self.rows.push(match file {
                "" => json!({ "name": name }),
                file => json!({ "name": name, "file": file }),
            });
            next
        })
    }
}
