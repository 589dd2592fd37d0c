//! Which unit of debug information an address belongs to.

use super::super::texts::Texts;
use super::section::Section;
use super::work::Work;
use gimli::{
    AttributeValue, DebugAddrBase, DebugRngListsBase, Dwarf, Encoding, RangeListsOffset, Result, UnitHeader,
    constants,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) type Unit<'s> = gimli::Unit<Section<'s>>;
type Attribute<'s> = gimli::Attribute<Section<'s>>;

/// Readings that one unit's abbreviations, or its table of files, may take.
const TABLE_READINGS_MAX: u64 = 1 << 16;
/// Bytes of a table of files.
const LINE_HEADER_BYTES_MAX: usize = 256 << 10;
/// Units whose places are remembered.
const UNITS_MAX: usize = 1 << 16;

/// Bases that addresses of a unit are relative to.
#[derive(Clone, Copy)]
pub(super) struct Bases {
    encoding: Encoding,
    low: u64,
    addresses: DebugAddrBase<usize>,
    lists: DebugRngListsBase<usize>,
}

impl Bases {
    pub(super) fn of(unit: &Unit<'_>) -> Self {
        let (low, addresses, lists) = (unit.low_pc, unit.addr_base, unit.rnglists_base);
        Self { encoding: unit.header.encoding(), low, addresses, lists }
    }
}

/// The code of an entry, as its attributes say.
#[derive(Default)]
pub(super) struct Extent {
    low: Option<u64>,
    high: Option<u64>,
    bytes: Option<u64>,
    list: Option<RangeListsOffset<usize>>,
}

/// The debug information of a file.
pub(super) struct Units<'s> {
    pub(super) dwarf: Dwarf<Section<'s>>,
    pub(super) work: &'s Work,
    pub(super) texts: &'s Texts,
    /// Sorted, each once.
    pub(super) addresses: &'s [u64],
}

impl<'s> Units<'s> {
    /// The addresses, by number, of each unit that has some, by its place in the section.
    pub(super) fn owners(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut owner = vec![None; self.addresses.len()];
        let mut listed = Vec::new();
        // What can be read of damaged tables is used, and the units themselves are asked for the rest.
        let _damaged = self.ask_table(&mut owner, &mut listed);
        if owner.contains(&None) {
            listed.sort_unstable();
            let _damaged = self.ask_units(&mut owner, &listed);
        }
        let mut owners = BTreeMap::<_, Vec<_>>::new();
        for (number, unit) in owner.into_iter().enumerate() {
            if let Some(unit) = unit {
                owners.entry(unit).or_default().push(number);
            }
        }
        owners
    }

    /// By `.debug_aranges`, which not every compiler writes. `listed` gets the units that are in it.
    fn ask_table(&self, owner: &mut [Option<usize>], listed: &mut Vec<usize>) -> Result<()> {
        let mut headers = self.dwarf.debug_aranges.headers();
        while let Some(header) = headers.next()? {
            let unit = header.debug_info_offset().0;
            if listed.len() < UNITS_MAX {
                listed.push(unit);
            }
            let mut entries = header.entries();
            while let Some(entry) = entries.next()? {
                self.claim(entry.range().begin..entry.range().end, unit, owner);
            }
        }
        Ok(())
    }

