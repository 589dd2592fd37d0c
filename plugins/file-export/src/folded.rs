//! Folded stacks: `process;root;…;leaf count`, a line per distinct stack, as flame graph tools read it.
//!
//! Kernel functions end with `_[k]`. A frame without a name is `[file+0xaddress]`. A stack whose root
//! was not reached has the frame `[incomplete: reason]` next to the process, so that it does not pass
//! for a whole one.

use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::{KERNEL, Location, Sample};
use std::collections::BTreeMap;

/// The text of a file.
pub(crate) fn encode(batch: &Batch<'_>) -> Vec<u8> {
    lines(batch).concat().into_bytes()
}

/// A line per distinct stack, in the order of the text.
pub(crate) fn lines(batch: &Batch<'_>) -> Vec<String> {
    let names: Vec<String> = batch.locations().iter().map(|location| name(batch, &location)).collect();
    let mut counts = BTreeMap::<String, u64>::new();
    for sample in batch.samples().iter().filter(|sample| sample.count > 0) {
        let count = counts.entry(stack(batch, &sample, &names)).or_default();
        *count = count.saturating_add(sample.count);
    }
    counts.into_iter().map(|(stack, count)| format!("{stack} {count}\n")).collect()
}

/// `process;root;…;leaf`
fn stack(batch: &Batch<'_>, sample: &Sample, names: &[String]) -> String {
    let thread = batch.threads().get(sample.thread).unwrap_or_default();
    let process = batch.processes().get(thread.process).unwrap_or_default();
    let stack = batch.stacks().get(sample.stack).unwrap_or_default();

    let mut text = frame(batch.text(process.comm));
    if text.is_empty() {
        text = format!("[pid {}]", process.pid);
    }
    if stack.complete == 0 {
        text.push_str(&format!(";[incomplete: {}]", frame(batch.text(stack.outcome))));
    }
    for frame in batch.frames().range(stack.frames_start, stack.frames_count).rev() {
        if let Some(name) = names.get(frame.location as usize) {
            text.push(';');
            text.push_str(name);
        }
    }
    unambiguous(text)
}

/// The functions at a location, outermost first; its address if it has no name.
fn name(batch: &Batch<'_>, location: &Location) -> String {
    let suffix = if location.kind == KERNEL { "_[k]" } else { "" };
    let lines = batch.lines().range(location.lines_start, location.lines_count).rev();
    let functions = lines.filter_map(|line| batch.functions().get(line.function));
    let names: Vec<String> = functions
        .map(|function| frame(batch.text(function.name)))
        .filter(|name| !name.is_empty())
        .map(|name| name + suffix)
        .collect();
    if !names.is_empty() {
        return names.join(";");
    }
    let mapping = batch.mappings().get(location.mapping).unwrap_or_default();
    let path = frame(batch.text(mapping.path));
    // `[vdso]` has brackets of its own.
    let file = path.rsplit('/').next().unwrap_or_default().trim_matches(['[', ']']);
    match file {
        "" => format!("[{:#x}]{suffix}", location.address),
        file => format!("[{file}+{:#x}]{suffix}", location.address),
    }
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
