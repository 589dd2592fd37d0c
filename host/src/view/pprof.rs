//! pprof's `profile.proto` (package `perftools.profiles`), ours and other programs'.

use super::Profile;
use super::wire::{Damaged, Fields};
use stacksonde_batch::tables::EXCLUDED;
use stacksonde_flame::{About, Graph, Kind};
use std::collections::HashMap;

/// Why bytes are not a profile of pprof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PprofError {
    /// They are something else, or were cut.
    #[error("this is not a pprof profile, or a part of it is missing")]
    Damaged,
    /// Reading it would take too much memory.
    #[error(
        "the profile has more than {most} {what}; look at a part of it: `pprof -proto -focus=REGEX FILE`"
    )]
    TooLarge {
        /// Of which there are too many.
        what: &'static str,
        /// The largest number that would be read.
        most: usize,
    },
    /// It says nothing that could be drawn.
    #[error("the profile names no type of values; it may be of another program's format")]
    NoValues,
    /// It has other values.
    #[error("the profile has no values called `{wanted}`; it has: {known}")]
    NoSuchValue {
        /// The values that were asked for.
        wanted: String,
        /// The values that there are.
        known: String,
    },
}

impl From<Damaged> for PprofError {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

/// Samples, texts, functions and so on; each takes some dozen bytes.
const MOST_ROWS: usize = 1 << 22;
/// Frames of all stacks; each takes four bytes, and some more in the page.
const MOST_FRAMES: usize = 1 << 24;

/// From here on addresses are the kernel's, on x86-64 and arm64.
const KERNEL_FROM: u64 = 0xffff_0000_0000_0000;

/// Reads a profile's values of type `wanted`; without one `samples`, else the type that the profile names, or its last.
pub(crate) fn read(bytes: &[u8], wanted: Option<&str>) -> Result<Profile, PprofError> {
    let mut raw = Raw::of(bytes)?;
    let (column, kind, unit) = raw.column(wanted)?;
    let mut graph = Graph::new();
    let tables = Tables::of(&raw, &mut graph)?;
    // What the profile says of itself are texts, some of them losses.
    let mut about = About { unit: unit.to_owned(), ..About::default() };
    if raw.time_ns > 0 {
        about.start_unix_ns = Some(raw.time_ns);
    }
    about.duration_ns = (raw.duration_ns > 0).then_some(raw.duration_ns);
    if (kind, unit) == ("samples", "count") {
        about.unit = "samples".into();
        about.period_ns = raw.period_ns();
    }
    for comment in std::mem::take(&mut raw.comments) {
        remark(raw.text(comment), &mut about);
    }
    let (mut budget, mut negative) = (MOST_FRAMES, 0_u64);
    for sample in &raw.samples {
        let (frames, value) = stack(sample, &raw, &tables, column, &mut graph, &mut budget)?;
        // Differences of profiles may be below zero, which no width shows.
        negative += u64::from(value < 0);
        graph.stack(frames, u64::try_from(value).unwrap_or(0));
    }
    if negative > 0 {
        about.notes.push(("left out:".into(), format!("{negative} stacks with values below zero")));
    }
    Ok(Profile { about, graph })
}

/// `key: value`; a number of a key that begins with `samples_` is a loss.
fn remark(text: &str, about: &mut About) {
    let Some((key, value)) = text.split_once(": ") else { return };
    match (key, value.parse::<u64>()) {
        (EXCLUDED, Ok(count)) => about.excluded = about.excluded.saturating_add(count),
        (reason, Ok(count)) if reason.starts_with("samples_lost_") => {
            about.losses.push((reason.to_owned(), count));
        }
        ("host.name", _) => about.notes.push(("on".into(), value.to_owned())),
        ("os.version", _) => about.notes.push(("Linux".into(), value.to_owned())),
        _ => {}
    }
}

/// A profile's fields, not yet joined. Messages are left as they are in the file.
#[derive(Default)]
struct Raw<'a> {
    /// Type and unit of each value of a sample, as numbers of texts.
    types: Vec<(u64, u64)>,
    samples: Vec<&'a [u8]>,
    mappings: Vec<&'a [u8]>,
    locations: Vec<&'a [u8]>,
    functions: Vec<&'a [u8]>,
    texts: Vec<&'a [u8]>,
    comments: Vec<u64>,
    time_ns: u64,
    duration_ns: u64,
    period_type: (u64, u64),
    period: u64,
    default_type: u64,
}

