//! A batch as OTLP messages (opentelemetry-proto, `profiles/v1development/profiles.proto`).
//!
//! Each process is a resource with one profile; the host is one more, whose profile has no samples but says how
//! many there were and what was lost (and, where there were none at all, one of the value 0). A message holds as many samples as fit, with a dictionary of its own, so
//! that each can be read without the others.
//!
//! The same batch always makes the same bytes, and a profile's id says which samples it holds: what is sent
//! twice can be told by it.

use crate::dictionary::{Dictionary, PREFIX, Place, Value, signed};
use crate::resource;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Line, Mapping, Profile, ResourceProfiles, Sample, ScopeProfiles, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use sha2::{Digest, Sha256};
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::{self, KERNEL, NONE, StringId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Times that one entry of a profile holds at most; a sample with more is several entries.
const TIMES: u32 = 16_384;
/// More than the fields of a profile take beside its samples and attributes.
const PROFILE_BYTES: usize = 128;

/// An item that becomes an entry of a profile.
#[derive(Clone, Copy, Debug)]
enum Item {
    /// The figures about the host. It is the first, and there is one.
    Host,
    /// A sample, or the part of it with these times.
    Sample { sample: tables::Sample, process: u32 },
}

/// A batch, ready to be made messages of.
pub struct Messages<'b> {
    batch: Batch<'b>,
    items: Vec<Item>,
    host: BTreeMap<String, Value>,
    /// Processes that are threads of the kernel.
    kernel: HashSet<u32>,
    /// True if samples carry their times rather than counts; all of them do, or none.
    with_times: bool,
    /// True if samples stand for different amounts of CPU time. Then values are those, else counts.
    is_weighted: bool,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// An `ExportProfilesServiceRequest`.
    pub bytes: Vec<u8>,
    /// The first item that is not in it.
    pub end: usize,
    /// The number of items that are in it.
    pub items: usize,
}

impl<'b> Messages<'b> {
    /// Of a batch; `with_times` says whether the times of samples are wanted.
    pub fn new(batch: &Batch<'b>, with_times: bool) -> Self {
        let batch = *batch;
        let timed =
            |sample: tables::Sample| sample.count > 0 && sample.count == u64::from(sample.timestamps_count);
        let with_times = with_times && batch.samples().iter().all(timed);
        let mut by_process = BTreeMap::<u32, Vec<Item>>::new();
        let mut kernel = HashSet::new();
        for sample in batch.samples() {
            let process = batch.threads().get(sample.thread).map_or(NONE, |thread| thread.process);
            let stack = batch.stacks().get(sample.stack).unwrap_or_default();
            if batch.text(stack.outcome) == "kernel_thread" {
                kernel.insert(process);
            }
            let items = by_process.entry(process).or_default();
            if !with_times || sample.timestamps_count <= TIMES {
                items.push(Item::Sample { sample, process });
                continue;
            }
            for start in (0..sample.timestamps_count).step_by(TIMES as usize) {
                let count = (sample.timestamps_count - start).min(TIMES);
                let part = tables::Sample {
                    timestamps_start: sample.timestamps_start + start,
                    timestamps_count: count,
                    count: count.into(),
                    ..sample
                };
                items.push(Item::Sample { sample: part, process });
            }
        }
        let items = std::iter::once(Item::Host).chain(by_process.into_values().flatten()).collect();
        let is_weighted = batch.is_weighted();
        Self { batch, items, host: resource::host(&batch), kernel, with_times, is_weighted }
    }

    /// The message that begins with item `from`, of at most `most` bytes; `None` after the last.
    ///
    /// An item that does not fit by itself goes alone, and without names if that helps.
    pub fn next(&self, from: usize, most: usize) -> Option<Message> {
        let items = self.items.get(from..).filter(|items| !items.is_empty())?;
        let mut draft = Draft::new(self, from);
        let mut end = from;
        for item in items {
            if !draft.add(item, most, end == from) {
                break;
            }
            end += 1;
        }
        Some(Message { bytes: draft.finish(end), end, items: end - from })
    }
}

