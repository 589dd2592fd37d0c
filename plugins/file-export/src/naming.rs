//! Names of frames in the formats that have only names.

use stacksonde_plugin::batch::tables::Location;
use stacksonde_plugin::batch::{Batch, StringId};

/// A process by its name, or its id if it has none.
pub(crate) fn process(batch: &Batch<'_>, process: u32) -> String {
    let process = batch.processes().get(process).unwrap_or_default();
    match batch.text(process.comm).trim() {
        "" => format!("[pid {}]", process.pid),
        name => name.to_owned(),
    }
}

/// A thread by its name and the ids.
pub(crate) fn thread(batch: &Batch<'_>, thread: u32) -> String {
    let thread = batch.threads().get(thread).unwrap_or_default();
    let process = batch.processes().get(thread.process).unwrap_or_default();
    format!("{} (tid {}, pid {})", batch.text(thread.comm).trim(), thread.tid, process.pid)
}

/// Returns the mark next to the process where the root of a stack was not reached, so that it does not pass for a whole
/// one.
pub(crate) fn incomplete(batch: &Batch<'_>, outcome: StringId) -> String {
    format!("[incomplete: {}]", batch.text(outcome).trim())
}

/// The functions at a location, outermost first; its address, `[file+0xaddress]`, if it has no name.
pub(crate) fn functions(batch: &Batch<'_>, location: &Location) -> Vec<String> {
    let lines = batch.lines().range(location.lines_start, location.lines_count).rev();
    let functions = lines.filter_map(|line| batch.functions().get(line.function));
    let names: Vec<String> = functions
        .map(|function| batch.text(function.name).trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if !names.is_empty() {
        return names;
    }
    // `[vdso]` has brackets of its own.
    let file = module(batch, location).rsplit('/').next().unwrap_or_default().trim_matches(['[', ']']);
    vec![match file {
        "" => format!("[{:#x}]", location.address),
        file => format!("[{file}+{:#x}]", location.address),
    }]
}

/// The path of the file that a location lies in; empty if it is not known.
pub(crate) fn module<'a>(batch: &Batch<'a>, location: &Location) -> &'a str {
    batch.text(batch.mappings().get(location.mapping).unwrap_or_default().path).trim()
}