impl<'a> Raw<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, PprofError> {
        let mut raw = Self::default();
        for (row, field) in Fields::of(bytes).enumerate() {
            if row >= MOST_ROWS {
                return Err(PprofError::TooLarge { what: "rows", most: MOST_ROWS });
            }
            let (number, value) = field?;
            match number {
                1 => raw.types.push(value_type(value.bytes())?),
                2 => raw.samples.push(value.bytes()),
                3 => raw.mappings.push(value.bytes()),
                4 => raw.locations.push(value.bytes()),
                5 => raw.functions.push(value.bytes()),
                6 => raw.texts.push(value.bytes()),
                9 => raw.time_ns = value.number(),
                10 => raw.duration_ns = value.number(),
                11 => raw.period_type = value_type(value.bytes())?,
                12 => raw.period = value.number(),
                13 => raw.comments.extend(value.numbers()),
                14 => raw.default_type = value.number(),
                _ => {}
            }
        }
        Ok(raw)
    }

    /// A text by its number; empty for one that is not there, or is not UTF-8.
    fn text(&self, number: u64) -> &'a str {
        let bytes = usize::try_from(number).ok().and_then(|number| self.texts.get(number));
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Which of a sample's values is shown, and what it is.
    fn column(&self, wanted: Option<&str>) -> Result<(usize, &'a str, &'a str), PprofError> {
        let names: Vec<_> =
            self.types.iter().map(|(kind, unit)| (self.text(*kind), self.text(*unit))).collect();
        let Some(last) = names.len().checked_sub(1) else { return Err(PprofError::NoValues) };
        let find = |name: &str| names.iter().position(|(kind, _)| *kind == name);
        let column = match wanted {
            Some(wanted) => find(wanted).ok_or_else(|| PprofError::NoSuchValue {
                wanted: wanted.to_owned(),
                known: names.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", "),
            })?,
            None => {
                let default = Some(self.text(self.default_type)).filter(|name| !name.is_empty());
                let samples = names.iter().position(|name| *name == ("samples", "count"));
                default.and_then(find).or(samples).unwrap_or(last)
            }
        };
        Ok((column, names[column].0, names[column].1))
    }

    /// Returns the time that one sample stands for, where samples are of CPU time.
    fn period_ns(&self) -> Option<u64> {
        let (_, unit) = self.period_type;
        let each = match self.text(unit) {
            "nanoseconds" => 1,
            "microseconds" => 1_000,
            "milliseconds" => 1_000_000,
            _ => return None,
        };
        self.period.checked_mul(each).filter(|period| *period > 0 && *period < 1 << 62)
    }
}

/// The numbers in these fields of a message; 0 where there is none, the last of several.
fn numbers<const N: usize>(message: &[u8], fields: [u64; N]) -> Result<[u64; N], Damaged> {
    let mut found = [0; N];
    for field in Fields::of(message) {
        let (number, value) = field?;
        if let Some(at) = fields.iter().position(|wanted| *wanted == number) {
            found[at] = value.number();
        }
    }
    Ok(found)
}

fn value_type(bytes: &[u8]) -> Result<(u64, u64), Damaged> {
    numbers(bytes, [1, 2]).map(Into::into)
}

/// Frames by the ids of locations, root first.
struct Tables {
    locations: HashMap<u64, Vec<u32>>,
}

impl Tables {
    fn of(raw: &Raw<'_>, graph: &mut Graph) -> Result<Self, Damaged> {
        let mut mappings = HashMap::new();
        for mapping in &raw.mappings {
            let [id, path] = numbers(mapping, [1, 5])?;
            mappings.insert(id, raw.text(path));
        }
        let mut functions = HashMap::new();
        for function in &raw.functions {
            let [id, name] = numbers(function, [1, 2])?;
            functions.insert(id, raw.text(name));
        }
        let mut locations = HashMap::new();
        for location in &raw.locations {
            let (mut id, mut mapping, mut address, mut names) = (0, 0, 0, Vec::new());
            for field in Fields::of(location) {
                match field? {
                    (1, value) => id = value.number(),
                    (2, value) => mapping = value.number(),
                    (3, value) => address = value.number(),
                    (4, value) => {
                        // Of a line the id of its function.
                        let [function] = numbers(value.bytes(), [1])?;
                        names.extend(functions.get(&function).copied());
                    }
                    _ => {}
                }
            }
            let path = mappings.get(&mapping).copied().unwrap_or_default();
            locations.insert(id, frames(&names, path, address, graph));
        }
        Ok(Self { locations })
    }
}

