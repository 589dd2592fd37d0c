//! Names of functions, off the hot path: addresses in, names out.
//!
//! ```text
//! kernel   functions of the kernel, from kallsyms
//! symtab   functions of files, by symbol tables, for files of any size in the same memory
//! debug    inlined functions and lines, where debug information is not too large for the budget
//! names    what is known, each text once
//! ```

mod debug;
mod elf;
mod kernel;
mod names;
mod symtab;

pub use debug::bytes_read as debug_bytes_read;
pub use kernel::KernelSymbols;
pub use names::{Name, Names};
pub use symtab::function_names;

use crate::process::{Executable, FileAddress, Frame, GoFunctions, Pieces};
use names::{Known, Place};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

/// How names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether kernel addresses can be named (`/proc/kallsyms` shows addresses).
    pub kernel: bool,
    /// Whether debug information is consulted for inlined functions and lines.
    pub inlined: bool,
    /// Addresses remembered.
    pub max_cached: usize,
    /// What names may take.
    pub memory: Memory,
}

/// What names may take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Names of addresses, remembered from profile to profile.
    pub cached: usize,
    /// The kernel's functions.
    pub kernel: usize,
    /// Debug information of one file, while addresses are looked up in it.
    pub debug: u64,
}

/// What was given up, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolizeCounters {
    /// Files whose debug information is larger than the budget, so that their functions have names but no lines.
    pub files_without_lines: u64,
    /// Addresses whose names were forgotten because the budget was reached.
    pub names_evicted: u64,
}

/// Looks up names, and remembers them.
#[derive(Debug)]
pub struct Symbolizer {
    options: Options,
    /// Read once, when first wanted; empty where it cannot be read.
    kernel: Option<KernelSymbols>,
    known: Known,
    /// Executables whose debug information is too large, so that it is said once.
    without_lines: HashSet<u32>,
    counters: SymbolizeCounters,
}

impl Symbolizer {
    /// Looks nothing up yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            kernel: None,
            known: Known::default(),
            without_lines: HashSet::new(),
            counters: SymbolizeCounters::default(),
        }
    }

    /// What was given up so far.
    pub fn counters(&self) -> SymbolizeCounters {
        self.counters
    }

    /// The names of each frame, in order. Lets go of the files of the frames.
    pub fn names(&mut self, frames: &[Frame]) -> Vec<Names> {
        self.look_up_new(frames);
        for frame in frames {
            if let Frame::File(executable, _) = frame {
                executable.close();
            }
        }
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
            let symbols = self.kernel.get_or_insert_with(|| read_kernel(self.options.memory.kernel));
            for (place, address) in kernel {
                let name = symbols.at(address).map(|name| self.known.plain(name));
                self.known.insert(place, name.into_iter().collect());
            }
        }
        // One file after the other: what a file takes is given back before the next.
        for (executable, mut addresses) in files.into_values() {
            addresses.sort_unstable();
            addresses.dedup();
            let names = self.look_up_file(&executable, &addresses);
            for (address, names) in addresses.into_iter().zip(names) {
                self.known.insert(Place::File(executable.id, FileAddress(address)), names);
            }
        }
    }

    /// `addresses` are sorted.
    fn look_up_file(&mut self, executable: &Executable, addresses: &[u64]) -> Vec<Names> {
        let mut names = vec![Names::from([]); addresses.len()];
        let Some(file) = executable.file() else { return names };
        let debug = debug::file_of(executable, &file);
        if let Some((with_lines, bytes)) = &debug
            && self.options.inlined
        {
            if *bytes <= self.options.memory.debug {
                names = debug::look_up(with_lines, addresses, &mut self.known);
                crate::memory::give_back();
            } else {
                self.say_without_lines(executable, *bytes);
            }
        }
        let split = debug.filter(|(split, _)| !Arc::ptr_eq(split, &file)).map(|(split, _)| split);
        for file in std::iter::once(file).chain(split) {
            self.add_plain(executable, &file, addresses, &mut names);
        }
        names
    }

    /// Functions by a file's symbol tables, where there is no name yet.
    fn add_plain(&mut self, executable: &Executable, file: &File, addresses: &[u64], names: &mut [Names]) {
        let wanting: Vec<usize> = (0..names.len()).filter(|at| names[*at].is_empty()).collect();
        if wanting.is_empty() {
            return;
        }
        let unnamed: Vec<u64> = wanting.iter().map(|at| addresses[*at]).collect();
        match function_names(file, &unnamed) {
            Ok(found) => {
                for (at, name) in wanting.into_iter().zip(found) {
                    names[at] = name.map(|name| self.known.demangled(&name)).into_iter().collect();
                }
            }
            Err(error) => tracing::debug!(path = executable.path, %error, "functions stay without names"),
        }
        if names.iter().any(|names| names.is_empty())
            && let Some(functions) = GoFunctions::find(file)
        {
            self.add_go(&functions, file, addresses, names);
        }
    }

    /// The same by Go's own table, which stripping leaves in.
    fn add_go(&mut self, functions: &GoFunctions, file: &File, addresses: &[u64], names: &mut [Names]) {
        let mut pieces = Pieces::of(file);
        for (name, address) in names.iter_mut().zip(addresses).filter(|(name, _)| name.is_empty()) {
            // Of a file that cannot be read nothing was read before either.
            if let Ok(Some(function)) = functions.name_at(&mut pieces, *address) {
                *name = [self.known.plain(&function)].into();
            }
        }
    }

    fn say_without_lines(&mut self, executable: &Executable, bytes: u64) {
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
            bytes,
            "no lines and inlined functions: its debug information is larger than memory.max leaves room for"
        );
    }
}