/// A message under construction.
struct Draft<'m, 'b> {
    of: &'m Messages<'b>,
    from: usize,
    dictionary: Dictionary,
    /// By the batch's rows; of entries that are no more they are dropped.
    locations: HashMap<u32, i32>,
    resources: Vec<Part>,
    /// Bytes of all resources, or a few more.
    bytes: usize,
    named: bool,
}

/// A resource and its profile.
struct Part {
    process: u32,
    resource: Resource,
    attribute_indices: Vec<i32>,
    samples: Vec<Sample>,
}

impl<'m, 'b> Draft<'m, 'b> {
    fn new(of: &'m Messages<'b>, from: usize) -> Self {
        let dictionary = Dictionary::new();
        Self { of, from, dictionary, locations: HashMap::new(), resources: Vec::new(), bytes: 0, named: true }
    }

    /// Adds `item` if the message stays within `most` bytes; the first one in any case.
    fn add(&mut self, item: &Item, most: usize, is_first: bool) -> bool {
        let (mark, bytes, parts) = (self.dictionary.mark(), self.bytes, self.resources.len());
        self.put(item);
        if self.bytes + self.dictionary.bytes() <= most {
            return true;
        }
        self.dictionary.back_to(mark);
        self.locations.clear();
        self.bytes = bytes;
        if self.resources.len() > parts {
            self.resources.truncate(parts);
        } else if let Some(part) = self.resources.last_mut() {
            part.samples.pop();
        }
        if is_first {
            self.named = false;
            self.put(item);
        }
        is_first
    }

    fn put(&mut self, item: &Item) {
        match item {
            Item::Host => {
                let attribute_indices = self.host_attributes();
                let resource = resource::of_host(&self.of.host);
                // The Collector leaves out what has no sample at all, and with it what is told here.
                let nothing = Sample { values: vec![0], ..Sample::default() };
                let samples = if self.of.batch.samples().is_empty() { vec![nothing] } else { Vec::new() };
                self.part(Part { process: NONE, resource, attribute_indices, samples });
            }
            Item::Sample { sample, process } => {
                let is_new = self.resources.last().is_none_or(|last| last.process != *process);
                if is_new {
                    let row = self.of.batch.processes().get(*process).unwrap_or_default();
                    let is_kernel = self.of.kernel.contains(process);
                    let resource = resource::of_process(&self.of.host, &self.of.batch, &row, is_kernel);
                    let samples = Vec::new();
                    self.part(Part { process: *process, resource, attribute_indices: Vec::new(), samples });
                }
                let sample = self.sample(sample);
                self.bytes += PREFIX + sample.encoded_len();
                if let Some(part) = self.resources.last_mut() {
                    part.samples.push(sample);
                }
            }
        }
    }

    fn part(&mut self, part: Part) {
        let types = self.of.value_types();
        for (kind, unit, _) in [self.of.counted(&types), types.last()].into_iter().flatten() {
            self.dictionary.string(kind);
            self.dictionary.string(unit);
        }
        let scope = scope().encoded_len();
        self.bytes += 4 * PREFIX + part.resource.encoded_len() + scope + PROFILE_BYTES;
        self.bytes += 5 * part.attribute_indices.len();
        self.resources.push(part);
    }

