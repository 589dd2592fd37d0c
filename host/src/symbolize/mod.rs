//! Names of functions, off the hot path: addresses in, names out.
//!
//! ```text
//! kernel   functions of the kernel, from kallsyms
//! kernel_code  code that it got since, from its events
//! interrupted  addresses at which the kernel itself was interrupted
//! symtab   functions of files, by symbol tables, for files of any size in the same memory
//! plt      stubs that lead to functions of other files
//! debug    inlined functions and lines, from debug information of any size in the same memory
//! split    files into which debug information was split off
//! file     all of these for one file, as a job that owns what it needs
//! compressed  sections that are packed
//! limit    CPU time that one file may take
//! demangle readable names of mangled ones, within limits
//! texts    texts of one look-up, each once and within a budget
//! names    what is known, each text once
//! retry    when to look again at files that could not be looked at
//! ```

mod compressed;
mod debug;
mod demangle;
mod elf;
mod file;
mod interrupted;
mod kernel;
mod kernel_code;
mod limit;
mod names;
mod plt;
mod retry;
mod split;
mod symtab;
mod texts;

pub(crate) use compressed::unpack;
pub use debug::{DebugFrame, Found as DebugFound, look_up as look_up_debug};
pub use demangle::readable as readable_name;
pub use elf::Bytes;
pub use interrupted::correct_interrupted;
pub use kernel::{KernelSymbols, read_kernel_symbols};
pub use kernel_code::KernelCode;
pub use limit::CpuLimit;
pub use names::{Name, Names};
pub use plt::stub_names;
pub use symtab::function_names;
pub use texts::Texts;

use crate::blocking::{Backoff, Worker};
use crate::bpf::monotonic_ns;
use crate::process::{Executable, FileAddress, Frame};
use file::{FileAnswer, FileQuestion};
use limit::cpu_time;
use names::{Known, Place};
use retry::Retries;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looking at the files of one profile may take so much CPU time; what is left then is looked at for the next profile.
const PROFILE_TIME: Duration = Duration::from_secs(10);
/// Looking at one file may wait so long for a file system while it wants no CPU.
const FILE_WAIT: Duration = Duration::from_secs(2);

/// After so many failures of a file debug information may be what is in the way.
const WITH_LINES: u32 = 2;

/// The options for looking up names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// True if kernel addresses can be named (`/proc/kallsyms` shows addresses).
    pub kernel: bool,
    /// True if debug information is consulted for inlined functions and lines.
    pub inlined: bool,
    /// Addresses remembered.
    pub max_cached: usize,
    /// The memory that names may take.
    pub memory: Memory,
}

/// The memory that names may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Names of addresses, remembered from profile to profile.
    pub cached: usize,
    /// The kernel's functions.
    pub kernel: usize,
    /// Compressed debug information of one file, while addresses are looked up in it.
    pub debug: u64,
}

/// Eviction counters, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolizeCounters {
    /// Files of whose debug information something was left out, because it takes more memory or work than it may: some of
    /// their functions have names but no lines.
    pub files_without_lines: u64,
    /// Files of whose debug information a part is in other files that are not read: `.dwo`, `.dwp`, and what dwz put in common.
    pub files_split: u64,
    /// Addresses, counted in each profile, that have no names in it because their file could not be looked at: it was not
    /// at hand, could not be read, or took too long. It is tried again.
    pub addresses_not_looked_up: u64,
    /// Functions of the kernel that have no names because the budget was reached.
    pub kernel_functions_left_out: u64,
    /// Addresses whose names were forgotten because the budget was reached.
    pub names_evicted: u64,
}

impl std::ops::AddAssign for SymbolizeCounters {
    fn add_assign(&mut self, other: Self) {
        self.files_without_lines += other.files_without_lines;
        self.files_split = self.files_split.max(other.files_split);
        self.addresses_not_looked_up += other.addresses_not_looked_up;
        // Each has read the same ones.
        self.kernel_functions_left_out = self.kernel_functions_left_out.max(other.kernel_functions_left_out);
        self.names_evicted += other.names_evicted;
    }
}

