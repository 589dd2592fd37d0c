//! Folded stacks: `process;root;…;leaf count`, a line per distinct stack, as flame graph tools read it.
//!
//! Kernel functions end with `_[k]`. A frame without a name is `[file+0xaddress]`. A stack whose root
//! was not reached has the frame `[incomplete: reason]` next to the process, so that it does not pass
//! for a whole one.

use crate::naming;
use stacksonde_plugin::batch::tables::{KERNEL, Location};
use stacksonde_plugin::batch::{Batch, StringId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Distinct stacks, and their samples. Texts are put together one stack at a time: long names in deep stacks
/// take a hundred times the memory of the profile.
pub(crate) struct Folded {
    /// Names of frames, each once, in the order of the text with what ends it.
    names: Vec<String>,
    /// Samples by stack, process first.
    stacks: BTreeMap<Box<[u32]>, u64>,
}

impl Folded {
    pub(crate) fn of(batch: &Batch<'_>) -> Self {
        let locations: Vec<Vec<String>> =
            batch.locations().iter().map(|location| functions(batch, &location)).collect();
        let mut own = Vec::new();
        for thread in batch.threads() {
            own.push(process(batch, thread.process));
        }
        own.push(process(batch, u32::MAX));
        for stack in batch.stacks().iter().filter(|stack| stack.complete == 0) {
            own.push(incomplete(batch, stack.outcome));
        }
        let mut names: Vec<String> = locations.iter().flatten().cloned().chain(own).collect();
        names.sort_unstable_by(|a, b| a.bytes().chain([b';']).cmp(b.bytes().chain([b';'])));
        names.dedup();
        let number = |name: &str| {
            let found =
                names.binary_search_by(|known| known.bytes().chain([b';']).cmp(name.bytes().chain([b';'])));
            u32::try_from(found.unwrap_or_default()).unwrap_or(u32::MAX)
        };
        let locations: Vec<Vec<u32>> =
            locations.iter().map(|names| names.iter().map(|name| number(name)).collect()).collect();
        let mut stacks = BTreeMap::<Box<[u32]>, u64>::new();
        for sample in batch.samples().iter().filter(|sample| sample.count > 0) {
            let thread = batch.threads().get(sample.thread).unwrap_or_default();
            let stack = batch.stacks().get(sample.stack).unwrap_or_default();
            let mut frames = vec![number(&process(batch, thread.process))];
            if stack.complete == 0 {
                frames.push(number(&incomplete(batch, stack.outcome)));
            }
            for frame in batch.frames().range(stack.frames_start, stack.frames_count).rev() {
                frames.extend(locations.get(frame.location as usize).into_iter().flatten());
            }
            let count = stacks.entry(frames.into()).or_default();
            *count = count.saturating_add(sample.count);
        }
        Self { names, stacks }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }

    /// A line per distinct stack, in the order of the text. Names longer than `longest` characters are cut there.
    pub(crate) fn lines(&self, longest: usize) -> impl Iterator<Item = String> + '_ {
        self.stacks.iter().map(move |(frames, count)| {
            let frames = frames.iter().filter_map(|number| self.names.get(*number as usize));
            let stack = frames.map(|name| cut(name, longest)).collect::<Vec<_>>().join(";");
            format!("{} {count}\n", unambiguous(stack))
        })
    }

    /// Bytes of all lines with names of at most `longest` characters, about.
    pub(crate) fn bytes(&self, longest: usize) -> usize {
        let lengths: Vec<usize> = self.names.iter().map(|name| name.len().min(longest) + 1).collect();
        let line =
            |frames: &[u32]| frames.iter().filter_map(|number| lengths.get(*number as usize)).sum::<usize>();
        self.stacks.keys().map(|frames| line(frames) + 8).sum()
    }
}

/// Writes the text of a file.
pub(crate) fn write(batch: &Batch<'_>, to: &mut dyn Write) -> io::Result<()> {
    Folded::of(batch).lines(usize::MAX).try_for_each(|line| to.write_all(line.as_bytes()))
}

fn cut(name: &str, longest: usize) -> Cow<'_, str> {
    match name.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

fn process(batch: &Batch<'_>, process: u32) -> String {
    frame(&naming::process(batch, process))
}

fn incomplete(batch: &Batch<'_>, outcome: StringId) -> String {
    frame(&naming::incomplete(batch, outcome))
}

/// The functions at a location, outermost first; its address if it has no name.
fn functions(batch: &Batch<'_>, location: &Location) -> Vec<String> {
    let suffix = if location.kind == KERNEL { "_[k]" } else { "" };
    naming::functions(batch, location).iter().map(|name| frame(name) + suffix).collect()
}

/// `text` as one frame: what would end it or the line is replaced, and so is what XML cannot say.
fn frame(text: &str) -> String {
    let clean = text.trim().chars().map(|c| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        '\u{FFFE}' | '\u{FFFF}' => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    clean.collect()
}

/// Readers take a number after a last space for a count, and a line that begins with `# ` for a remark:
/// there the space becomes `_`.
fn unambiguous(mut stack: String) -> String {
    if let Some(space) = stack.rfind(' ') {
        // They cut a number at its point, whatever follows it.
        let whole = stack[space + 1..].split('.').next().unwrap_or_default();
        if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) {
            stack.replace_range(space..=space, "_");
        }
    }
    if stack.starts_with("# ") {
        stack.replace_range(1..2, "_");
    }
    stack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_frame_of_one_line() {
        assert_eq!(frame(" a;b\nc\td\u{0}e\u{FFFF} "), "a:b c d e\u{FFFD}");
    }

    #[test]
    fn a_name_that_ends_with_a_number_is_not_taken_for_a_count() {
        assert_eq!(unambiguous("app;worker 7".into()), "app;worker_7");
        assert_eq!(unambiguous("app;worker 7.x;run".into()), "app;worker_7.x;run");
        assert_eq!(unambiguous("app;worker 7;run".into()), "app;worker 7;run");
        assert_eq!(unambiguous("# comm;run".into()), "#_comm;run");
        assert_eq!(unambiguous("operator new".into()), "operator new");
    }
}
