//! The format of `pprof`: a compressed protocol buffer.
//!
//! The batch's tables become pprof's tables row by row, so ids are row numbers plus one. Addresses are
//! those stated in the files (see the batch's locations), and mappings say the same space: `pprof` can
//! look names up in the files by build id. A stack without any frame, which no view of `pprof` would
//! show, gets a function that says why: `[incomplete: reason]`. Labels of each sample: `pid` and `tid` (numbers), `comm` (the
//! process's name), `thread` (the thread's name), `executable`, `cgroup`, `incomplete` (why the root of
//! the stack was not reached) and the labels of the process. Losses and attributes of the batch are
//! comments.

mod message;

use flate2::{Compression, write::GzEncoder};
use message::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use prost::Message;
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::{self, NONE, StringId};
use std::collections::HashMap;
use std::io::{self, Write};

/// The bytes of a file.
pub(crate) fn encode(batch: &Batch<'_>) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&profile(batch).encode_to_vec())?;
    encoder.finish()
}

fn profile(batch: &Batch<'_>) -> Profile {
    let mut strings = Strings::new();
    let mut to = Translation { batch, strings: &mut strings };
    let header = batch.header();
    let (sample_type, per_sample) = to.value_types();
    let mut profile = Profile {
        // By convention the last value is the main one: its period is the profile's.
        period_type: sample_type.last().copied(),
        period: per_sample.last().copied().map_or(0, signed),
        sample_type,
        mapping: to.mappings(),
        location: to.locations(),
        function: to.functions(),
        sample: Vec::new(),
        time_nanos: signed(header.unix_ns(header.start_ns)),
        duration_nanos: signed(header.end_ns.saturating_sub(header.start_ns)),
        comment: to.comments(),
        string_table: Vec::new(),
    };
    to.samples(&mut profile);
    profile.string_table = strings.table;
    profile
}

/// A batch on its way into a profile.
struct Translation<'b, 's> {
    batch: &'b Batch<'b>,
    strings: &'s mut Strings,
}

impl Translation<'_, '_> {
    /// The types of a sample's values and what one sample stands for; counts if the batch names none.
    fn value_types(&mut self) -> (Vec<ValueType>, Vec<u64>) {
        let rows = self.batch.value_types();
        if rows.is_empty() {
            let (kind, unit) = (self.strings.id("samples"), self.strings.id("count"));
            return (vec![ValueType { kind, unit }], vec![1]);
        }
        rows.iter()
            .map(|row| (ValueType { kind: self.text(row.kind), unit: self.text(row.unit) }, row.per_sample))
            .unzip()
    }

    /// Adds the samples, and what stands in for the frames of those that have none.
    fn samples(&mut self, profile: &mut Profile) {
        let batch = self.batch;
        let mut without_frames = HashMap::new();
        for row in batch.samples() {
            let stack = batch.stacks().get(row.stack).unwrap_or_default();
            let frames = batch.frames().range(stack.frames_start, stack.frames_count);
            let mut location_id: Vec<u64> = frames.map(|frame| u64::from(frame.location) + 1).collect();
            if location_id.is_empty() {
                let stand_in =
                    without_frames.entry(stack.outcome).or_insert_with(|| self.stand_in(&stack, profile));
                location_id.push(*stand_in);
            }
            let mut value: Vec<i64> = batch.values(&row).map(signed).collect();
            if value.is_empty() {
                value.push(signed(row.count));
            }
            profile.sample.push(Sample { location_id, value, label: self.labels(&row, &stack) });
        }
    }

    /// Adds a location with a function that says why there are no frames; returns its id.
    fn stand_in(&mut self, stack: &tables::Stack, profile: &mut Profile) -> u64 {
        let outcome = self.batch.text(stack.outcome);
        let name = self.strings.id(&match stack.complete {
            0 => format!("[incomplete: {outcome}]"),
            _ => format!("[no frames: {outcome}]"),
        });
        let function_id = profile.function.len() as u64 + 1;
        profile.function.push(Function { id: function_id, name, system_name: name, ..Function::default() });
        let id = profile.location.len() as u64 + 1;
        let line = vec![Line { function_id, line: 0 }];
        profile.location.push(Location { id, line, ..Location::default() });
        id
    }