/// The functions of a location, innermost first in `names`; its address without any.
fn frames(names: &[&str], path: &str, address: u64, graph: &mut Graph) -> Vec<u32> {
    let kernel = path.starts_with("[kernel") || (path.is_empty() && address >= KERNEL_FROM);
    let kind = if kernel { Kind::Kernel } else { Kind::User };
    let mut frames: Vec<u32> = Vec::new();
    for name in names.iter().rev().filter(|name| !name.is_empty()) {
        let remark = name.starts_with("[incomplete: ");
        frames.push(graph.frame(name, if remark { Kind::Remark } else { kind }, path));
    }
    if frames.is_empty() {
        let file = path.rsplit('/').next().unwrap_or_default().trim_matches(['[', ']']);
        let name = if file.is_empty() { format!("[{address:#x}]") } else { format!("[{file}+{address:#x}]") };
        frames.push(graph.frame(&name, kind, path));
    }
    frames
}

/// The frames of a sample, what its labels say of process and thread first, and its value.
fn stack(
    sample: &[u8],
    raw: &Raw<'_>,
    tables: &Tables,
    column: usize,
    graph: &mut Graph,
    budget: &mut usize,
) -> Result<(Vec<u32>, i64), PprofError> {
    let (mut locations, mut value, mut values_seen) = (Vec::new(), 0_i64, 0);
    let mut labels = Labels::default();
    for field in Fields::of(sample) {
        match field? {
            (1, ids) => locations.extend(ids.numbers()),
            (2, numbers) => {
                for number in numbers.numbers() {
                    if values_seen == column {
                        value = number.cast_signed();
                    }
                    values_seen += 1;
                }
            }
            (3, label) => labels.take(label.bytes(), raw)?,
            _ => {}
        }
    }
    let mut frames = labels.frames(graph);
    let before = frames.len();
    for frame in locations.iter().rev().filter_map(|id| tables.locations.get(id)) {
        *budget = budget
            .checked_sub(frame.len())
            .ok_or(PprofError::TooLarge { what: "frames in its stacks", most: MOST_FRAMES })?;
        frames.extend(frame);
    }
    if let Some(reason) = labels.incomplete {
        let remark = graph.frame(&format!("[incomplete: {reason}]"), Kind::Remark, "");
        // A stack without frames has it as its only frame already.
        if frames.get(before) != Some(&remark) {
            frames.insert(before, remark);
        }
    }
    Ok((frames, value))
}

/// Labels that our own files have for each sample, and some others'.
#[derive(Default)]
struct Labels<'a> {
    comm: Option<&'a str>,
    executable: &'a str,
    thread: &'a str,
    pid: Option<u64>,
    tid: Option<u64>,
    incomplete: Option<&'a str>,
}

impl<'a> Labels<'a> {
    fn take(&mut self, label: &[u8], raw: &Raw<'a>) -> Result<(), Damaged> {
        let [key, text, number] = numbers(label, [1, 2, 3])?;
        let text = raw.text(text);
        match raw.text(key) {
            "comm" => self.comm = Some(text),
            "executable" => self.executable = text,
            "thread" => self.thread = text,
            "pid" => self.pid = Some(number),
            "tid" => self.tid = Some(number),
            "incomplete" => self.incomplete = Some(text),
            _ => {}
        }
        Ok(())
    }

    fn frames(&self, graph: &mut Graph) -> Vec<u32> {
        let mut frames = Vec::new();
        match (self.comm, self.pid) {
            (Some(comm), _) => frames.push(graph.frame(comm, Kind::Process, self.executable)),
            (None, Some(pid)) => {
                frames.push(graph.frame(&format!("[pid {pid}]"), Kind::Process, self.executable));
            }
            (None, None) => {}
        }
        if let Some(tid) = self.tid {
            let pid = self.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            frames.push(graph.frame(&format!("{} (tid {tid}{pid})", self.thread), Kind::Thread, ""));
        }
        frames
    }
}
