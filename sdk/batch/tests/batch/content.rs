//! Batches made from numbers: sound ones whatever the numbers are.

use proptest::prelude::*;
use stacksonde_batch::tables::{
    Attribute, Frame, Function, Label, Line, Location, Loss, Mapping, Process, Sample, Stack, Thread,
    Timestamp, Value, ValueType,
};
use stacksonde_batch::{Batch, Header, NONE, StringId, Writer};

/// Everything that is in a batch, as its reader should see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) texts: Vec<String>,
    pub(crate) value_types: Vec<ValueType>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) timestamps: Vec<Timestamp>,
    pub(crate) stacks: Vec<Stack>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) locations: Vec<Location>,
    pub(crate) lines: Vec<Line>,
    pub(crate) functions: Vec<Function>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) processes: Vec<Process>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) labels: Vec<Label>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) losses: Vec<Loss>,
    pub(crate) value_rows: Vec<Value>,
}

/// Calls a macro with every table of [`Content`] and the writer's method for it.
macro_rules! every_table {
    ($then:ident) => {
        $then! {
            value_types value_type, samples sample, timestamps timestamp, stacks stack, frames frame,
            locations location, lines line, functions function, mappings mapping, processes process,
            threads thread, labels label, attributes attribute, losses loss, value_rows value,
        }
    };
}

impl Content {
    /// The batch, by the writer.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new(self.header);
        for (id, text) in (0..).zip(&self.texts) {
            assert_eq!(writer.string(text), StringId(id));
        }
        macro_rules! add {
            ($($table:ident $add:ident,)+) => {$(
                for (index, row) in (0..).zip(&self.$table) {
                    assert_eq!(writer.$add(*row), index);
                }
            )+};
        }
        every_table! { add }
        writer.finish().unwrap()
    }

    /// Reads the content of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let batch = Batch::parse(bytes).unwrap();
        let mut content = Self { header: *batch.header(), ..Self::default() };
        macro_rules! take {
            ($($table:ident $add:ident,)+) => {$(
                content.$table = batch.$table().iter().collect();
            )+};
        }
        every_table! { take }
        content
    }
}

/// Numbers drawn one after the other, over and over.
struct Draw {
    numbers: Vec<u64>,
    next: usize,
    texts: u32,
}

impl Draw {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.numbers[self.next % self.numbers.len()].rotate_left(self.next as u32)
    }

    fn small(&mut self) -> u32 {
        (self.number() >> 32) as u32
    }

    fn text(&mut self) -> StringId {
        StringId(self.small() % self.texts)
    }

    fn index(&mut self, rows: usize) -> u32 {
        self.small() % rows as u32
    }

    /// Start and count of a range in a table of `rows`.
    fn range(&mut self, rows: usize) -> (u32, u32) {
        let start = self.small() % (rows as u32 + 1);
        (start, self.small() % (rows as u32 + 1 - start))
    }

    /// Up to seven rows; none if `possible` is not.
    fn rows<R>(&mut self, possible: bool, row: impl Fn(&mut Self) -> R) -> Vec<R> {
        let count = if possible { self.number() % 8 } else { 0 };
        (0..count).map(|_| row(self)).collect()
    }
}

fn content(texts: Vec<String>, numbers: Vec<u64>) -> Content {
    let mut c = Content { texts: vec![String::new()], ..Content::default() };
    for text in texts {
        if !c.texts.contains(&text) {
            c.texts.push(text);
        }
    }
    let mut draw = Draw { numbers, next: 0, texts: c.texts.len() as u32 };
    let draw = &mut draw;
    c.header = Header {
        run_id: u128::from(draw.number()).to_be_bytes(),
        host_id: u128::from(draw.number()).to_le_bytes(),
        sequence: draw.number(),
        start_ns: draw.number(),
        end_ns: draw.number(),
        unix_minus_monotonic_ns: draw.number().cast_signed(),
    };
    c.value_types = draw.rows(true, |d| ValueType { kind: d.text(), unit: d.text(), per_sample: d.number() });
    c.timestamps = draw.rows(true, |d| Timestamp { time_ns: d.number(), value: d.number() });
    c.value_rows = draw.rows(true, |d| Value { value: d.number() });
    c.labels = draw.rows(true, |d| Label { key: d.text(), value: d.text() });
    c.attributes = draw.rows(true, |d| Attribute { key: d.text(), value: d.text() });
    c.losses = draw.rows(true, |d| Loss { reason: d.text(), count: d.number() });
    c.functions = draw.rows(true, |d| Function {
        name: d.text(),
        system_name: d.text(),
        file: d.text(),
        start_line: d.small(),
    });
    let functions = c.functions.len();
    c.lines = draw.rows(functions > 0, |d| Line {
        function: d.index(functions),
        line: d.small(),
        column: d.small(),
    });
    c.mappings = draw.rows(true, |d| Mapping {
        kind: d.small(),
        path: d.text(),
        build_id: d.text(),
        start: d.number(),
        limit: d.number(),
        file_offset: d.number(),
        htlhash: d.text(),
    });
    c.locations = draw.rows(true, |d| {
        let (lines_start, lines_count) = d.range(c.lines.len());
        let mapping = if c.mappings.is_empty() { NONE } else { d.index(c.mappings.len()) };
        Location { kind: d.small(), mapping, address: d.number(), lines_start, lines_count }
    });
    let locations = c.locations.len();
    c.frames = draw.rows(locations > 0, |d| Frame { location: d.index(locations) });
    c.stacks = draw.rows(true, |d| {
        let (frames_start, frames_count) = d.range(c.frames.len());
        let kernel_frames = d.small() % (frames_count + 1);
        let complete = d.small() % 2;
        Stack { frames_start, frames_count, kernel_frames, outcome: d.text(), complete }
    });
    c.processes = draw.rows(true, |d| {
        let (labels_start, labels_count) = d.range(c.labels.len());
        Process {
            pid: d.small(),
            parent_pid: d.small(),
            comm: d.text(),
            executable: d.text(),
            cgroup: d.text(),
            labels_start,
            labels_count,
        }
    });
    let processes = c.processes.len();
    c.threads =
        draw.rows(processes > 0, |d| Thread { process: d.index(processes), tid: d.small(), comm: d.text() });
    c.samples = draw.rows(!c.threads.is_empty() && !c.stacks.is_empty(), |d| {
        let (timestamps_start, timestamps_count) = d.range(c.timestamps.len());
        let count = if timestamps_count > 0 { timestamps_count.into() } else { d.number() };
        let (thread, stack) = (d.index(c.threads.len()), d.index(c.stacks.len()));
        // One for each type, where there are as many.
        let (types, values) = (c.value_types.len() as u32, c.value_rows.len() as u32);
        let values_count = if values >= types && d.small() % 2 == 0 { types } else { 0 };
        let values_start = d.small() % (values - values_count + 1);
        Sample { thread, stack, count, timestamps_start, timestamps_count, values_start, values_count }
    });
    c
}

/// Any sound batch.
pub(crate) fn any_content() -> impl Strategy<Value = Content> {
    let texts = prop::collection::vec(".{0,12}", 0..8);
    let numbers = prop::collection::vec(any::<u64>(), 7..60);
    (texts, numbers).prop_map(|(texts, numbers)| content(texts, numbers))
}