    fn labels(&mut self, sample: &tables::Sample, stack: &tables::Stack) -> Vec<Label> {
        let batch = self.batch;
        let thread = batch.threads().get(sample.thread).unwrap_or_default();
        let process = batch.processes().get(thread.process).unwrap_or_default();
        let incomplete = if stack.complete == 0 { stack.outcome } else { StringId::default() };
        let mut labels = Vec::new();
        for (key, number) in [("pid", process.pid), ("tid", thread.tid)] {
            labels.push(Label { key: self.strings.id(key), text: 0, number: number.into() });
        }
        for (key, text) in [
            ("comm", process.comm),
            ("thread", thread.comm),
            ("executable", process.executable),
            ("cgroup", process.cgroup),
            ("incomplete", incomplete),
        ] {
            if text != StringId::default() {
                labels.push(Label { key: self.strings.id(key), text: self.text(text), number: 0 });
            }
        }
        for row in batch.labels().range(process.labels_start, process.labels_count) {
            labels.push(Label { key: self.text(row.key), text: self.text(row.value), number: 0 });
        }
        labels
    }

    fn mappings(&mut self) -> Vec<Mapping> {
        let mut mappings = Vec::with_capacity(self.batch.mappings().len() as usize);
        for (id, row) in (1..).zip(self.batch.mappings()) {
            mappings.push(Mapping {
                id,
                memory_start: row.start,
                memory_limit: row.limit,
                file_offset: row.file_offset,
                filename: self.text(row.path),
                build_id: self.text(row.build_id),
                // True until a location says otherwise: a reader looks up what is missing.
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            });
        }
        for location in self.batch.locations() {
            if let Some(mapping) = mappings.get_mut(location.mapping as usize) {
                self.resolution(mapping, &location);
            }
        }
        mappings
    }

    /// Takes back what `mapping` promises and `location` does not have.
    fn resolution(&self, mapping: &mut Mapping, location: &tables::Location) {
        let lines = self.batch.lines().range(location.lines_start, location.lines_count);
        let named = lines.len() > 0;
        let mut filed = named;
        let mut lined = named;
        for line in lines {
            let function = self.batch.functions().get(line.function).unwrap_or_default();
            filed &= function.file != StringId::default();
            lined &= line.line > 0;
        }
        mapping.has_functions &= named;
        mapping.has_filenames &= filed;
        mapping.has_line_numbers &= lined;
        // Inlining is known from the same debug information as lines.
        mapping.has_inline_frames &= lined;
    }

    fn locations(&self) -> Vec<Location> {
        let locations = (1..).zip(self.batch.locations()).map(|(id, row)| Location {
            id,
            mapping_id: if row.mapping == NONE { 0 } else { u64::from(row.mapping) + 1 },
            address: row.address,
            line: self.lines(&row),
        });
        locations.collect()
    }

    fn lines(&self, location: &tables::Location) -> Vec<Line> {
        let lines = self.batch.lines().range(location.lines_start, location.lines_count);
        lines.map(|row| Line { function_id: u64::from(row.function) + 1, line: row.line.into() }).collect()
    }

    fn functions(&mut self) -> Vec<Function> {
        let mut functions = Vec::with_capacity(self.batch.functions().len() as usize);
        for (id, row) in (1..).zip(self.batch.functions()) {
            let same = row.system_name == StringId::default();
            functions.push(Function {
                id,
                name: self.text(row.name),
                system_name: self.text(if same { row.name } else { row.system_name }),
                filename: self.text(row.file),
                start_line: row.start_line.into(),
            });
        }
        functions
    }

    fn comments(&mut self) -> Vec<i64> {
        let batch = self.batch;
        let attributes =
            batch.attributes().iter().map(|row| (batch.text(row.key), batch.text(row.value).to_owned()));
        let losses = batch.losses().iter().map(|row| (batch.text(row.reason), row.count.to_string()));
        attributes.chain(losses).map(|(key, value)| self.strings.id(&format!("{key}: {value}"))).collect()
    }

    /// A text of the batch; control characters would break the lines of `pprof`'s output.
    fn text(&mut self, id: StringId) -> i64 {
        let text = self.batch.text(id);
        if text.contains(char::is_control) {
            return self.strings.id(text.replace(char::is_control, " ").trim());
        }
        self.strings.id(text)
    }
}

/// The string table under construction.
struct Strings {
    table: Vec<String>,
    ids: HashMap<String, i64>,
}

impl Strings {
    /// A table with the empty text, which must be the first.
    fn new() -> Self {
        Self { table: vec![String::new()], ids: HashMap::from([(String::new(), 0)]) }
    }

    fn id(&mut self, text: &str) -> i64 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = signed(self.table.len() as u64);
        self.table.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }
}

/// pprof's numbers are signed; what is beyond them is their largest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
