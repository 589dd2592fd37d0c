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
    /// The offset of the description in `bytes`.
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
        .map(|function| (function.rows, function.end))
}

/// A function's rows within a range of addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FunctionRows {
    /// By address; none if the function lies elsewhere.
    pub(super) rows: Vec<Row>,
    /// The end of the function in the range.
    pub(super) end: u64,
    /// All of its addresses.
    pub(super) function: Range<u64>,
    /// Set for those whose callers may be anywhere, and not only after a call (`S` in the augmentation; Linux Standard Base
    /// 5.0, 10.6.1.1.1, has it not, binutils' manual does: `.cfi_signal_frame`).
    pub(super) is_signal_frame: bool,
}

/// The same with a context, which is large, and serves for others after it.
pub(super) fn entry_rows(
    entry: Entry<'_>,
    within: &Range<u64>,
    architecture: Architecture,
    context: &mut UnwindContext<usize>,
) -> Result<FunctionRows, BadEntry> {
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
) -> Result<FunctionRows, BadEntry> {
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
) -> Result<FunctionRows, BadEntry>
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
    let function = first..first.saturating_add(length);
    let end = function.end.min(within.end);
    let is_signal_frame = description.is_signal_trampoline();
    if first >= within.end || end <= within.start {
        return Ok(FunctionRows { rows: found, end: within.start, function, is_signal_frame });
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
    Ok(FunctionRows { rows: found, end, function, is_signal_frame })
}