fn read_kernel(max_bytes: usize) -> KernelSymbols {
    let read = File::open(kernel::KALLSYMS)
        .and_then(|text| KernelSymbols::read(BufReader::with_capacity(1 << 16, text), max_bytes));
    crate::memory::give_back();
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "kernel functions stay without names");
        KernelSymbols::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Identity;
    use crate::process::{Executables, Mapped, own_vdso, parse_maps};

    const MEMORY: Memory = Memory { cached: 1 << 20, kernel: 8 << 20, debug: 1 << 30 };
    const OPTIONS: Options = Options { kernel: false, inlined: false, max_cached: 100, memory: MEMORY };

    fn map_of(address: u64) -> crate::process::MapsLine {
        let maps = parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        maps.into_iter().find(|map| (map.start..map.end).contains(&address)).unwrap()
    }

    fn mapped_of(address: u64) -> Mapped {
        let map = map_of(address);
        let identity = Identity::Inode { major: map.major, minor: map.minor, inode: map.inode };
        Mapped { path: map.path, identity }
    }

    fn frame_of(address: u64) -> Frame {
        let (map, mapped) = (map_of(address), mapped_of(address));
        let executable = Executables::new(9).get(&mapped, std::process::id(), map.start, map.end).unwrap();
        let address = executable.address_of(address - map.start + map.file_offset);
        Frame::File(executable, address)
    }

    #[test]
    fn names_a_function_of_libc() {
        let frame = frame_of(libc::getpid as *const () as u64);
        let names = Symbolizer::new(OPTIONS).names(std::slice::from_ref(&frame));
        assert!(names[0][0].function.contains("getpid"), "{names:?}");
        let Frame::File(executable, _) = frame else { panic!() };
        assert!(executable.file().is_none(), "the file is let go of");
    }

    #[test]
    fn names_a_function_of_the_vdso() {
        let (start, end) = own_vdso().unwrap();
        let frames: Vec<_> = (start..end).step_by(16).map(frame_of).collect();
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
            symbolizer.names(&[frame_of(function as u64)]);
            assert!(symbolizer.known.len() <= 2);
        }
    }

    #[test]
    fn remembers_no_more_bytes_than_its_budget() {
        let memory = Memory { cached: 1, ..MEMORY };
        let mut symbolizer = Symbolizer::new(Options { memory, ..OPTIONS });
        let names = symbolizer.names(&[frame_of(libc::getpid as *const () as u64)]);
        assert!(names[0][0].function.contains("getpid"));
        assert_eq!((symbolizer.known.len(), symbolizer.counters().names_evicted), (0, 1));
    }

    #[test]
    fn names_a_function_of_a_file_whose_debug_information_is_too_large() {
        let own = frame_of(Symbolizer::new as *const () as u64);
        let of = |debug| {
            let memory = Memory { debug, ..MEMORY };
            let mut symbolizer = Symbolizer::new(Options { inlined: true, memory, ..OPTIONS });
            let Frame::File(executable, address) = &own else { panic!() };
            Executables::reopen(
                executable,
                &mapped_of(Symbolizer::new as *const () as u64),
                std::process::id(),
                0,
                1,
            );
            let names = symbolizer.names(&[Frame::File(Arc::clone(executable), *address)]);
            (names[0].last().unwrap().clone(), symbolizer.counters().files_without_lines)
        };
        let ((with, none), (without, one)) = (of(1 << 40), of(1));
        assert!(with.line > 0 && with.function.contains("Symbolizer"), "{with:?}");
        assert!(without.line == 0 && without.function.contains("Symbolizer"), "{without:?}");
        assert_eq!((none, one), (0, 1));
    }
}
