//! Names of functions, off the hot path: addresses in, names out.

use crate::process::{Executable, FileAddress, Frame};
use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolized, Symbolizer as Blazesym};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

/// A function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// Readable name (demangled).
    pub function: String,
    /// Source file; empty if unknown.
    pub file: String,
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// What is at an address: the innermost inlined function first, the function it was compiled into last.
/// Empty if nothing is known.
pub type Names = Arc<[Name]>;

/// How names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether kernel addresses can be named (`/proc/kallsyms` shows addresses).
    pub kernel: bool,
    /// Whether debug information is consulted for inlined functions and lines.
    pub inlined: bool,
    /// Addresses remembered.
    pub max_cached: usize,
}

/// Looks up names, and remembers them.
#[derive(Debug)]
pub struct Symbolizer {
    options: Options,
    /// Lives as long as we do: the kernel's symbols are read once.
    kernel: Blazesym,
    known: HashMap<Place, Names>,
}

/// What a name is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Kernel(u64),
    File(u32, FileAddress),
}

impl Place {
    fn of(frame: &Frame) -> Option<Self> {
        match frame {
            Frame::Kernel(address) => Some(Self::Kernel(*address)),
            Frame::File(executable, address) => Some(Self::File(executable.id, *address)),
            Frame::Unknown(_) => None,
        }
    }
}

impl Symbolizer {
    /// Looks nothing up yet.
    pub fn new(options: Options) -> Self {
        let kernel = Blazesym::builder().enable_code_info(false).enable_inlined_fns(false).build();
        Self { options, kernel, known: HashMap::new() }
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
        if self.known.len() > self.options.max_cached {
            let used: HashSet<_> = frames.iter().filter_map(Place::of).collect();
            self.known.retain(|place, _| used.contains(place));
        }
        names
    }

    fn look_up_new(&mut self, frames: &[Frame]) {
        let mut kernel = Vec::new();
        let mut files = BTreeMap::<u32, (Arc<Executable>, Vec<u64>)>::new();
        for frame in frames {
            match frame {
                Frame::Kernel(address) if !self.known.contains_key(&Place::Kernel(*address)) => {
                    kernel.push(*address)
                }
                Frame::File(executable, address)
                    if !self.known.contains_key(&Place::File(executable.id, *address)) =>
                {
                    let entry =
                        files.entry(executable.id).or_insert_with(|| (Arc::clone(executable), Vec::new()));
                    entry.1.push(address.0);
                }
                _ => {}
            }
        }
        self.look_up_kernel(&kernel);
        // Anew each time: it maps the files, and must not keep them busy longer than this.
        let debug = self.options.inlined;
        let symbolizer = Blazesym::builder().enable_code_info(debug).enable_inlined_fns(debug).build();
        for (executable, addresses) in files.into_values() {
            let names = self.look_up_file(&symbolizer, &executable, &addresses);
            for (address, names) in addresses.into_iter().zip(names) {
                self.known.insert(Place::File(executable.id, FileAddress(address)), names);
            }
        }
    }

    fn look_up_kernel(&mut self, addresses: &[u64]) {
        if addresses.is_empty() || !self.options.kernel {
            return;
        }
        // kallsyms knows the running kernel and its modules; a vmlinux on disk may be another one.
        let source = Source::Kernel(Kernel {
            kallsyms: MaybeDefault::Default,
            vmlinux: MaybeDefault::None,
            kaslr_offset: Some(0),
            debug_syms: false,
            _non_exhaustive: (),
        });
        match self.kernel.symbolize(&source, Input::AbsAddr(addresses)) {
            Ok(found) => {
                for (address, symbol) in addresses.iter().zip(found) {
                    self.known.insert(Place::Kernel(*address), names_of(&symbol));
                }
            }
            Err(error) => tracing::warn!(%error, "kernel functions stay without names"),
        }
    }

    fn look_up_file(
        &mut self,
        symbolizer: &Blazesym,
        executable: &Executable,
        addresses: &[u64],
    ) -> Vec<Names> {
        let none = || vec![Names::from([]); addresses.len()];
        let Some(file) = executable.file() else { return none() };
        let mut source = Elf::new(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())));
        source.debug_syms = self.options.inlined;
        match symbolizer.symbolize(&Source::Elf(source), Input::VirtOffset(addresses)) {
            Ok(found) => found.iter().map(names_of).collect(),
            Err(error) => {
                tracing::debug!(path = executable.path, %error, "functions stay without names");
                none()
            }
        }
    }
}

fn names_of(symbol: &Symbolized<'_>) -> Names {
    let Symbolized::Sym(symbol) = symbol else { return Arc::new([]) };
    let inlined = symbol.inlined.iter().rev().map(|inner| name(&inner.name, inner.code_info.as_ref()));
    inlined.chain([name(&symbol.name, symbol.code_info.as_deref())]).collect()
}

fn name(function: &str, code: Option<&CodeInfo<'_>>) -> Name {
    Name {
        function: function.to_owned(),
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()).unwrap_or_default(),
        line: code.and_then(|code| code.line).unwrap_or(0),
        column: code.and_then(|code| code.column).map_or(0, u32::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Identity;
    use crate::process::{Executables, Mapped, own_vdso, parse_maps};

    const OPTIONS: Options = Options { kernel: false, inlined: false, max_cached: 100 };

    fn frame_of(address: u64) -> Frame {
        let maps = parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let map = maps.iter().find(|map| (map.start..map.end).contains(&address)).unwrap();
        let identity = Identity::Inode { major: map.major, minor: map.minor, inode: map.inode };
        let mapped = Mapped { path: map.path.clone(), identity };
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
}