    fn ask_units(&self, owner: &mut [Option<usize>], listed: &[usize]) -> Result<()> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = place_of(&header);
            if listed.binary_search(&unit).is_err() {
                let asked = self.each_range_of_unit(&header, |range| self.claim(range, unit, owner));
                if self.work.is_exhausted() {
                    return asked;
                }
                if !owner.contains(&None) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn claim(&self, range: Range<u64>, unit: usize, owner: &mut [Option<usize>]) {
        for number in self.within(&range) {
            owner[number].get_or_insert(unit);
        }
    }

    /// Numbers of the addresses in a range.
    pub(super) fn within(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.addresses.partition_point(|address| *address < range.start);
        first..first + self.addresses[first..].partition_point(|address| *address < range.end)
    }

    fn each_range_of_unit(
        &self,
        header: &UnitHeader<Section<'s>>,
        found: impl FnMut(Range<u64>),
    ) -> Result<()> {
        let root = self.root(header)?;
        let mut bases = Bases {
            encoding: header.encoding(),
            low: 0,
            addresses: DebugAddrBase(0),
            lists: DebugRngListsBase::default_for_encoding_and_file(
                header.encoding(),
                gimli::DwarfFileType::Main,
            ),
        };
        for attribute in &root {
            match attribute.value() {
                AttributeValue::DebugAddrBase(base) => bases.addresses = base,
                AttributeValue::DebugRngListsBase(base) => bases.lists = base,
                _ => {}
            }
        }
        let mut extent = Extent::default();
        for attribute in &root {
            self.note(attribute, bases, &mut extent)?;
        }
        bases.low = extent.low.unwrap_or(0);
        self.each_range(&extent, bases, found)
    }

    /// The attributes of a unit's first entry.
    fn root(&self, header: &UnitHeader<Section<'s>>) -> Result<Vec<Attribute<'s>>> {
        let abbreviations =
            self.work.at_most(TABLE_READINGS_MAX, || header.abbreviations(&self.dwarf.debug_abbrev))?;
        self.attributes(header, &abbreviations)
    }

    fn attributes(
        &self,
        header: &UnitHeader<Section<'s>>,
        abbreviations: &gimli::Abbreviations,
    ) -> Result<Vec<Attribute<'s>>> {
        let mut entries = header.entries_raw(abbreviations, None)?;
        let mut attributes = Vec::new();
        if let Some(abbreviation) = entries.read_abbreviation()? {
            entries.read_attributes(abbreviation.attributes(), &mut attributes)?;
        }
        Ok(attributes)
    }

    /// Takes in an attribute if it says where code is.
    pub(super) fn note(&self, attribute: &Attribute<'s>, bases: Bases, extent: &mut Extent) -> Result<()> {
        let address = |value: AttributeValue<Section<'s>>| match value {
            AttributeValue::Addr(address) => Ok(Some(address)),
            AttributeValue::DebugAddrIndex(index) => {
                let size = bases.encoding.address_size;
                self.dwarf.debug_addr.get_address(size, bases.addresses, index).map(Some)
            }
            _ => Ok(None),
        };
        match attribute.name() {
            constants::DW_AT_low_pc => extent.low = address(attribute.value())?,
            constants::DW_AT_high_pc => {
                extent.high = address(attribute.value())?;
                extent.bytes = attribute.udata_value().filter(|_| extent.high.is_none());
            }
            constants::DW_AT_ranges => {
                extent.list = match attribute.value() {
                    AttributeValue::RangeListsRef(raw) => Some(RangeListsOffset(raw.0)),
                    AttributeValue::DebugRngListsIndex(index) => {
                        Some(self.dwarf.ranges.get_offset(bases.encoding, bases.lists, index)?)
                    }
                    _ => None,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells of each range of an extent.
    pub(super) fn each_range(
        &self,
        extent: &Extent,
        bases: Bases,
        mut found: impl FnMut(Range<u64>),
    ) -> Result<()> {
        // Code that the linker threw out is at 0.
        let mut tell = |range: Range<u64>| {
            if range.start != 0 && range.start < range.end {
                found(range);
            }
        };
        if let Some(list) = extent.list {
            let addresses = &self.dwarf.debug_addr;
            let mut ranges =
                self.dwarf.ranges.ranges(list, bases.encoding, bases.low, addresses, bases.addresses)?;
            while let Some(range) = ranges.next()? {
                tell(range.begin..range.end);
            }
        } else if let Some(low) = extent.low {
            let end = extent.high.or_else(|| low.checked_add(extent.bytes?));
            tell(low..end.unwrap_or(low));
        }
        Ok(())
    }

    /// All that is common to the entries of a unit.
    pub(super) fn unit_at(&self, place: usize) -> Result<Unit<'s>> {
        let header = self.dwarf.debug_info.header_from_offset(gimli::DebugInfoOffset(place))?;
        let abbreviations =
            self.work.at_most(TABLE_READINGS_MAX, || header.abbreviations(&self.dwarf.debug_abbrev))?;
        for attribute in self.attributes(&header, &abbreviations)? {
            if let (constants::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) =
                (attribute.name(), attribute.value())
            {
                self.check_line_header(offset.0)?;
            }
        }
        self.work.at_most(TABLE_READINGS_MAX, || {
            gimli::Unit::new_with_abbreviations(&self.dwarf, header, Arc::new(abbreviations))
        })
    }

    /// Memory for the table of files is taken by what its header says.
    fn check_line_header(&self, offset: usize) -> Result<()> {
        use gimli::{Reader, Section};
        let mut line = *self.dwarf.debug_line.reader();
        line.skip(offset)?;
        let (_, format) = line.read_initial_length()?;
        if line.read_u16()? >= 5 {
            // The sizes of addresses and of segment selectors.
            line.read_u16()?;
        }
        let length = line.read_length(format)?;
        if length > LINE_HEADER_BYTES_MAX { Err(gimli::Error::Io) } else { Ok(()) }
    }

    /// The unit that an entry anywhere in the section belongs to. Goes through all headers.
    pub(super) fn unit_around(&self, entry: usize) -> Result<Option<Unit<'s>>> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let place = place_of(&header);
            if (place..place.saturating_add(header.length_including_self())).contains(&entry) {
                return self.unit_at(place).map(Some);
            }
        }
        Ok(None)
    }
}

/// Returns the place of a unit in its section.
pub(super) fn place_of(header: &UnitHeader<Section<'_>>) -> usize {
    header.offset().0
}
