//! All names of a file's addresses: a job that owns what it needs, so that a thread can do it that is not waited for.

use super::compressed::mini_debug_information;
use super::debug::{self, DebugFrame};
use super::demangle::{readable, shortened};
use super::limit::{CpuLimit, cpu_time};
use super::names::{Name, Names};
use super::plt::stub_names;
use super::split::Origin;
use super::symtab::function_names;
use super::texts::Texts;
use crate::process::{GoFunctions, Pieces, PinnedFile, base_name};
use crate::unwind::CallFrames;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A file, and what is asked about it.
#[derive(Debug)]
pub(super) struct FileQuestion {
    pub(super) file: Arc<PinnedFile>,
    /// Its path, as programs that have it mapped see it.
    pub(super) path: String,
    /// A task that had it mapped.
    pub(super) task: u32,
    pub(super) build_id: Option<Vec<u8>>,
    /// Sorted, each once, as stated in the file.
    pub(super) addresses: Vec<u64>,
    /// Set if inlined functions and lines are wanted.
    pub(super) lines: bool,
    /// Memory for compressed debug information, in bytes.
    pub(super) debug_bytes: u64,
    /// Memory for names, in bytes.
    pub(super) names_bytes: usize,
    /// CPU time that it may take.
    pub(super) time: Duration,
}

/// The names of a file's addresses.
#[derive(Debug)]
pub(super) struct FileAnswer {
    /// The addresses that were asked about.
    pub(super) addresses: Vec<u64>,
    /// For each its functions, the innermost first; empty where it has none; `None` where there was no room.
    pub(super) names: Vec<Option<Names>>,
    /// Set if debug information was left out because of its size.
    pub(super) cut: bool,
    /// Set if debug information is in other files that are not read.
    pub(super) split: bool,
}

impl FileQuestion {
    /// An error says that the file cannot be read, or not in time: then nothing is known of its addresses.
    pub(super) fn answer(self) -> io::Result<FileAnswer> {
        let limit = CpuLimit::after(self.time);
        let own = Arc::new(self.file.open()?);
        let debug_file = self.debug_file(&own, limit)?;
        let texts = Texts::within(self.names_bytes);
        let mut named = Named { addresses: &self.addresses, frames: vec![Vec::new(); self.addresses.len()] };
        let (mut cut, mut split_off) = (false, false);
        if let Some(with_lines) = debug_file.as_ref().filter(|_| self.lines) {
            let found = debug::look_up(&**with_lines, &self.addresses, self.debug_bytes, &texts, limit)?;
            (named.frames, cut, split_off) = (found.frames, found.cut, found.split);
        }
        let split = debug_file.filter(|file| !Arc::ptr_eq(file, &own));
        let starts = Starts { file: &own, frames: OnceCell::new() };
        let start_of = |address| starts.of(address);
        for file in std::iter::once(&own).chain(&split) {
            named.add(|addresses| function_names(&**file, addresses, start_of, &texts, limit))?;
        }
        named.add(|addresses| match mini_debug_information(&*own, self.debug_bytes)? {
            Some(mini) => function_names(mini.as_slice(), addresses, start_of, &texts, limit),
            None => Ok(Vec::new()),
        })?;
        named.add(|addresses| go_names(&own, addresses, &texts))?;
        named.add(|addresses| {
            let stubs = stub_names(&*own, addresses, limit)?;
            Ok(stubs.into_iter().map(|name| texts.one(&shortened(&name?))).collect())
        })?;
        named.add(|addresses| {
            let name = base_name(&self.path);
            let by_start = |address: &u64| {
                if limit.is_over() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Ok(starts.of(*address)?.and_then(|start| texts.one(&format!("{name}+{start:#x}"))))
            };
            addresses.iter().map(by_start).collect()
        })?;
        // Mangled ones go away with the question.
        let readable = Readable::within(self.names_bytes);
        let names = |frames: Vec<DebugFrame>| {
            let names: Option<Names> = frames.into_iter().filter_map(|frame| readable.name(frame)).collect();
            // Nothing is known of an address whose names there was no room for.
            names.filter(|names| !names.is_empty() || !texts.refused())
        };
        let names = named.frames.into_iter().map(names).collect();
        Ok(FileAnswer { addresses: self.addresses, names, cut, split: split_off })
    }

    /// The file with the debug information: itself, or what was split off from it.
    fn debug_file(&self, own: &Arc<File>, limit: CpuLimit) -> io::Result<Option<Arc<File>>> {
        if debug::has_debug_information(&**own)? {
            return Ok(Some(Arc::clone(own)));
        }
        let build_id = self.build_id.as_deref();
        let origin = Origin { file: own, path: &self.path, build_id, task: self.task };
        Ok(origin.split(limit)?.map(Arc::new))
    }
}

