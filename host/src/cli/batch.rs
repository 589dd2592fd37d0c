//! `stacksonde batch`: what is in a batch, for people and for programs.

use crate::terminal::{out, plain_json};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use stacksonde_batch::tables::{EXCLUDED, KERNEL, Stack};
use stacksonde_batch::{Batch, FORMAT, StringId};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `stacksonde batch`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File that holds one batch; `-` for standard input.
    file: PathBuf,
    /// Print everything in it as JSON, one object.
    #[arg(long)]
    json: bool,
}

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 32;
/// Processes and stacks that the text shows.
const SHOWN: usize = 10;
/// Frames of a stack that the text shows.
const FRAMES: usize = 40;

/// Reads, checks and prints a batch. The exit code is 0 if the file is one.
///
/// # Errors
///
/// The file cannot be read, or is not a batch.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, json } = arguments;
    let name = file.display();
    let mut bytes = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(MAX_BYTES).read_to_end(&mut bytes),
        _ => File::open(&file).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read {name}"))?;
    let batch = match Batch::parse(&bytes) {
        Ok(batch) => batch,
        Err(error) => bail!("{name}: {error}"),
    };
    match json {
        true => {
            let mut writer = std::io::BufWriter::new(std::io::stdout().lock());
            match write_json(&batch, &mut writer).and_then(|()| writer.flush()) {
                // Whoever reads has seen enough: `| head`.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                printed => printed,
            }
        }
        false => out(&Text(&batch).to_string()),
    }
    .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame as a person reads it: the innermost function, or file and address.
fn frame(batch: &Batch<'_>, location: u32) -> String {
    let Some(location) = batch.locations().get(location) else { return String::new() };
    let line = batch.lines().range(location.lines_start, location.lines_count).next();
    let name = line.and_then(|line| batch.functions().get(line.function)).map(|it| batch.text(it.name));
    match (name, batch.mappings().get(location.mapping)) {
        (Some(name), _) if !name.is_empty() => name.to_owned(),
        (_, Some(mapping)) => format!("{}+{:#x}", batch.text(mapping.path), location.address),
        (_, None) => format!("{:#x}", location.address),
    }
}

struct Text<'a>(&'a Batch<'a>);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.0;
        let header = batch.header();
        let seconds = header.end_ns.saturating_sub(header.start_ns) / 1_000_000;
        writeln!(f, "format       {FORMAT}, {} bytes", batch.bytes().len())?;
        writeln!(f, "run          {}, batch {}", hex(&header.run_id), header.sequence)?;
        writeln!(f, "host         {}", hex(&header.host_id))?;
        let end = header.unix_ns(header.end_ns) / 1_000_000_000;
        writeln!(f, "interval     {seconds} ms, until {end} s after 1970")?;
        let rows: Vec<_> = counts(batch).into_iter().map(|(name, rows)| format!("{rows} {name}")).collect();
        writeln!(f, "rows         {}", rows.join(", "))?;
        for value in batch.value_types() {
            let (kind, unit) = (one_line(batch.text(value.kind)), one_line(batch.text(value.unit)));
            writeln!(f, "value        {kind}: {} {unit} a sample", value.per_sample)?;
        }
        for attribute in batch.attributes() {
            let (key, value) = (batch.text(attribute.key), batch.text(attribute.value));
            writeln!(f, "attribute    {} = {}", one_line(key), one_line(value))?;
        }
        for loss in batch.losses() {
            let reason = batch.text(loss.reason);
            let what = if reason == EXCLUDED { "left out " } else { "lost     " };
            writeln!(f, "{what}    {} {}", loss.count, one_line(reason))?;
        }
        self.processes(f)?;
        self.stacks(f)
    }
}

