//! Inlined functions and lines, from debug information (DWARF 2 to 5), read piece by piece.
//!
//! ```text
//! load      which sections there are; compressed ones are unpacked, as far as memory allows
//! section   their bytes, page by page from the file, for gimli
//! work      how much may be done
//! unit      which unit an address belongs to
//! function  its functions there, and their names
//! line      its lines there, and paths of files
//! ```

mod function;
mod line;
mod load;
mod section;
mod unit;
mod work;

pub(super) use load::has_debug_information;

use super::elf::Bytes;
use super::limit::CpuLimit;
use super::texts::Texts;
use function::FunctionNames;
use line::Files;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use unit::Units;
use work::Work;

/// Readings for one file: a second of a slow CPU.
const READINGS_MAX: u64 = 1 << 26;
/// Functions at the addresses of one file, inlined ones counted.
const FRAMES_MAX: usize = 1 << 17;

/// A function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFrame {
    /// Name, as mangled as in the file; `None` if only the line is known.
    pub function: Option<Arc<str>>,
    /// Source file, if it is known.
    pub file: Option<Arc<str>>,
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// Functions by debug information.
#[derive(Debug, Default)]
pub struct Found {
    /// For each address its functions, the innermost first; empty where nothing is said.
    pub frames: Vec<Vec<DebugFrame>>,
    /// Set if something was left out: it takes more memory or more time than it may.
    pub cut: bool,
    /// Set if part of what there is to say lies in other files, which are not read: `.dwo` and `.dwp` (DWARF 5, 7.3.2), or what
    /// dwz has put in common.
    pub split: bool,
}

/// Looks addresses up, which are sorted, each once, and stated as in the file. Compressed sections may take `budget`
/// bytes, and names what `texts` has room for. What is not understood is like what is not there. An error says that the file cannot be read, or not in time.
pub fn look_up(
    file: &dyn Bytes,
    addresses: &[u64],
    budget: u64,
    texts: &Texts,
    limit: CpuLimit,
) -> io::Result<Found> {
    look_up_within(file, addresses, budget, texts, &Work::new(READINGS_MAX, limit))
}

fn look_up_within(
    file: &dyn Bytes,
    addresses: &[u64],
    budget: u64,
    texts: &Texts,
    work: &Work,
) -> io::Result<Found> {
    let loaded = load::load(file, budget, work)?;
    let none = section::SectionBytes::in_memory(Vec::new(), work);
    let dwarf = gimli::Dwarf::load(|id| {
        let loaded = loaded.sections.iter().find(|(it, _)| *it == id);
        Ok::<_, gimli::Error>(loaded.map_or(&none, |(_, bytes)| bytes).reader())
    });
    let mut found = Found {
        frames: vec![Vec::new(); addresses.len()],
        cut: loaded.too_large,
        split: loaded.has_supplement,
    };
    if let Ok(dwarf) = dwarf {
        let units = Units { dwarf, work, texts, addresses };
        let names = FunctionNames::new(&units);
        let mut left = FRAMES_MAX;
        for (place, numbers) in units.owners() {
            match of_unit(&units, &names, place, &numbers, &mut left, &mut found.frames) {
                Ok(is_split) => found.split |= is_split,
                Err(error) => tracing::debug!(%error, place, "debug information is not understood"),
            }
        }
        found.cut |= left == 0;
    }
    found.cut |= work.is_cut();
    work.take_failure().map_or(Ok(found), Err)
}