/// The functions of addresses, as far as they are known.
struct Named<'q> {
    addresses: &'q [u64],
    frames: Vec<Vec<DebugFrame>>,
}

impl Named<'_> {
    /// Names the functions that have no name yet, as far as `names_of` knows those at their addresses.
    fn add(&mut self, names_of: impl FnOnce(&[u64]) -> io::Result<Vec<Option<Arc<str>>>>) -> io::Result<()> {
        let nameless = |at: &usize| self.frames[*at].last().is_none_or(|frame| frame.function.is_none());
        let wanting = (0..self.frames.len()).filter(nameless).map(|at| (at, self.addresses[at]));
        let (wanting, addresses): (Vec<usize>, Vec<u64>) = wanting.unzip();
        if wanting.is_empty() {
            return Ok(());
        }
        for (at, name) in wanting.into_iter().zip(names_of(&addresses)?) {
            if let Some(name) = name {
                set_name(&mut self.frames[at], name);
            }
        }
        Ok(())
    }
}

/// The beginnings of functions, by what says how they are left; that is looked for when it is first wanted.
struct Starts<'f> {
    file: &'f File,
    frames: OnceCell<Option<CallFrames>>,
}

impl Starts<'_> {
    /// Finds where the function at an address begins.
    fn of(&self, address: u64) -> io::Result<Option<u64>> {
        let frames = match self.frames.get() {
            Some(known) => known,
            None => {
                let found = CallFrames::find(self.file)?;
                self.frames.get_or_init(|| found)
            }
        };
        let Some(frames) = frames else { return Ok(None) };
        Ok(frames.function_at(self.file, address)?.map(|function| function.start))
    }
}

/// Functions by Go's own table, which stripping leaves in.
fn go_names(file: &File, addresses: &[u64], texts: &Texts) -> io::Result<Vec<Option<Arc<str>>>> {
    let Some(functions) = GoFunctions::find(file)? else { return Ok(Vec::new()) };
    let mut pieces = Pieces::of(file);
    let name = |address: &u64| {
        let function = functions.name_at(&mut pieces, *address)?;
        Ok(function.and_then(|function| texts.one(&shortened(&function))))
    };
    addresses.iter().map(name).collect()
}

/// Names the outermost function, the only one that symbol tables know.
fn set_name(frames: &mut Vec<DebugFrame>, name: Arc<str>) {
    if frames.is_empty() {
        frames.push(DebugFrame::default());
    }
    if let Some(outermost) = frames.last_mut() {
        outermost.function = Some(name);
    }
}

/// CPU time that the names of a file may take to become readable: a usual one takes microseconds, the worst that a
/// demangler accepts a quarter of a second. The rest stay mangled.
const DEMANGLING: Duration = Duration::from_secs(1);

/// Readable texts, each made once.
struct Readable {
    texts: Texts,
    /// CPU time of the thread when it began.
    begun: Duration,
    known: RefCell<HashMap<Arc<str>, Option<Arc<str>>>>,
}

impl Readable {
    fn within(bytes: usize) -> Self {
        Self { texts: Texts::within(bytes), begun: cpu_time(), known: RefCell::default() }
    }

    /// A name as it is shown; `None` without a name, since a line alone is of no use, and `Some(None)` without room.
    fn name(&self, frame: DebugFrame) -> Option<Option<Name>> {
        let mangled = frame.function?;
        let mut known = self.known.borrow_mut();
        let function = known.entry(mangled).or_insert_with_key(|mangled| {
            let in_time = cpu_time().saturating_sub(self.begun) < DEMANGLING;
            self.texts.one(&if in_time { readable(mangled) } else { shortened(mangled) })
        });
        let file = self.texts.one(frame.file.as_deref().unwrap_or_default());
        let (Some(function), Some(file)) = (function.clone(), file) else { return Some(None) };
        Some(Some(Name { function, file, line: frame.line, column: frame.column }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_names_that_are_slow_to_demangle_takes_bounded_time() {
        let readable = Readable::within(1 << 20);
        let begun = cpu_time();
        for number in 0..1000 {
            // Each type is parsed in two ways, with all that is in it.
            let name = format!("_Z1aI{}{number}", "LDT".repeat(17));
            let frame = DebugFrame { function: Some(name.as_str().into()), ..DebugFrame::default() };
            assert_eq!(&*readable.name(frame).unwrap().unwrap().function, name);
        }
        assert!(cpu_time() - begun >= DEMANGLING, "the names are slow, or this tries nothing");
    }
}
