//! A profile and its names as one flat batch, the form in which exporters get it.

use crate::process::{Executable, Frame, Identity, comm_text};
use crate::profile::Profile;
use crate::symbolize::Names;
use stacksonde_batch::tables::{
    Attribute, EXCLUDED, Frame as FrameRow, Function, Label, Line, Location, Loss, Mapping, NONE, Process,
    Sample, Stack, Thread, Timestamp, ValueType,
};
use stacksonde_batch::{Header, TooLarge, Writer};
use std::collections::HashMap;
use std::sync::Arc;

const NATIVE: u32 = 0;
const KERNEL: u32 = 1;

/// The part that is the same in every batch of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Random, new with every start.
    pub run_id: [u8; 16],
    /// The machine's id (`/etc/machine-id`); zero if it has none.
    pub host_id: [u8; 16],
    /// Keys and values about host, kernel and plan.
    pub attributes: Vec<(String, String)>,
}

/// Samples that an exporter's queue dropped before this batch, and why.
pub type Dropped = Vec<(String, u64)>;

/// Writes a batch. `names` has an entry for each frame of the profile.
pub fn write(
    run: &Run,
    sequence: u64,
    profile: &Profile,
    names: &[Names],
    dropped: &Dropped,
) -> Result<Vec<u8>, TooLarge> {
    let mut batch = Batch {
        writer: Writer::new(Header {
            run_id: run.run_id,
            host_id: run.host_id,
            sequence,
            start_ns: profile.start_ns,
            end_ns: profile.end_ns,
            unix_minus_monotonic_ns: profile.unix_minus_monotonic_ns,
        }),
        executables: HashMap::new(),
        functions: HashMap::new(),
        processes: HashMap::new(),
    };
    batch.value_types(profile);
    let locations: Vec<u32> =
        profile.frames.iter().zip(names).map(|(frame, names)| batch.location(frame, names)).collect();
    batch.stacks(profile, &locations);
    batch.samples(profile);
    batch.losses(profile, dropped);
    for (key, value) in &run.attributes {
        batch.attribute(key, value);
    }
    batch.writer.finish()
}

/// A batch under construction, and what is in it already.
struct Batch {
    writer: Writer,
    executables: HashMap<u32, u32>,
    functions: HashMap<(String, String), u32>,
    processes: HashMap<Arc<Identity>, u32>,
}