/// Adds what a unit says of addresses. Returns whether it is a skeleton, whose functions are in another file.
fn of_unit<'s>(
    units: &Units<'s>,
    names: &FunctionNames<'_, 's>,
    place: usize,
    numbers: &[usize],
    left: &mut usize,
    frames: &mut [Vec<DebugFrame>],
) -> gimli::Result<bool> {
    let mut unit = units.unit_at(place)?;
    let is_split = unit.dwo_name()?.is_some();
    let mut program = unit.line_program.take();
    let (lines, of_lines) = match &mut program {
        Some(program) => units.lines(program, numbers),
        None => (HashMap::new(), Ok(())),
    };
    let (functions, of_functions) = units.functions(&unit, numbers);
    let mut files = Files::new(units, &unit, program.as_ref().map(|program| program.header()));
    for number in numbers {
        // Where the frame is that comes next, from the innermost outwards.
        let line = lines.get(number).copied();
        let (mut file, mut line, mut column) =
            line.map_or((None, 0, 0), |it| (Some(it.file), it.line, it.column));
        let functions = functions.get(number).map_or(&[][..], Vec::as_slice);
        let mut frame = |function, file: Option<u64>, line, column| {
            *left = left.checked_sub(1)?;
            let file = file.and_then(|file| files.path(file));
            Some(DebugFrame { function, file, line, column })
        };
        if functions.is_empty() && line > 0 {
            frames[*number].extend(frame(None, file, line, column));
        }
        for function in functions.iter().rev() {
            frames[*number].extend(frame(names.of(&unit, function.entry), file, line, column));
            (file, line, column) = (function.call.file, function.call.line, function.call.column);
        }
    }
    of_lines.and(of_functions).map(|()| is_split)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    fn look_up(file: &dyn Bytes, addresses: &[u64], budget: u64, limit: CpuLimit) -> io::Result<Found> {
        super::look_up(file, addresses, budget, &Texts::within(1 << 24), limit)
    }

    fn later() -> CpuLimit {
        CpuLimit::after(Duration::from_secs(600))
    }

    /// This program, and addresses all over its code.
    fn own() -> (File, Vec<u64>) {
        let file = File::open("/proc/self/exe").unwrap();
        let segments = crate::process::segments(&object::read::ReadCache::new(&file)).unwrap();
        let code = segments.iter().max_by_key(|segment| segment.file_bytes).unwrap();
        let step = usize::try_from(code.file_bytes / 200).unwrap().max(1);
        let addresses = (code.address..code.address + code.file_bytes).step_by(step).collect();
        (file, addresses)
    }

    #[test]
    fn finds_lines_and_inlined_functions_all_over_this_program() {
        let (file, addresses) = own();
        let found = look_up(&file, &addresses, 0, later()).unwrap();
        let lines = found.frames.iter().filter(|frames| frames.iter().any(|frame| frame.line > 0)).count();
        let inlined = found.frames.iter().filter(|frames| frames.len() > 1).count();
        assert!(lines > addresses.len() / 4 && inlined > 5 && !found.cut, "{lines} {inlined} {}", found.cut);
    }

    #[test]
    fn work_that_is_used_up_leaves_what_was_found_and_says_so() {
        let (file, addresses) = own();
        let found =
            look_up_within(&file, &addresses, 0, &Texts::within(1 << 24), &Work::new(20_000, later()))
                .unwrap();
        assert!(found.cut && found.frames.len() == addresses.len());
    }

    #[test]
    fn time_that_is_over_is_no_answer() {
        let (file, addresses) = own();
        let error = look_up(&file, &addresses, 0, CpuLimit::after(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_that_is_truncated_meanwhile_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let (own, addresses) = own();
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let path = folder.path().join("copy");
        std::fs::write(&path, &whole).unwrap();
        let looked_at = File::open(&path).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::options().write(true).open(&path).unwrap();
                while !done.load(Ordering::Relaxed) {
                    file.set_len(whole.len() as u64 / 3).unwrap();
                    file.set_len(whole.len() as u64).unwrap();
                }
            });
            for _ in 0..5 {
                let found = look_up(&looked_at, &addresses, 0, later());
                assert!(found.is_ok_and(|found| found.frames.len() == addresses.len()));
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(own);
    }

    /// A file with one compressed section of debug information, whose header says `says` bytes.
    fn compressed(bytes: &[u8], says: u64) -> Vec<u8> {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        let mut section = [1_u64.to_le_bytes(), says.to_le_bytes(), 1_u64.to_le_bytes()].concat();
        section.extend(packed.finish().unwrap());
        let names = b"\0.debug_info\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        (file[58], file[60], file[62]) = (64, 3, 2);
        let mut at = 64 * 4;
        for (name, flags, length) in [(0, 0, 0), (1_u32, 0x800_u64, section.len()), (0, 0, names.len())] {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4] = 1;
            header[8..16].copy_from_slice(&flags.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            at += length;
            file.extend(header);
        }
        [file, section, names.to_vec()].concat()
    }

    #[test]
    fn a_compressed_section_takes_no_more_than_its_budget_whatever_it_says() {
        let zeros = vec![0; 8 << 20];
        for says in [1, 8 << 20, u64::MAX] {
            let file = compressed(&zeros, says);
            assert!(look_up(&file.as_slice(), &[1], 1 << 20, later()).unwrap().cut, "{says}");
        }
        assert!(!look_up(&compressed(&zeros[..100], 100).as_slice(), &[1], 1 << 20, later()).unwrap().cut);
    }
}
