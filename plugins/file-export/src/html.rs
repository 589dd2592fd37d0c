//! A flame graph as a page (`stacksonde-flame`): processes, threads, functions.

use crate::naming;
use crate::summary::Summary;
use stacksonde_flame::{About, Graph, Kind};
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::{EXCLUDED, KERNEL};
use std::io;

/// Returns the text and the graph of the page.
pub(crate) fn page(batch: &Batch<'_>) -> io::Result<(About, Graph)> {
    let summary = Summary::of(batch);
    // Else values are counts.
    let is_time = batch.is_weighted() && summary.period_ns.is_some();
    let graph = graph(batch, is_time);
    if graph.total().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the counts of samples exceed 64 bits"));
    }
    Ok((about(batch, &summary, is_time), graph))
}

fn about(batch: &Batch<'_>, summary: &Summary, is_time: bool) -> About {
    let header = batch.header();
    let text = |id| batch.text(id).to_owned();
    let notes = batch.attributes().iter().filter_map(|row| {
        let key = match batch.text(row.key) {
            "host.name" => "on",
            "os.version" => "Linux",
            _ => return None,
        };
        Some((key.to_owned(), text(row.value)))
    });
    let losses = batch.losses().iter().filter(|loss| batch.text(loss.reason) != EXCLUDED);
    About {
        title: "CPU profile".into(),
        start_unix_ns: Some(header.unix_ns(header.start_ns)),
        duration_ns: Some(header.end_ns.saturating_sub(header.start_ns)),
        unit: if is_time { "nanoseconds" } else { "samples" }.into(),
        period_ns: summary.period_ns,
        samples: Some(summary.samples),
        losses: losses.map(|loss| (text(loss.reason), loss.count)).collect(),
        excluded: summary.excluded,
        notes: notes.collect(),
    }
}

fn graph(batch: &Batch<'_>, is_time: bool) -> Graph {
    let mut graph = Graph::new();
    let mut locations = Vec::with_capacity(batch.locations().len() as usize);
    for location in batch.locations() {
        let kind = if location.kind == KERNEL { Kind::Kernel } else { Kind::User };
        let module = naming::module(batch, &location);
        let names = naming::functions(batch, &location);
        locations.push(names.iter().map(|name| graph.frame(name, kind, module)).collect::<Vec<_>>());
    }
    for sample in batch.samples() {
        let thread = batch.threads().get(sample.thread).unwrap_or_default();
        let stack = batch.stacks().get(sample.stack).unwrap_or_default();
        let executable = batch.processes().get(thread.process).unwrap_or_default().executable;
        let process = naming::process(batch, thread.process);
        let mut frames = vec![
            graph.frame(&process, Kind::Process, batch.text(executable)),
            graph.frame(&naming::thread(batch, sample.thread), Kind::Thread, ""),
        ];
        if stack.complete == 0 {
            frames.push(graph.frame(&naming::incomplete(batch, stack.outcome), Kind::Remark, ""));
        }
        for frame in batch.frames().range(stack.frames_start, stack.frames_count).rev() {
            frames.extend(locations.get(frame.location as usize).into_iter().flatten());
        }
        graph.stack(frames, if is_time { batch.main_value(&sample) } else { sample.count });
    }
    graph
}
