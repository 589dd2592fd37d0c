//! Functions of a unit at addresses, with those that were inlined into them.

use super::super::demangle::shortened;
use super::FRAMES_MAX;
use super::section::Section;
use super::unit::{Bases, Extent, Unit, Units, place_of};
use gimli::{Abbreviation, AttributeValue, EntriesRaw, Result, UnitOffset, constants};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Functions inlined into each other; more only in damaged files.
const DEPTH_MAX: usize = 256;
/// Entries that refer to each other for a name.
const HOPS_MAX: usize = 16;
/// Units that others refer to, kept in mind.
const FOREIGN_MAX: usize = 4;

/// A function, or one that was inlined.
#[derive(Clone, Copy)]
pub(super) struct Function {
    /// Its entry.
    pub(super) entry: UnitOffset<usize>,
    pub(super) call: Call,
}

/// The place of a call that was inlined: file by its number, line, column; zeros if unknown.
#[derive(Clone, Copy, Default)]
pub(super) struct Call {
    pub(super) file: Option<u64>,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl<'s> Units<'s> {
    /// For each of `numbers` of addresses its functions, the outermost first. What was found before an error stays.
    pub(super) fn functions(
        &self,
        unit: &Unit<'s>,
        numbers: &[usize],
    ) -> (HashMap<usize, Vec<Function>>, Result<()>) {
        let mut found: HashMap<usize, Vec<Function>> =
            numbers.iter().map(|number| (*number, Vec::new())).collect();
        let result = self.walk(unit, &mut found);
        (found, result)
    }

    fn walk(&self, unit: &Unit<'s>, found: &mut HashMap<usize, Vec<Function>>) -> Result<()> {
        let bases = Bases::of(unit);
        let mut room = FRAMES_MAX;
        let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
        while !entries.is_empty() {
            let entry = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let inlined = match abbreviation.tag() {
                constants::DW_TAG_subprogram => false,
                constants::DW_TAG_inlined_subroutine => true,
                _ => {
                    entries.skip_attributes(abbreviation.attributes())?;
                    continue;
                }
            };
            // Attributes of no size are not read, and still take their time.
            self.work.spend(abbreviation.attributes().len() as u64)?;
            let (extent, call) = self.read(&mut entries, abbreviation, bases)?;
            self.each_range(&extent, bases, |range| {
                for number in self.within(&range) {
                    // Each may be in thousands of ranges. The next reading fails, too.
                    if self.work.spend(1).is_err() {
                        return;
                    }
                    let Some(functions) = found.get_mut(&number) else { continue };
                    if !inlined {
                        room += functions.len();
                        functions.clear();
                    }
                    if inlined != functions.is_empty() && functions.len() < DEPTH_MAX {
                        if room == 0 {
                            self.work.skip();
                            continue;
                        }
                        room -= 1;
                        functions.push(Function { entry, call });
                    }
                }
            })?;
        }
        Ok(())
    }

    fn read(
        &self,
        entries: &mut EntriesRaw<'_, Section<'s>>,
        abbreviation: &Abbreviation,
        bases: Bases,
    ) -> Result<(Extent, Call)> {
        let (mut extent, mut call) = (Extent::default(), Call::default());
        let small = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            match attribute.name() {
                constants::DW_AT_call_file => {
                    call.file = match attribute.value() {
                        AttributeValue::FileIndex(file) => Some(file),
                        value => value.udata_value(),
                    };
                }
                constants::DW_AT_call_line => call.line = small(attribute.udata_value()),
                constants::DW_AT_call_column => call.column = small(attribute.udata_value()),
                _ => self.note(&attribute, bases, &mut extent)?,
            }
        }
        Ok((extent, call))
    }
}

/// Names of functions, as mangled as in the file, each looked up once.
pub(super) struct FunctionNames<'u, 's> {
    units: &'u Units<'s>,
    known: RefCell<HashMap<usize, Option<Arc<str>>>>,
    /// Units that entries of others refer to, used last first.
    foreign: RefCell<Vec<Rc<Unit<'s>>>>,
}

impl<'u, 's> FunctionNames<'u, 's> {
    pub(super) fn new(units: &'u Units<'s>) -> Self {
        Self { units, known: RefCell::default(), foreign: RefCell::default() }
    }

    /// Finds the name of an entry's function, if it has one.
    pub(super) fn of(&self, unit: &Unit<'s>, entry: UnitOffset<usize>) -> Option<Arc<str>> {
        let place = place_of(&unit.header).saturating_add(entry.0);
        if let Some(known) = self.known.borrow().get(&place) {
            return known.clone();
        }
        let name = self.look_up(unit, entry, HOPS_MAX).ok().flatten();
        let name = name.and_then(|name| self.units.texts.one(&shortened(&name)));
        self.known.borrow_mut().insert(place, name.clone());
        name
    }

    fn look_up(&self, unit: &Unit<'s>, entry: UnitOffset<usize>, hops: usize) -> Result<Option<String>> {
        let mut entries = unit.header.entries_raw(&unit.abbreviations, Some(entry))?;
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(None) };
        let (mut plain, mut other) = (None, None);
        let text = |value| self.units.dwarf.attr_string(unit, value).and_then(|text| text.text()).ok();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            match attribute.name() {
                constants::DW_AT_linkage_name | constants::DW_AT_MIPS_linkage_name => {
                    if let Some(mangled) = text(attribute.value()) {
                        return Ok(Some(mangled));
                    }
                }
                constants::DW_AT_name => plain = text(attribute.value()),
                constants::DW_AT_abstract_origin | constants::DW_AT_specification => {
                    other = Some(attribute.value())
                }
                _ => {}
            }
        }
        match other {
            _ if plain.is_some() || hops == 0 => Ok(plain),
            Some(AttributeValue::UnitRef(entry)) => self.look_up(unit, entry, hops - 1),
            Some(AttributeValue::DebugInfoRef(place)) => {
                let Some(unit) = self.foreign(place.0)? else { return Ok(None) };
                let entry = UnitOffset(place.0 - place_of(&unit.header));
                self.look_up(&unit, entry, hops - 1)
            }
            _ => Ok(None),
        }
    }

    fn foreign(&self, entry: usize) -> Result<Option<Rc<Unit<'s>>>> {
        let holds = |unit: &Rc<Unit<'s>>| {
            let place = place_of(&unit.header);
            (place..place.saturating_add(unit.header.length_including_self())).contains(&entry)
        };
        let known = self.foreign.borrow().iter().position(holds);
        let unit = match known {
            Some(at) => self.foreign.borrow_mut().remove(at),
            None => match self.units.unit_around(entry)? {
                Some(unit) => Rc::new(unit),
                None => return Ok(None),
            },
        };
        let mut foreign = self.foreign.borrow_mut();
        foreign.insert(0, Rc::clone(&unit));
        foreign.truncate(FOREIGN_MAX);
        Ok(Some(unit))
    }
}