    /// Adds the host's attributes: how many samples there are and were lost, and how many are not whole.
    fn host_attributes(&mut self) -> Vec<i32> {
        let batch = &self.of.batch;
        let (mut samples, mut complete) = (0_u64, 0_u64);
        for sample in batch.samples() {
            samples = samples.saturating_add(sample.count);
            if batch.stacks().get(sample.stack).is_some_and(|stack| stack.complete != 0) {
                complete = complete.saturating_add(sample.count);
            }
        }
        let mut counts = BTreeMap::from([
            ("stacksonde.samples".to_owned(), samples),
            ("stacksonde.samples_complete".to_owned(), complete),
        ]);
        for loss in batch.losses() {
            let count = counts.entry(format!("stacksonde.{}", batch.text(loss.reason))).or_default();
            *count = count.saturating_add(loss.count);
        }
        let counts = counts.into_iter();
        counts.map(|(key, count)| self.dictionary.attribute(&key, Value::Number(signed(count)))).collect()
    }

    fn sample(&mut self, sample: &tables::Sample) -> Sample {
        let batch = &self.of.batch;
        let stack = batch.stacks().get(sample.stack).unwrap_or_default();
        let stack_index = self.stack(&stack);
        let thread = batch.threads().get(sample.thread).unwrap_or_default();
        let mut attributes = Vec::new();
        if thread.tid != 0 {
            attributes.push(self.dictionary.attribute("thread.id", Value::Number(thread.tid.into())));
        }
        let mut texts = vec![("thread.name", thread.comm)];
        if stack.complete == 0 {
            texts.push(("stacksonde.stack.incomplete", stack.outcome));
        }
        for (key, text) in texts.into_iter().filter(|(_, text)| *text != StringId::default()) {
            attributes.push(self.dictionary.attribute(key, Value::Text(batch.text(text).into())));
        }
        let mut entry = Sample { stack_index, attribute_indices: attributes, ..Sample::default() };
        if self.of.with_times {
            let times = batch.timestamps().range(sample.timestamps_start, sample.timestamps_count);
            if self.of.is_weighted {
                entry.values = times.clone().map(|time| signed(batch.value_at(&time))).collect();
            }
            entry.timestamps_unix_nano = times.map(|time| batch.header().unix_ns(time.time_ns)).collect();
        } else if self.of.is_weighted {
            entry.values = vec![signed(batch.main_value(sample))];
        } else {
            entry.values = vec![signed(sample.count)];
        }
        entry
    }

    /// A stack without frames is row 0.
    fn stack(&mut self, stack: &tables::Stack) -> i32 {
        let frames = self.of.batch.frames().range(stack.frames_start, stack.frames_count);
        let locations = frames.map(|frame| self.location(frame.location)).collect();
        self.dictionary.stack(locations)
    }

    fn location(&mut self, row: u32) -> i32 {
        if let Some(index) = self.locations.get(&row) {
            return *index;
        }
        let batch = &self.of.batch;
        let location = batch.locations().get(row).unwrap_or_default();
        let frame_type = if location.kind == KERNEL { "kernel" } else { "native" };
        let attribute = self.dictionary.attribute("profile.frame.type", Value::Text(frame_type.into()));
        let mapping_index = match batch.mappings().get(location.mapping) {
            Some(mapping) => self.mapping(&mapping),
            None => 0,
        };
        let mut lines = Vec::new();
        if self.named {
            for row in batch.lines().range(location.lines_start, location.lines_count) {
                let function = batch.functions().get(row.function).unwrap_or_default();
                let [name_strindex, system_name_strindex, filename_strindex] =
                    [function.name, function.system_name, function.file]
                        .map(|id| self.dictionary.string(batch.text(id)));
                let start_line = function.start_line.into();
                let function =
                    Function { name_strindex, system_name_strindex, filename_strindex, start_line };
                let function_index = self.dictionary.function(function);
                lines.push(Line { function_index, line: row.line.into(), column: row.column.into() });
            }
        }
        let place = Place { mapping_index, address: location.address, lines, attribute };
        let index = self.dictionary.location(place);
        self.locations.insert(row, index);
        index
    }

