//! The place of an executable's call frame information, and a reader of just that of a page.

use super::bare::{self, KnownCode};
use super::cfi::{FunctionRows, Row};
use super::go;
use super::index::{Index, Load, Loads, SectionKind};
use super::instruction::is_padding;
use super::rule::{Architecture, Rule};
use super::scan;
use crate::process::{GoFunctions, Headers, Pieces, WatchedFile};
use gimli::UnwindContext;
use object::LittleEndian as Little;
use object::elf::{DT_FINI, DT_INIT, FileHeader64, PT_GNU_EH_FRAME, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use stacksonde_ebpf::tables::PAGE_BITS;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Between functions that are aligned lie so many bytes at most, which are never run.
const PADDING_MAX: usize = 15;

/// The call frame information of one executable.
#[derive(Debug)]
pub struct CallFrames {
    loads: Loads,
    index: Option<Index>,
    /// `.debug_frame`, which may know code that `index` does not.
    debug: Option<Index>,
    go: Option<GoFunctions>,
    architecture: Architecture,
    known: KnownCode,
}

impl CallFrames {
    /// Looks for it, and for what else tells how code is left; `None` if nothing does. An error if the file cannot be read.
    pub fn find(file: &File) -> io::Result<Option<Self>> {
        let watched = WatchedFile::new(file);
        let found = Self::find_in(&watched, file);
        watched.judge(found)
    }

    fn find_in(watched: &WatchedFile<'_>, file: &File) -> Option<Self> {
        let cache = Headers::of(watched);
        let header = FileHeader64::<Little>::parse(&cache).ok()?;
        let architecture = match header.e_machine(Little) {
            object::elf::EM_X86_64 => Architecture::X86_64,
            object::elf::EM_AARCH64 => Architecture::Aarch64,
            _ => return None,
        };
        let programs = header.program_headers(Little, &cache).ok()?;
        let loads = programs.iter().filter(|program| program.p_type(Little) == PT_LOAD);
        let loads = loads
            .map(|program| Load {
                address: program.p_vaddr(Little),
                file_offset: program.p_offset(Little),
                bytes: program.p_filesz(Little),
            })
            .collect();
        let loads = Loads(loads);
        let from_header =
            programs.iter().find(|program| program.p_type(Little) == PT_GNU_EH_FRAME).and_then(|program| {
                Index::of_header(watched, file, program.p_offset(Little), program.p_vaddr(Little))
            });
        let section = |name: &[u8]| {
            let sections = header.sections(Little, &cache).ok()?;
            let (_, section) = sections.section_by_name(Little, name)?;
            let start = section.sh_offset(Little);
            let is_packed = section.sh_flags(Little).contains(object::elf::SHF_COMPRESSED);
            let range = start..start.saturating_add(section.sh_size(Little));
            (section.sh_type(Little) != object::elf::SHT_NOBITS)
                .then(|| (range, section.sh_addr(Little), is_packed))
        };
        let own = |name: &[u8]| {
            let (range, address, is_packed) = section(name)?;
            let kind = match (name, is_packed) {
                (b".debug_frame", false) => SectionKind::Debug,
                (b".debug_frame", true) => SectionKind::DebugPacked,
                (_, false) => SectionKind::Loaded,
                (_, true) => return None,
            };
            Index::of_section(watched, file, range, address, kind)
        };
        let go = watched.note(GoFunctions::find(file)).ok()?;
        let index = from_header.or_else(|| own(b".eh_frame"));
        let debug = if go.is_none() { own(b".debug_frame") } else { None };
        let is_stated = index.is_some() || debug.is_some();
        if !is_stated && go.is_none() && architecture != Architecture::X86_64 {
            return None;
        }
        let dynamic = programs.iter().find_map(|program| program.dynamic(Little, &cache).ok().flatten());
        let dynamic = dynamic.unwrap_or_default();
        let value = |tag| {
            dynamic.iter().find(|entry| entry.d_tag(Little) == tag).map_or(0, |entry| entry.d_val(Little))
        };
        let known = KnownCode { entry: header.e_entry(Little), init: [DT_INIT, DT_FINI].map(value) };
        Some(Self { loads, index, debug, go, architecture, known })
    }

    /// Tells whether all of it is Go's code: its callers have a frame pointer.
    pub fn is_go(&self) -> bool {
        self.go.is_some() && self.index.is_none()
    }

    /// The rows of a page of file addresses, by address; the first one is at its first byte.
    pub fn rows_of_page(&self, file: &File, page: u64) -> io::Result<Vec<Row>> {
        let within = page << PAGE_BITS..(page + 1) << PAGE_BITS;
        let (mut reader, mut context) = (Pieces::of(file), UnwindContext::new());
        let mut rows = vec![(within.start, Rule::NONE)];
        // The first says what is so while exceptions are thrown, the other what is for debuggers only.
        for index in self.index.iter().chain(&self.debug) {
            if rows.iter().all(|(_, rule)| *rule != Rule::NONE) {
                break;
            }
            let found = self.rows_by(index, &mut reader, &mut context, &within)?;
            rows = each_gap(rows, within.end, |gap| Ok(part_of(&found, gap)))?;
        }
        self.fill_gaps(&mut reader, rows, within.end)
    }

    /// The rows of a page by an index; what lies between two functions has no rule.
    fn rows_by(
        &self,
        index: &Index,
        reader: &mut Pieces<'_>,
        context: &mut UnwindContext<usize>,
        within: &Range<u64>,
    ) -> io::Result<Vec<Row>> {
        let mut placed = Placed { rows: Vec::new(), upto: within.start };
        index.each_function(&self.loads, self.architecture, (reader, context), within, |reader, found| {
            placed.place(self.judged(reader, found, within)?);
            Ok(())
        })?;
        if placed.upto < within.end {
            placed.rows.push((placed.upto, Rule::NONE));
        }
        Ok(placed.rows)
    }

    /// Finds all addresses of the function at an address, by what says how it is left.
    pub fn function_at(&self, file: &File, address: u64) -> io::Result<Option<Range<u64>>> {
        let (mut reader, mut context) = (Pieces::of(file), UnwindContext::new());
        let within = address..address.saturating_add(1);
        let mut function = None;
        for index in self.index.iter().chain(&self.debug) {
            index.each_function(
                &self.loads,
                self.architecture,
                (&mut reader, &mut context),
                &within,
                |_, found| {
                    if found.function.contains(&address) {
                        function = Some(found.function);
                    }
                    Ok(())
                },
            )?;
            if function.is_some() {
                return Ok(function);
            }
        }
        let Some(functions) = &self.go else { return Ok(None) };
        let found = functions.within(&mut reader, &within)?;
        Ok(found.into_iter().map(|function| function.code).find(|code| code.contains(&address)))
    }

    /// Corrects what is said of a function by what it is: of the program's entry, and of one that is marked as a signal's frame.
    /// That is one if it makes the system call that ends one; others have the mark, too, whose callers' addresses may be
    /// anywhere.
    fn judged(
        &self,
        reader: &mut Pieces<'_>,
        found: FunctionRows,
        within: &Range<u64>,
    ) -> io::Result<FunctionRows> {
        // The kernel jumps there, whatever is said of who called: it is written in C sometimes.
        if found.function.start == self.known.entry {
            let rows = found.rows.first().map(|(first, _)| (*first, Rule::END)).into_iter().collect();
            return Ok(FunctionRows { rows, ..found });
        }
        if !found.is_signal_frame {
            return Ok(found);
        }
        let code = self.code(reader, found.function.start, bare::SIGRETURN_BYTES + 1)?;
        // glibc's describes a byte before it, too, by which a return address there is looked for.
        let known =
            [0, 1].into_iter().find_map(|at| Some((at as u64, bare::sigreturn_bytes(code.get(at..)?)?)));
        Ok(match known {
            Some((at, length)) => {
                let first = found.function.start + at;
                let start = first.saturating_sub(1).max(within.start);
                // The task stands after the system call.
                let end = (first + length as u64 + 1).min(within.end);
                let rows = if start < end { vec![(start, Rule::SIGNAL)] } else { Vec::new() };
                FunctionRows { rows, end, ..found }
            }
            None => found,
        })
    }

    /// Adds rows for code without call frame information.
    fn fill_gaps(&self, pieces: &mut Pieces<'_>, rows: Vec<Row>, end: u64) -> io::Result<Vec<Row>> {
        // A file that says nothing of its frames may link them across stacks, as runtimes do that switch them.
        let rest = if self.index.is_some() || self.debug.is_some() { Rule::NONE } else { Rule::BARE };
        let rows = match &self.go {
            Some(functions) => each_gap(rows, end, |gap| {
                let code = |pieces: &mut Pieces<'_>, address, length| self.code(pieces, address, length);
                go::rows(functions, pieces, gap, rest, self.architecture, code)
            })?,
            None => rows,
        };
        let rows = each_gap(rows, end, |gap| {
            let length = usize::try_from(gap.end - gap.start).unwrap_or(0);
            let code = self.code(pieces, gap.start, length)?;
            Ok(bare::rows(gap, &code, &self.known, self.architecture))
        })?;
        if self.architecture != Architecture::X86_64 {
            return Ok(rows);
        }
        each_gap(rows, end, |gap| {
            let length = usize::try_from(gap.end - gap.start).unwrap_or(0);
            // Padding is never run, so only who returns to what stands behind it is looked for there.
            if length <= PADDING_MAX && is_padding(&self.code(pieces, gap.start, length)?) {
                return Ok(vec![(gap.start, Rule::ENTRY)]);
            }
            let rules = scan::rules(gap, |address, length| self.code(pieces, address, length))?;
            let mut found: Vec<Row> =
                rules.into_iter().map(|(at, rule)| (at, rule.unwrap_or(rest))).collect();
            if found.first().is_none_or(|(first, _)| *first > gap.start) {
                found.insert(0, (gap.start, rest));
            }
            found.dedup_by_key(|row| row.1);
            Ok(found)
        })
    }

    /// The bytes at an address, as far as the file has them.
    fn code(&self, pieces: &mut Pieces<'_>, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let Some(offset) = self.loads.offset_of(address) else { return Ok(Vec::new()) };
        pieces.get(offset, length).map(<[u8]>::to_vec)
    }
}

/// Rows that are put side by side, by the addresses of their functions.
struct Placed {
    rows: Vec<Row>,
    /// The end of the last function.
    upto: u64,
}

impl Placed {
    /// Puts a function's rows behind, or over, what is there.
    fn place(&mut self, found: FunctionRows) {
        let Some((first, rule)) = found.rows.first().copied() else { return };
        if first > self.upto {
            self.rows.push((self.upto, Rule::NONE));
            // Nobody calls what has no caller: a return address there is looked for by the byte before.
            if rule == Rule::END && first == found.function.start {
                self.rows.retain(|(start, _)| *start < first - 1);
                self.rows.push((first - 1, Rule::ENTRY));
            }
        }
        self.rows.retain(|(start, _)| *start < first);
        self.rows.extend(found.rows);
        self.upto = found.end;
    }
}

/// The rows of a gap out of those of a page.
fn part_of(rows: &[Row], gap: &Range<u64>) -> Vec<Row> {
    let before =
        rows.iter().rev().find(|(start, _)| *start <= gap.start).map_or(Rule::NONE, |(_, rule)| *rule);
    let inside = rows.iter().filter(|(start, _)| gap.start < *start && *start < gap.end);
    std::iter::once((gap.start, before)).chain(inside.copied()).collect()
}

/// Puts other rows into each range that has no rule.
fn each_gap(
    rows: Vec<Row>,
    end: u64,
    mut fill: impl FnMut(&Range<u64>) -> io::Result<Vec<Row>>,
) -> io::Result<Vec<Row>> {
    let mut filled = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        if row.1 == Rule::NONE {
            filled.extend(fill(&(row.0..rows.get(index + 1).map_or(end, |next| next.0)))?);
        } else {
            filled.push(*row);
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_ebpf::tables::rule_kind;

    /// Compares what the code of a file says of its frames with what call frame information says: instructions with an equal
    /// frame, with another one, without any; and the first of the second kind.
    fn compare(path: &str) -> (usize, usize, usize, Vec<String>) {
        let file = File::open(path).unwrap();
        let frames = CallFrames::find(&file).unwrap().unwrap();
        let (mut equal, mut other, mut none, mut shown) = (0, 0, 0, Vec::new());
        let mut pieces = Pieces::of(&file);
        for load in &frames.loads.0 {
            for page in load.address >> PAGE_BITS..(load.address + load.bytes) >> PAGE_BITS {
                let within = page << PAGE_BITS..(page + 1) << PAGE_BITS;
                let rows = frames.rows_of_page(&file, page).unwrap();
                let is_stated = |rule: Rule| matches!(rule.kind, rule_kind::SP | rule_kind::FP);
                if !rows.iter().any(|(_, rule)| is_stated(*rule)) {
                    continue;
                }
                let rules = scan::rules(&within, |address, length| frames.code(&mut pieces, address, length))
                    .unwrap();
                for pair in rules.windows(2) {
                    let [(at, rule), (next, _)] = pair else { continue };
                    let (_, stated) = rows.iter().rev().find(|(start, _)| start <= at).unwrap();
                    let code = frames.code(&mut pieces, *at, usize::try_from(next - at).unwrap()).unwrap();
                    if !is_stated(*stated) || is_padding(&code) {
                        continue;
                    }
                    match rule {
                        None => none += 1,
                        // Two bases may say the same.
                        Some(rule) if rule.kind != stated.kind || rule.cfa == stated.cfa => equal += 1,
                        Some(rule) => {
                            other += 1;
                            shown.push(format!("{at:#x}: {rule:?}, stated {stated:?}"));
                        }
                    }
                }
            }
        }
        shown.truncate(50);
        (equal, other, none, shown)
    }

    #[test]
    fn code_says_of_its_frames_what_call_frame_information_says() {
        if Architecture::OURS != Architecture::X86_64 {
            return;
        }
        let maps = crate::process::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let libc = maps.into_iter().find(|map| map.path.contains("/libc.so")).unwrap();
        let (equal, other, none, shown) = compare(&libc.path);
        let all = equal + other + none;
        assert!(all > 100_000, "{} has {all} instructions", libc.path);
        assert!(other * 200 <= all && none * 20 <= all, "{equal}, {other}, {none}: {shown:#?}");
    }
}
