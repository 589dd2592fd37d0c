//! All names of a file's addresses: a job that owns what it needs, so that a thread can do it that is not waited for.

use super::compressed::mini_debug_information;
use super::debug::{self, DebugFrame};
use super::demangle::{readable, shortened};
use super::elf::Bytes;
use super::limit::{CpuLimit, cpu_time};
use super::names::{Name, Names};
use super::plt::stub_names;
use super::split::Origin;
use super::symtab::function_names;
use super::texts::Texts;
use crate::process::{GoFunctions, Pieces, PinnedFile};
use crate::unwind::CallFrames;
use std::cell::RefCell;
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
}

impl FileQuestion {
    /// An error says that the file cannot be read, or not in time: then nothing is known of its addresses.
    pub(super) fn answer(self) -> io::Result<FileAnswer> {
        let limit = CpuLimit::after(self.time);
        let own = Arc::new(self.file.open()?);
        let debug_file = self.debug_file(&own, limit)?;
        let texts = Texts::within(self.names_bytes);
        let mut cut = false;
        let mut frames = vec![Vec::new(); self.addresses.len()];
        if let Some(with_lines) = debug_file.as_ref().filter(|_| self.lines) {
            let found = debug::look_up(&**with_lines, &self.addresses, self.debug_bytes, &texts, limit)?;
            (frames, cut) = (found.frames, found.cut);
        }
        let split = debug_file.filter(|file| !Arc::ptr_eq(file, &own));
        let functions = CallFrames::find(&own)?;
        let start_of = |address| match &functions {
            Some(functions) => Ok(functions.function_at(&own, address)?.map(|function| function.start)),
            None => Ok(None),
        };
        for file in std::iter::once(&own).chain(&split) {
            self.add_symbols(&**file, start_of, &texts, limit, &mut frames)?;
        }
        if !self.wanting(&frames).0.is_empty()
            && let Some(mini) = mini_debug_information(&*own, self.debug_bytes)?
        {
            self.add_symbols(mini.as_slice(), start_of, &texts, limit, &mut frames)?;
        }
        self.add_go(&own, &texts, &mut frames)?;
        self.add_stubs(&own, &texts, limit, &mut frames)?;
        self.add_starts(start_of, &texts, limit, &mut frames)?;
        // Mangled ones go away with the question.
        let readable = Readable::within(self.names_bytes);
        let names = |frames: Vec<DebugFrame>| {
            let names: Option<Names> = frames.into_iter().filter_map(|frame| readable.name(frame)).collect();
            // Nothing is known of an address whose names there was no room for.
            names.filter(|names| !names.is_empty() || !texts.refused())
        };
        let names = frames.into_iter().map(names).collect();
        Ok(FileAnswer { addresses: self.addresses, names, cut })
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

    /// Functions by a file's symbol tables, where there is no name yet.
    fn add_symbols<F: Bytes + ?Sized>(
        &self,
        file: &F,
        start_of: impl FnMut(u64) -> io::Result<Option<u64>>,
        texts: &Texts,
        limit: CpuLimit,
        frames: &mut [Vec<DebugFrame>],
    ) -> io::Result<()> {
        let (wanting, addresses) = self.wanting(frames);
        if wanting.is_empty() {
            return Ok(());
        }
        let found = function_names(file, &addresses, start_of, texts, limit)?;
        for (at, name) in wanting.into_iter().zip(found) {
            if let Some(name) = name {
                set_name(&mut frames[at], name);
            }
        }
        Ok(())
    }

    /// The same by Go's own table, which stripping leaves in.
    fn add_go(&self, file: &File, texts: &Texts, frames: &mut [Vec<DebugFrame>]) -> io::Result<()> {
        let (wanting, addresses) = self.wanting(frames);
        if wanting.is_empty() {
            return Ok(());
        }
        let Some(functions) = GoFunctions::find(file)? else { return Ok(()) };
        let mut pieces = Pieces::of(file);
        for (at, address) in wanting.into_iter().zip(addresses) {
            let function = functions.name_at(&mut pieces, address)?;
            if let Some(function) = function.and_then(|function| texts.one(&shortened(&function))) {
                set_name(&mut frames[at], function);
            }
        }
        Ok(())
    }

    /// Stubs that lead to functions of other files.
    fn add_stubs(
        &self,
        file: &File,
        texts: &Texts,
        limit: CpuLimit,
        frames: &mut [Vec<DebugFrame>],
    ) -> io::Result<()> {
        let (wanting, addresses) = self.wanting(frames);
        if wanting.is_empty() {
            return Ok(());
        }
        for (at, name) in wanting.into_iter().zip(stub_names(file, &addresses, limit)?) {
            if let Some(name) = name.and_then(|name| texts.one(&shortened(&name))) {
                set_name(&mut frames[at], name);
            }
        }
        Ok(())
    }

    /// Functions without a name, by where they begin: all addresses of one are of one function.
    fn add_starts(
        &self,
        start_of: impl Fn(u64) -> io::Result<Option<u64>>,
        texts: &Texts,
        limit: CpuLimit,
        frames: &mut [Vec<DebugFrame>],
    ) -> io::Result<()> {
        let (wanting, addresses) = self.wanting(frames);
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        for (at, address) in wanting.into_iter().zip(addresses) {
            if limit.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let Some(start) = start_of(address)? else { continue };
            if let Some(name) = texts.one(&format!("{name}+{start:#x}")) {
                set_name(&mut frames[at], name);
            }
        }
        Ok(())
    }

    /// Numbers of the addresses without a name, and those addresses.
    fn wanting(&self, frames: &[Vec<DebugFrame>]) -> (Vec<usize>, Vec<u64>) {
        let nameless = |at: &usize| frames[*at].last().is_none_or(|frame| frame.function.is_none());
        (0..frames.len()).filter(nameless).map(|at| (at, self.addresses[at])).unzip()
    }
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