/// Looks up names, and remembers them.
#[derive(Debug)]
pub struct Symbolizer {
    options: Options,
    /// Read when first wanted.
    kernel: Option<KernelSymbols>,
    /// When it is tried again to read that.
    kernel_retry: Backoff,
    /// The modules when it was read.
    modules: Vec<u8>,
    /// Code that came since then.
    kernel_code: Arc<KernelCode>,
    known: Known,
    /// Looks at files, whose file systems may not answer.
    worker: Worker,
    /// Executables that could not be looked at.
    retries: Retries,
    /// Executables whose debug information is too large, so that it is said once.
    without_lines: HashSet<u32>,
    /// Executables with debug information in other files, so that each is counted once.
    split: HashSet<u32>,
    /// Names of some of them.
    split_names: Vec<Arc<str>>,
    counters: SymbolizeCounters,
}

impl Symbolizer {
    /// Looks nothing up yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            kernel: None,
            kernel_retry: Backoff::default(),
            modules: Vec::new(),
            kernel_code: Arc::default(),
            known: Known::default(),
            worker: Worker::new("names", FILE_WAIT),
            retries: Retries::default(),
            without_lines: HashSet::new(),
            split: HashSet::new(),
            split_names: Vec::new(),
            counters: SymbolizeCounters::default(),
        }
    }

    /// Returns the eviction counters so far.
    pub fn counters(&self) -> SymbolizeCounters {
        self.counters
    }

    /// Names of some of the files of whose debug information a part was split off.
    pub fn split_names(&self) -> &[Arc<str>] {
        &self.split_names
    }

    /// Takes in what code the kernel got so far; call this before the names of frames that were sampled with it.
    pub fn take_kernel_code(&mut self, code: &Arc<KernelCode>) {
        if code.count() != self.kernel_code.count() {
            self.known.forget_kernel();
        }
        self.kernel_code = Arc::clone(code);
    }

    /// The names of each frame, in order.
    pub fn names(&mut self, frames: &[Frame]) -> Vec<Names> {
        self.check_modules(frames);
        self.look_up_new(frames);
        let none: Names = Arc::new([]);
        let name = |frame| Place::of(frame).and_then(|place| self.known.get(&place)).unwrap_or(&none).clone();
        let names = frames.iter().map(name).collect();
        if self.known.len() > self.options.max_cached || self.known.bytes() > self.options.memory.cached {
            let used: HashSet<_> = frames.iter().filter_map(Place::of).collect();
            self.counters.names_evicted += self.known.keep(&used);
            // Even those of one profile alone may be too many.
            if self.known.len() > self.options.max_cached || self.known.bytes() > self.options.memory.cached {
                self.counters.names_evicted += self.known.keep(&HashSet::new());
            }
        }
        names
    }

    fn look_up_new(&mut self, frames: &[Frame]) {
        let mut kernel = Vec::new();
        let mut files = BTreeMap::<u32, (Arc<Executable>, Vec<u64>)>::new();
        for frame in frames {
            let Some(place) = Place::of(frame).filter(|place| self.known.get(place).is_none()) else {
                continue;
            };
            match frame {
                Frame::Kernel(address) => kernel.push((place, *address)),
                Frame::File(executable, address) => {
                    let entry =
                        files.entry(executable.id).or_insert_with(|| (Arc::clone(executable), Vec::new()));
                    entry.1.push(address.0);
                }
                Frame::Unknown(_) => {}
            }
        }
        if !kernel.is_empty() && self.options.kernel {
            self.look_up_kernel(kernel);
        }
        // One file after the other: what a file takes is given back before the next. Those that failed come last.
        let mut files: Vec<_> = files.into_values().collect();
        files.sort_by_key(|(executable, _)| self.retries.failures_of(executable.id));
        let mut left = PROFILE_TIME;
        for (executable, addresses) in files {
            let used = self.look_up_file(&executable, addresses, left);
            left = left.saturating_sub(used);
        }
    }

    /// Forgets the kernel's functions if other modules are loaded than when they were read, and any of these frames may be of one.
    fn check_modules(&mut self, frames: &[Frame]) {
        let Some(symbols) = &self.kernel else { return };
        let is_moving = |frame: &Frame| matches!(frame, Frame::Kernel(address) if !symbols.is_core(*address));
        if frames.iter().any(is_moving) && loaded_modules() != self.modules {
            self.kernel = None;
            self.known.forget_kernel();
        }
    }

    fn look_up_kernel(&mut self, wanted: Vec<(Place, u64)>) {
        let now_ns = monotonic_ns();
        if self.kernel.is_none() && self.kernel_retry.is_due(now_ns) {
            match read_kernel(self.options.memory.kernel) {
                Ok(symbols) => {
                    self.modules = loaded_modules();
                    self.kernel = Some(symbols);
                }
                Err(error) => {
                    self.kernel_retry.fail(now_ns);
                    tracing::warn!(%error, "kernel functions stay without names for now");
                }
            }
        }
        let Some(symbols) = &self.kernel else {
            self.counters.addresses_not_looked_up += wanted.len() as u64;
            return;
        };
        self.counters.kernel_functions_left_out = symbols.left_out();
        for (place, address) in wanted {
            let name = match self.kernel_code.name_at(address) {
                Some(name) => Some(self.known.plain(name)),
                None => symbols.at(address).map(|name| self.known.plain(&String::from_utf8_lossy(name))),
            };
            self.known.insert(place, name.into_iter().collect());
        }
    }

    /// Remembers what is at addresses of a file, if it can be looked at within this CPU time, and returns what it took. If
    /// not, that is not an answer: it is tried again.
    fn look_up_file(&mut self, executable: &Executable, mut addresses: Vec<u64>, time: Duration) -> Duration {
        addresses.sort_unstable();
        addresses.dedup();
        let count = addresses.len() as u64;
        if time.is_zero() || self.known.bytes() > self.options.memory.cached.saturating_mul(2) {
            self.counters.addresses_not_looked_up += count;
            return Duration::ZERO;
        }
        let Some(failures) = self.retries.turn_of(executable.id) else {
            self.counters.addresses_not_looked_up += count;
            return Duration::ZERO;
        };
        let lines = self.options.inlined && failures < WITH_LINES;
        let asked = Instant::now();
        let (answer, used) = match self.ask(executable, addresses, lines, time) {
            Ok((answer, used)) => (answer, used),
            Err(error) => (Err(error), asked.elapsed()),
        };
        match answer {
            Ok(answer) => {
                self.retries.succeeded(executable.id);
                // Lines that were not asked for are left out, too.
                if answer.cut || lines != self.options.inlined {
                    self.say_without_lines(executable);
                }
                if answer.split {
                    self.note_split(executable);
                }
                for (address, names) in answer.addresses.into_iter().zip(answer.names) {
                    let Some(names) = names else {
                        self.counters.addresses_not_looked_up += 1;
                        continue;
                    };
                    let names = names.iter().map(|name| self.known.name(name)).collect();
                    self.known.insert(Place::File(executable.id, FileAddress(address)), names);
                }
            }
            Err(error) => {
                // That a file system does not answer says nothing of the file.
                if used >= time / 2 || error.kind() == io::ErrorKind::InvalidData {
                    self.retries.failed(executable.id);
                } else {
                    self.retries.waits(executable.id);
                }
                self.counters.addresses_not_looked_up += count;
                tracing::warn!(path = executable.path, %error, "functions stay without names for now");
            }
        }
        crate::memory::give_back();
        used
    }

    /// Asks for the names of addresses; returns them or why there are none, and the CPU time that it took.
    fn ask(
        &mut self,
        executable: &Executable,
        addresses: Vec<u64>,
        lines: bool,
        time: Duration,
    ) -> io::Result<(io::Result<FileAnswer>, Duration)> {
        /// Room for the names of a few functions there is always.
        const NAMES_LEAST: usize = 64 << 10;
        let Some(file) = executable.unchanged_file() else {
            // That there is one which was written over is not an answer of its file system.
            return Err(match executable.file() {
                Some(_) => io::Error::new(io::ErrorKind::InvalidData, "the file was written over since"),
                None => io::Error::other("the file is not at hand"),
            });
        };
        let waits_for = file.waits_for();
        let question = FileQuestion {
            file,
            path: executable.path.clone(),
            task: executable.seen_in(),
            build_id: executable.build_id.clone(),
            addresses,
            lines,
            debug_bytes: self.options.memory.debug,
            // Mangled and readable ones, each so much, in the place of debug information in memory.
            names_bytes: usize::try_from(self.options.memory.debug / 2)
                .unwrap_or(usize::MAX)
                .max(NAMES_LEAST),
            time,
        };
        let timed = move || {
            let began = cpu_time();
            (question.answer(), cpu_time().saturating_sub(began))
        };
        self.worker.run(waits_for, timed).map_err(io::Error::other)
    }

    fn note_split(&mut self, executable: &Executable) {
        const NOTED_MAX: usize = 4096;
        const NAMES_MAX: usize = 3;
        if self.split.len() >= NOTED_MAX || !self.split.insert(executable.id) {
            return;
        }
        self.counters.files_split += 1;
        tracing::debug!(
            path = executable.path,
            "a part of its debug information is in other files (.dwo, .dwp, dwz)"
        );
        let name = executable.name();
        if self.split_names.len() < NAMES_MAX && self.split_names.iter().all(|known| **known != *name) {
            self.split_names.push(name.into());
        }
    }

    fn say_without_lines(&mut self, executable: &Executable) {
        const SAID_MAX: usize = 4096;
        if self.without_lines.len() >= SAID_MAX {
            self.without_lines.clear();
        }
        if !self.without_lines.insert(executable.id) {
            return;
        }
        self.counters.files_without_lines += 1;
        tracing::debug!(
            path = executable.path,
            "some lines and inlined functions are left out: its debug information takes more memory or work than it may"
        );
    }
}

