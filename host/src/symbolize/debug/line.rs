//! Lines of a unit at addresses, and paths of its files.

use super::super::demangle::shortened;
use super::section::Section;
use super::unit::{Unit, Units};
use gimli::{ColumnType, LineInstruction, LineProgramHeader, LineRow, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A place in the source, with the number of the file.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    pub(super) file: u64,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl<'s> Units<'s> {
    /// The lines of addresses, by number. Rows are looked at one by one and not kept. What was found before an error
    /// stays.
    pub(super) fn lines(
        &self,
        program: &mut gimli::IncompleteLineProgram<Section<'s>>,
        wanted: &[usize],
    ) -> (HashMap<usize, Line>, Result<()>) {
        let mut found = HashMap::new();
        let result = self.run(program, wanted, &mut found);
        (found, result)
    }

    fn run(
        &self,
        program: &mut gimli::IncompleteLineProgram<Section<'s>>,
        wanted: &[usize],
        found: &mut HashMap<usize, Line>,
    ) -> Result<()> {
        let mut instructions = program.header().instructions();
        let mut row = LineRow::new(program.header());
        // The row before, and where its code begins.
        let mut last: Option<(u64, Line)> = None;
        while let Some(instruction) = instructions.next_instruction(program.header())? {
            // A table of files that grows meanwhile would take memory; compilers do not write that.
            if matches!(instruction, LineInstruction::DefineFile(_)) || !row.execute(instruction, program)? {
                continue;
            }
            if let Some((start, line)) = last
                && start < row.address()
            {
                for number in self.within(&(start..row.address())) {
                    if wanted.binary_search(&number).is_ok() {
                        found.entry(number).or_insert(line);
                    }
                }
            }
            last = (!row.end_sequence()).then(|| (row.address(), line_of(&row)));
            row.reset(program.header());
        }
        Ok(())
    }
}

fn line_of(row: &LineRow) -> Line {
    let small = |number: u64| u32::try_from(number).unwrap_or(0);
    let line = row.line().map_or(0, |line| small(line.get()));
    let column = match row.column() {
        // Without a line it means nothing.
        ColumnType::Column(column) if line > 0 => small(column.get()),
        _ => 0,
    };
    Line { file: row.file_index(), line, column }
}

/// Paths of a unit's files, each put together once.
pub(super) struct Files<'u, 's> {
    units: &'u Units<'s>,
    unit: &'u Unit<'s>,
    header: Option<&'u LineProgramHeader<Section<'s>>>,
    known: HashMap<u64, Option<Arc<str>>>,
}

impl<'u, 's> Files<'u, 's> {
    pub(super) fn new(
        units: &'u Units<'s>,
        unit: &'u Unit<'s>,
        header: Option<&'u LineProgramHeader<Section<'s>>>,
    ) -> Self {
        Self { units, unit, header, known: HashMap::new() }
    }

    /// A file's path, if it is known.
    pub(super) fn path(&mut self, number: u64) -> Option<Arc<str>> {
        if let Some(known) = self.known.get(&number) {
            return known.clone();
        }
        let path = self.put_together(number).and_then(|path| self.units.texts.one(&shortened(&path)));
        self.known.insert(number, path.clone());
        path
    }

    fn put_together(&self, number: u64) -> Option<String> {
        let header = self.header?;
        let file = header.file(number)?;
        let text = |value| self.units.dwarf.attr_string(self.unit, value).and_then(|text| text.text()).ok();
        let mut path = self.unit.comp_dir.and_then(|path| path.text().ok()).unwrap_or_default();
        // The directory 0 is the unit's own.
        if file.directory_index() != 0
            && let Some(directory) = file.directory(header)
        {
            push(&mut path, &text(directory)?);
        }
        push(&mut path, &text(file.path_name())?);
        Some(path)
    }
}

/// Goes on from a path: an absolute one takes its place.
fn push(path: &mut String, next: &str) {
    if next.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(next);
}