impl Batch {
    fn value_types(&mut self, profile: &Profile) {
        for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", profile.period_ns)] {
            let (kind, unit) = (self.writer.string(kind), self.writer.string(unit));
            self.writer.value_type(ValueType { kind, unit, per_sample });
        }
    }

    fn location(&mut self, frame: &Frame, names: &Names) -> u32 {
        let (kind, mapping, address) = match frame {
            Frame::Kernel(address) => (KERNEL, self.kernel(), *address),
            Frame::File(executable, address) => (NATIVE, self.executable(executable), address.0),
            Frame::Unknown(address) => (NATIVE, NONE, *address),
        };
        let mut lines_start = 0;
        for (index, name) in names.iter().enumerate() {
            let function = self.function(&name.function, &name.file);
            let row = self.writer.line(Line { function, line: name.line, column: name.column });
            if index == 0 {
                lines_start = row;
            }
        }
        let lines_count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.writer.location(Location { kind, mapping, address, lines_start, lines_count })
    }

    fn function(&mut self, name: &str, file: &str) -> u32 {
        if let Some(row) = self.functions.get(&(name.to_owned(), file.to_owned())) {
            return *row;
        }
        let row = Function {
            name: self.writer.string(name),
            file: self.writer.string(file),
            ..Function::default()
        };
        let row = self.writer.function(row);
        self.functions.insert((name.to_owned(), file.to_owned()), row);
        row
    }

    fn kernel(&mut self) -> u32 {
        if let Some(row) = self.executables.get(&u32::MAX) {
            return *row;
        }
        let path = self.writer.string("[kernel.kallsyms]");
        let mapping = Mapping { kind: KERNEL, path, limit: u64::MAX, ..Mapping::default() };
        let row = self.writer.mapping(mapping);
        self.executables.insert(u32::MAX, row);
        row
    }

    fn executable(&mut self, executable: &Executable) -> u32 {
        if let Some(row) = self.executables.get(&executable.id) {
            return *row;
        }
        let build_id = executable.build_id.as_deref().unwrap_or_default();
        let build_id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = executable.segments.first();
        let mapping = Mapping {
            kind: NATIVE,
            path: self.writer.string(&executable.path),
            build_id: self.writer.string(&build_id),
            htlhash: self.writer.string(executable.htlhash.as_deref().unwrap_or_default()),
            start: text.map_or(0, |text| text.address),
            limit: text.map_or(u64::MAX, |text| text.address.saturating_add(text.file_bytes)),
            file_offset: text.map_or(0, |text| text.file_offset),
        };
        let row = self.writer.mapping(mapping);
        self.executables.insert(executable.id, row);
        row
    }

    fn stacks(&mut self, profile: &Profile, locations: &[u32]) {
        for stack in &profile.stacks {
            let (mut frames_start, mut frames_count) = (0, 0);
            for frame in profile.frames_of(stack) {
                let row = self.writer.frame(FrameRow { location: locations[frame as usize] });
                if frames_count == 0 {
                    frames_start = row;
                }
                frames_count += 1;
            }
            let outcome = stack.outcome();
            let outcome = self.writer.string(outcome);
            self.writer.stack(Stack {
                frames_start,
                frames_count,
                kernel_frames: stack.kernel_frames,
                outcome,
                complete: stack.is_complete().into(),
            });
        }
    }

    fn samples(&mut self, profile: &Profile) {
        let mut threads = Vec::with_capacity(profile.threads.len());
        for thread in &profile.threads {
            let process = self.process(&thread.process);
            let comm = self.writer.string(&comm_text(&thread.comm));
            threads.push(self.writer.thread(Thread { process, tid: thread.tid, comm }));
        }
        for sample in &profile.samples {
            let mut timestamps_start = 0;
            for (index, tick) in sample.ticks.iter().enumerate() {
                let value = if tick.cpu_time_ns == profile.period_ns { 0 } else { tick.cpu_time_ns };
                let row = self.writer.timestamp(Timestamp { time_ns: tick.time_ns, value });
                if index == 0 {
                    timestamps_start = row;
                }
            }
            let (count, cpu_time_ns) = (sample.count(), sample.cpu_time_ns());
            let values = [(count, 1), (cpu_time_ns, profile.period_ns)];
            let (values_start, values_count) = self.writer.values(count, &values);
            self.writer.sample(Sample {
                thread: threads[sample.thread as usize],
                stack: sample.stack,
                count,
                timestamps_start,
                timestamps_count: u32::try_from(sample.ticks.len()).unwrap_or(u32::MAX),
                values_start,
                values_count,
            });
        }
    }

    fn process(&mut self, identity: &Arc<Identity>) -> u32 {
        if let Some(row) = self.processes.get(identity) {
            return *row;
        }
        let mut labels_start = 0;
        for (index, (key, value)) in identity.labels.iter().enumerate() {
            let (key, value) = (self.writer.string(key), self.writer.string(value));
            let row = self.writer.label(Label { key, value });
            if index == 0 {
                labels_start = row;
            }
        }
        let process = Process {
            pid: identity.pid,
            parent_pid: identity.parent_pid,
            comm: self.writer.string(&identity.comm),
            executable: self.writer.string(&identity.executable),
            cgroup: self.writer.string(&identity.cgroup),
            labels_start,
            labels_count: u32::try_from(identity.labels.len()).unwrap_or(u32::MAX),
        };
        let row = self.writer.process(process);
        self.processes.insert(Arc::clone(identity), row);
        row
    }

    fn losses(&mut self, profile: &Profile, dropped: &Dropped) {
        let lost = profile.losses.iter().map(|(loss, count)| (loss.name(), count));
        let excluded = (profile.excluded > 0).then_some((EXCLUDED, profile.excluded));
        for (reason, count) in
            lost.chain(excluded).chain(dropped.iter().map(|(reason, count)| (reason.as_str(), *count)))
        {
            let reason = self.writer.string(reason);
            self.writer.loss(Loss { reason, count });
        }
    }

    fn attribute(&mut self, key: &str, value: &str) {
        let (key, value) = (self.writer.string(key), self.writer.string(value));
        self.writer.attribute(Attribute { key, value });
    }
}