fn read_kernel(max_bytes: usize) -> io::Result<KernelSymbols> {
    let read = read_kernel_symbols(max_bytes);
    crate::memory::give_back();
    let symbols = read?;
    if symbols.left_out() > 0 {
        tracing::warn!(
            left_out = symbols.left_out(),
            "functions of the kernel have no names: they take more than memory.max leaves room for; to change that: \
             raise memory.max"
        );
    }
    Ok(symbols)
}

/// Lists the modules that are loaded, and where, as far as they can be seen; but not how often each is used, which changes.
fn loaded_modules() -> Vec<u8> {
    // {name, bytes, uses, users, state, address} (kernel/module/procfs.c, m_show)
    let text = std::fs::read("/proc/modules").unwrap_or_default();
    let fields = text.split(|byte| *byte == b'\n').flat_map(|line| {
        let fields = line.split(|byte| *byte == b' ').enumerate();
        fields.filter(|(number, _)| matches!(number, 0 | 1 | 5)).map(|(_, field)| field)
    });
    fields.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Identity;
    use crate::process::{Executables, Mapped, MappedAt, own_vdso, parse_maps};

    const MEMORY: Memory = Memory { cached: 1 << 20, kernel: 8 << 20, debug: 1 << 30 };
    const OPTIONS: Options = Options { kernel: false, inlined: false, max_cached: 100, memory: MEMORY };

    fn map_of(address: u64) -> crate::process::MapsLine {
        let maps = parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        maps.into_iter().find(|map| (map.start..map.end).contains(&address)).unwrap()
    }

    fn mapped_of(address: u64) -> Mapped {
        let map = map_of(address);
        let identity = Identity { major: map.major, minor: map.minor, inode: map.inode };
        Mapped { path: map.path, identity }
    }

    /// A frame, and who owns its file.
    fn frame_of(address: u64) -> (Frame, Executables) {
        let (map, mapped) = (map_of(address), mapped_of(address));
        let (pid, mut executables) = (std::process::id(), Executables::new(9));
        let at = MappedAt { pid, tid: pid, start: map.start, end: map.end };
        let executable = executables.get(&mapped, at, 0).unwrap();
        let address = executable.address_of(&map.file_range(), address - map.start + map.file_offset);
        (Frame::File(executable, address), executables)
    }

    #[test]
    fn names_a_function_of_libc() {
        let (frame, _files) = frame_of(libc::getpid as *const () as u64);
        let names = Symbolizer::new(OPTIONS).names(std::slice::from_ref(&frame));
        assert!(names[0][0].function.contains("getpid"), "{names:?}");
    }

    #[test]
    fn a_file_that_is_not_at_hand_is_looked_at_later() {
        let (frame, mut files) = frame_of(libc::getpid as *const () as u64);
        files.release_files();
        let mut symbolizer = Symbolizer::new(OPTIONS);
        assert!(symbolizer.names(std::slice::from_ref(&frame))[0].is_empty());
        assert_eq!(symbolizer.counters().addresses_not_looked_up, 1);
        let (pid, map) = (std::process::id(), map_of(libc::getpid as *const () as u64));
        let at = MappedAt { pid, tid: pid, start: map.start, end: map.end };
        files.get(&mapped_of(libc::getpid as *const () as u64), at, 0).unwrap();
        assert!(symbolizer.names(&[frame])[0][0].function.contains("getpid"));
    }

    #[test]
    fn names_a_function_of_the_vdso() {
        let (start, end) = own_vdso().unwrap().unwrap();
        let (frames, _files): (Vec<_>, Vec<_>) = (start..end).step_by(16).map(frame_of).unzip();
        let names = Symbolizer::new(OPTIONS).names(&frames);
        assert!(
            names.iter().flat_map(|names| names.iter()).any(|name| name.function.contains("clock_gettime"))
        );
    }

    #[test]
    fn remembers_no_more_than_its_budget() {
        let libc = [libc::getpid as *const (), libc::getppid as *const (), libc::getuid as *const ()];
        let mut symbolizer = Symbolizer::new(Options { max_cached: 2, ..OPTIONS });
        for function in libc {
            let (frame, _files) = frame_of(function as u64);
            symbolizer.names(&[frame]);
            assert!(symbolizer.known.len() <= 2);
        }
    }

    #[test]
    fn remembers_no_more_bytes_than_its_budget() {
        let memory = Memory { cached: 1, ..MEMORY };
        let mut symbolizer = Symbolizer::new(Options { memory, ..OPTIONS });
        let (frame, _files) = frame_of(libc::getpid as *const () as u64);
        let names = symbolizer.names(&[frame]);
        assert!(names[0][0].function.contains("getpid"));
        assert_eq!((symbolizer.known.len(), symbolizer.counters().names_evicted), (0, 1));
    }

    #[test]
    fn names_functions_with_lines_in_any_budget() {
        let (own, _files) = frame_of(Symbolizer::new as *const () as u64);
        for debug in [1 << 40, 1] {
            let memory = Memory { debug, ..MEMORY };
            let mut symbolizer = Symbolizer::new(Options { inlined: true, memory, ..OPTIONS });
            let names = symbolizer.names(std::slice::from_ref(&own));
            let name = names[0].last().unwrap();
            assert!(name.function.contains("Symbolizer") && name.line > 0, "{name:?}");
            assert!(name.file.ends_with("symbolize/mod.rs"), "{name:?}");
            assert_eq!(symbolizer.counters(), SymbolizeCounters::default());
        }
    }
}