impl Text<'_> {
    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.0;
        let mut samples: BTreeMap<u32, u64> = BTreeMap::new();
        for sample in batch.samples() {
            let process = batch.threads().get(sample.thread).map_or(u32::MAX, |thread| thread.process);
            let count = samples.entry(process).or_default();
            *count = count.saturating_add(sample.count);
        }
        let mut samples: Vec<_> = samples.into_iter().collect();
        samples.sort_by_key(|(process, count)| (std::cmp::Reverse(*count), *process));
        writeln!(f, "\nsamples  process")?;
        for (process, count) in samples.iter().take(SHOWN) {
            let Some(process) = batch.processes().get(*process) else { continue };
            writeln!(f, "{count:>7}  {} {}", process.pid, one_line(batch.text(process.comm)))?;
        }
        more(f, samples.len(), "processes")
    }

    fn stacks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.0;
        let mut samples: BTreeMap<u32, u64> = BTreeMap::new();
        for sample in batch.samples() {
            let count = samples.entry(sample.stack).or_default();
            *count = count.saturating_add(sample.count);
        }
        let mut samples: Vec<_> = samples.into_iter().collect();
        samples.sort_by_key(|(stack, count)| (std::cmp::Reverse(*count), *stack));
        writeln!(f, "\nsamples  stack, leaf first")?;
        for (stack, count) in samples.iter().take(SHOWN) {
            let Some(stack) = batch.stacks().get(*stack) else { continue };
            writeln!(f, "{count:>7}  {}", self.stack(&stack))?;
        }
        more(f, samples.len(), "stacks")
    }

    fn stack(&self, stack: &Stack) -> String {
        let frames = self.0.frames().range(stack.frames_start, stack.frames_count);
        let mut text = String::new();
        for (index, row) in frames.take(FRAMES).enumerate() {
            let separator = if index == 0 { "" } else { " < " };
            let kernel = self.0.locations().get(row.location).is_some_and(|it| it.kind == KERNEL);
            let mark = if kernel { "[k] " } else { "" };
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{separator}{mark}{}", one_line(&frame(self.0, row.location)));
        }
        let rest = (stack.frames_count as usize).saturating_sub(FRAMES);
        if rest > 0 {
            let _ = write!(text, " < ... {rest} more");
        }
        match stack.complete {
            0 => format!("{text} ({})", one_line(self.0.text(stack.outcome))),
            _ => text,
        }
    }
}

fn more(f: &mut fmt::Formatter<'_>, all: usize, of: &str) -> fmt::Result {
    match all.saturating_sub(SHOWN) {
        0 => Ok(()),
        rest => writeln!(f, "         ... {rest} more {of}; --json prints all"),
    }
}

/// Text of a batch, which anybody may have chosen, on a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn counts(batch: &Batch<'_>) -> [(&'static str, u32); 15] {
    [
        ("value types", batch.value_types().len()),
        ("samples", batch.samples().len()),
        ("timestamps", batch.timestamps().len()),
        ("stacks", batch.stacks().len()),
        ("frames", batch.frames().len()),
        ("locations", batch.locations().len()),
        ("lines", batch.lines().len()),
        ("functions", batch.functions().len()),
        ("mappings", batch.mappings().len()),
        ("processes", batch.processes().len()),
        ("threads", batch.threads().len()),
        ("labels", batch.labels().len()),
        ("attributes", batch.attributes().len()),
        ("losses", batch.losses().len()),
        ("values", batch.value_rows().len()),
    ]
}