    fn mapping(&mut self, mapping: &tables::Mapping) -> i32 {
        let batch = &self.of.batch;
        let mut attribute_indices = Vec::new();
        for (key, id) in [
            ("process.executable.build_id.gnu", mapping.build_id),
            ("process.executable.build_id.htlhash", mapping.htlhash),
        ] {
            if id != StringId::default() {
                attribute_indices.push(self.dictionary.attribute(key, Value::Text(batch.text(id).into())));
            }
        }
        // A range that is empty says nothing, and must then be zero.
        let (memory_start, memory_limit) =
            if mapping.start < mapping.limit { (mapping.start, mapping.limit) } else { (0, 0) };
        let filename_strindex = self.dictionary.string(batch.text(mapping.path));
        let file_offset = mapping.file_offset;
        let mapping =
            Mapping { memory_start, memory_limit, file_offset, filename_strindex, attribute_indices };
        self.dictionary.mapping(mapping)
    }

    fn finish(mut self, end: usize) -> Vec<u8> {
        let header = self.of.batch.header();
        let (start, until) = self.interval();
        let types = self.of.value_types();
        let mut value_type = |at: Option<&(&str, &str, u64)>| {
            at.map(|(kind, unit, _)| ValueType {
                type_strindex: self.dictionary.string(kind),
                unit_strindex: self.dictionary.string(unit),
            })
        };
        let sample_type = value_type(self.of.counted(&types));
        let period_type = value_type(types.last());
        let period = types.last().map_or(0, |(_, _, per_sample)| signed(*per_sample));
        let id = |number: usize| {
            let mut hash = Sha256::new();
            hash.update(header.run_id);
            for number in [header.sequence, self.from as u64, end as u64, number as u64] {
                hash.update(number.to_be_bytes());
            }
            hash.finalize()[..16].to_vec()
        };
        let resource_profiles = (0..).zip(std::mem::take(&mut self.resources)).map(|(number, part)| {
            let profile = Profile {
                sample_type,
                samples: part.samples,
                time_unix_nano: start,
                duration_nano: until.saturating_sub(start),
                period_type,
                period,
                profile_id: id(number),
                attribute_indices: part.attribute_indices,
                ..Profile::default()
            };
            let scope_profiles = vec![ScopeProfiles {
                scope: Some(scope()),
                profiles: vec![profile],
                ..ScopeProfiles::default()
            }];
            ResourceProfiles { resource: Some(part.resource), scope_profiles, ..ResourceProfiles::default() }
        });
        let resource_profiles = resource_profiles.collect();
        let dictionary = Some(self.dictionary.finish());
        ExportProfilesServiceRequest { resource_profiles, dictionary }.encode_to_vec()
    }

    /// The interval of the batch, and of every time in this message.
    fn interval(&self) -> (u64, u64) {
        let header = self.of.batch.header();
        let (mut start, mut end) = (header.unix_ns(header.start_ns), header.unix_ns(header.end_ns));
        for time in
            self.resources.iter().flat_map(|part| &part.samples).flat_map(|it| &it.timestamps_unix_nano)
        {
            start = start.min(*time);
            end = end.max(time.saturating_add(1));
        }
        (start, end)
    }
}

impl Messages<'_> {
    /// Returns the type of the values that are sent, of all types.
    fn counted<'t, T>(&self, types: &'t [T]) -> Option<&'t T> {
        if self.is_weighted { types.last() } else { types.first() }
    }

    /// Type, unit, and how much one sample stands for: first what is counted, last what that means.
    fn value_types(&self) -> Vec<(&str, &str, u64)> {
        let batch = &self.batch;
        let types = batch.value_types().iter();
        let mut types: Vec<_> =
            types.map(|it| (batch.text(it.kind), batch.text(it.unit), it.per_sample)).collect();
        // The values that are sent are counts.
        if types.first().is_none_or(|(_, _, per_sample)| *per_sample != 1) {
            types.insert(0, ("samples", "count", 1));
        }
        types
    }
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("stacksonde".into(), env!("CARGO_PKG_VERSION").into());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}
