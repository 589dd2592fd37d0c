//! Call frame information of one function: bytes in, unwind rules out (DWARF 5, 6.4; Linux Standard
//! Base 5.0, 10.6 for `.eh_frame`).

use super::rule::{Architecture, Rule, of_row};
use gimli::{
    BaseAddresses, DebugFrame, EhFrame, Encoding, EndianSlice, Format, LittleEndian, UnwindContext,
    UnwindSection,
};
use std::ops::Range;

/// From an address (as the file states it) on, a rule holds, up to the next one.
pub type Row = (u64, Rule);

/// A frame description entry and its common information entry, side by side.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The common entry, then the description, whose pointer to it is its own offset.
    pub bytes: &'a [u8],
    /// Where the description begins in `bytes`.
    pub description: usize,
    /// The address that the file states for the description.
    pub address: u64,
}

/// Why an entry gave no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call frame information: {0}")]
pub struct BadEntry(String);

impl From<gimli::Error> for BadEntry {
    fn from(error: gimli::Error) -> Self {
        Self(error.to_string())
    }
}

/// The rows of a function's entry within `within`, by address, and where the function ends in it. None
/// if the function lies elsewhere.
pub fn rows(
    entry: Entry<'_>,
    within: &Range<u64>,
    architecture: Architecture,
) -> Result<(Vec<Row>, u64), BadEntry> {
    entry_rows(entry, within, architecture, &mut UnwindContext::new())
}

/// The same with a context, which is large, and serves for others after it.
pub(super) fn entry_rows(
    entry: Entry<'_>,
    within: &Range<u64>,
    architecture: Architecture,
    context: &mut UnwindContext<usize>,
) -> Result<(Vec<Row>, u64), BadEntry> {
    let mut section = EhFrame::new(entry.bytes, LittleEndian);
    section.set_address_size(8);
    let start = entry.address.wrapping_sub(entry.description as u64);
    let bases = BaseAddresses::default().set_eh_frame(start);
    rows_in(&section, entry.description.into(), &bases, within, architecture, context)
}

/// The same for an entry of a whole `.debug_frame` at an offset in it.
pub(super) fn debug_rows(
    section: &[u8],
    offset: usize,
    within: &Range<u64>,
    architecture: Architecture,
    context: &mut UnwindContext<usize>,
) -> Result<(Vec<Row>, u64), BadEntry> {
    let mut section = DebugFrame::new(section, LittleEndian);
    section.set_address_size(8);
    rows_in(&section, offset.into(), &BaseAddresses::default(), within, architecture, context)
}

fn rows_in<'a, S>(
    section: &S,
    offset: S::Offset,
    bases: &BaseAddresses,
    within: &Range<u64>,
    architecture: Architecture,
    context: &mut UnwindContext<usize>,
) -> Result<(Vec<Row>, u64), BadEntry>
where
    S: UnwindSection<EndianSlice<'a, LittleEndian>>,
{
    let description = section.fde_from_offset(bases, offset, S::cie_from_offset)?;
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
    let mut found = Vec::new();
    let (first, length) = (description.initial_address(), description.len());
    if length == 0 {
        return Err(BadEntry("a function of no length".into()));
    }
    let end = first.saturating_add(length).min(within.end);
    if first >= within.end || end <= within.start {
        return Ok((found, within.start));
    }
    if description.is_signal_trampoline() {
        // It ends with the system call that it makes, in which the task stands a byte further.
        let end = first.saturating_add(length).saturating_add(1).min(within.end);
        return Ok((vec![(first.max(within.start), Rule::SIGNAL)], end));
    }
    let mut table = description.rows(section, bases, context)?;
    let mut upto = first;
    loop {
        let row = match table.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // An instruction that is not understood, or not valid where it stands, ends what is known; what stands
            // before it holds.
            Err(_) => {
                if upto.max(within.start) < end {
                    found.push((upto.max(within.start), Rule::UNSUPPORTED));
                }
                break;
            }
        };
        if row.start_address() >= end {
            break;
        }
        upto = row.end_address();
        let (from, to) = (row.start_address().max(within.start), upto.min(end));
        if from < to {
            found.push((from, of_row(row, section, encoding, architecture)));
        }
    }
    Ok((found, end))
}