/// One object a batch: every table with its rows in order, so that the indices in them are positions. Rows are
/// written one by one: the whole is many times larger than the batch.
fn write_json(batch: &Batch<'_>, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let text = |id: StringId| batch.text(id);
    let header = batch.header();
    let front = json!({
        "format": FORMAT,
        "bytes": batch.bytes().len(),
        "run_id": hex(&header.run_id),
        "host_id": hex(&header.host_id),
        "sequence": header.sequence,
        "start_ns": header.start_ns,
        "end_ns": header.end_ns,
        "unix_minus_monotonic_ns": header.unix_minus_monotonic_ns,
    });
    write!(out, "{{\"header\":{front}")?;
    let mut table = |name: &str, rows: &mut dyn Iterator<Item = Value>| -> std::io::Result<()> {
        write!(out, ",\n\"{name}\":[")?;
        for (index, row) in rows.enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(out, "{separator}\n{}", plain_json(&row.to_string()))?;
        }
        write!(out, "]")
    };
    table(
        "value_types",
        &mut batch
            .value_types()
            .iter()
            .map(|it| json!({ "kind": text(it.kind), "unit": text(it.unit), "per_sample": it.per_sample })),
    )?;
    table(
        "samples",
        &mut batch.samples().iter().map(|it| {
            let times = batch.timestamps().range(it.timestamps_start, it.timestamps_count);
            let (times, weights): (Vec<u64>, Vec<u64>) =
                times.map(|time| (time.time_ns, batch.value_at(&time))).unzip();
            let values: Vec<u64> = batch.values(&it).collect();
            json!({
                "thread": it.thread,
                "stack": it.stack,
                "count": it.count,
                "values": values,
                "timestamps_ns": times,
                "timestamps_values": weights,
            })
        }),
    )?;
    table(
        "stacks",
        &mut batch.stacks().iter().map(|it| {
            let frames = batch.frames().range(it.frames_start, it.frames_count);
            json!({
                "locations": frames.map(|frame| frame.location).collect::<Vec<_>>(),
                "kernel_frames": it.kernel_frames,
                "outcome": text(it.outcome),
                "complete": it.complete != 0,
            })
        }),
    )?;
    table(
        "locations",
        &mut batch.locations().iter().map(|it| {
            let lines = batch.lines().range(it.lines_start, it.lines_count);
            let lines: Vec<_> = lines
                .map(|line| json!({ "function": line.function, "line": line.line, "column": line.column }))
                .collect();
            let mapping = batch.mappings().get(it.mapping).map(|_| it.mapping);
            let kind = if it.kind == KERNEL { "kernel" } else { "native" };
            json!({ "kind": kind, "mapping": mapping, "address": it.address, "lines": lines })
        }),
    )?;
    table(
        "functions",
        &mut batch.functions().iter().map(|it| {
            json!({
                "name": text(it.name),
                "system_name": text(it.system_name),
                "file": text(it.file),
                "start_line": it.start_line,
            })
        }),
    )?;
    table(
        "mappings",
        &mut batch.mappings().iter().map(|it| {
            json!({
                "path": text(it.path),
                "build_id": text(it.build_id),
                "start": it.start,
                "limit": it.limit,
                "file_offset": it.file_offset,
                "htlhash": text(it.htlhash),
            })
        }),
    )?;
    table(
        "processes",
        &mut batch.processes().iter().map(|it| {
            let labels = batch.labels().range(it.labels_start, it.labels_count);
            let labels: serde_json::Map<String, Value> =
                labels.map(|label| (text(label.key).to_owned(), text(label.value).into())).collect();
            json!({
                "pid": it.pid,
                "parent_pid": it.parent_pid,
                "comm": text(it.comm),
                "executable": text(it.executable),
                "cgroup": text(it.cgroup),
                "labels": labels,
            })
        }),
    )?;
    table(
        "threads",
        &mut batch
            .threads()
            .iter()
            .map(|it| json!({ "process": it.process, "tid": it.tid, "comm": text(it.comm) })),
    )?;
    table(
        "attributes",
        &mut batch.attributes().iter().map(|it| json!({ "key": text(it.key), "value": text(it.value) })),
    )?;
    table(
        "losses",
        &mut batch.losses().iter().map(|it| json!({ "reason": text(it.reason), "count": it.count })),
    )?;
    writeln!(out, "}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_plugin::testing::golden_batches;

    #[test]
    fn every_golden_batch_is_shown_as_text_and_as_json() {
        for (name, bytes) in golden_batches() {
            let batch = Batch::parse(&bytes).unwrap();
            let text = Text(&batch).to_string();
            assert!(text.contains(&format!("{} samples", batch.samples().len())), "{name}: {text}");
            let mut json = Vec::new();
            write_json(&batch, &mut json).unwrap();
            let json: Value = serde_json::from_slice(&json).unwrap();
            for (table, rows) in counts(&batch) {
                if let Some(shown) = json.get(table.replace(' ', "_")) {
                    assert_eq!(shown.as_array().unwrap().len(), rows as usize, "{name}: {table}");
                }
            }
        }
    }

    #[test]
    fn what_a_process_calls_itself_does_not_reach_the_terminal_raw() {
        let (_, bytes) = golden_batches().swap_remove(3);
        let text = Text(&Batch::parse(&bytes).unwrap()).to_string();
        assert!(text.contains("a b;c \n") && !text.contains('\t'), "{text}");
        assert!(text.contains("[k] [kernel.kallsyms]+0xffffffffffffffff < a::b<c> < 0x0"), "{text}");
        assert!(text.contains("(bad_frame_pointer)"), "{text}");
    }
}
