//! Walking the types of BTF: each is a head of 12 bytes and, by its kind, more.

use super::Error;

/// As far as kinds matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Struct,
    Union,
    /// Another name or a qualifier of the type that it refers to.
    Alias,
    Other,
}

/// One type, in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    /// Offset of its name in the strings; 0 for none.
    pub(super) name: u32,
    pub(super) kind: Kind,
    /// True if members' offsets carry the size of bit fields.
    pub(super) has_bit_fields: bool,
    /// Size in bytes, or the number of the type that it refers to, by its kind.
    pub(super) size_or_type: u32,
    /// The bytes after the head: 12 bytes a member, for structures and unions.
    members: &'a [u8],
}

/// One member, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawMember {
    pub(super) name: u32,
    pub(super) type_id: u32,
    pub(super) offset_bits: u32,
    /// Not 0 for a bit field.
    pub(super) bit_field_bits: u32,
}

/// All types, and where those lie that were walked over so far.
#[derive(Clone, Debug)]
pub(super) struct Types<'a> {
    bytes: &'a [u8],
    /// The offsets of the type numbers 1, 2, ..., as far as known.
    starts: Vec<u32>,
    /// The offset of the next one.
    end: usize,
}

const HEAD_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
const TRUNCATED: Error = Error::Truncated("a type");

impl<'a> Types<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, starts: Vec::new(), end: 0 }
    }

    /// Type number `id`; `None` for void (0) and beyond the last.
    pub(super) fn get(&mut self, id: u32) -> Result<Option<Type<'a>>, Error> {
        let Some(index) = id.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return Ok(None);
        };
        while self.starts.len() <= index {
            if self.end >= self.bytes.len() {
                return Ok(None);
            }
            self.walk_on()?;
        }
        let start = self.starts.get(index).and_then(|start| usize::try_from(*start).ok()).unwrap_or_default();
        read(&self.bytes[start..], id).map(|(found, _)| Some(found))
    }

    fn walk_on(&mut self) -> Result<(), Error> {
        let start = u32::try_from(self.end).map_err(|_| TRUNCATED)?;
        let id = u32::try_from(self.starts.len() + 1).map_err(|_| TRUNCATED)?;
        let (_, bytes) = read(&self.bytes[self.end..], id)?;
        self.starts.push(start);
        self.end += bytes;
        Ok(())
    }
}

/// The type that `bytes` begin with, and how many of them it takes.
fn read(bytes: &[u8], id: u32) -> Result<(Type<'_>, usize), Error> {
    let [name, info, size_or_type] = words(bytes).ok_or(TRUNCATED)?;
    let count = usize::from(u16::try_from(info & 0xffff).unwrap_or_default());
    let number = u8::try_from(info >> 24 & 0x1f).unwrap_or_default();
    // BTF_KIND_*: include/uapi/linux/btf.h.
    let (kind, extra) = match number {
        4 => (Kind::Struct, count * MEMBER_BYTES),
        5 => (Kind::Union, count * MEMBER_BYTES),
        // Typedef, volatile, const, restrict, type tag.
        8..=11 | 18 => (Kind::Alias, 0),
        // Pointer, forward declaration, function, float.
        2 | 7 | 12 | 16 => (Kind::Other, 0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => (Kind::Other, 4),
        // Array.
        3 => (Kind::Other, 12),
        // Enumeration, function prototype.
        6 | 13 => (Kind::Other, count * 8),
        // Data section, enumeration of 64 bits.
        15 | 19 => (Kind::Other, count * 12),
        kind => return Err(Error::UnknownKind { id, kind }),
    };
    let members = bytes.get(HEAD_BYTES..HEAD_BYTES + extra).ok_or(TRUNCATED)?;
    Ok((Type { name, kind, has_bit_fields: info >> 31 == 1, size_or_type, members }, HEAD_BYTES + extra))
}

impl Type<'_> {
    /// The members of a structure or union.
    pub(super) fn members(&self) -> impl Iterator<Item = RawMember> + '_ {
        self.members.chunks_exact(MEMBER_BYTES).filter_map(words).map(|[name, type_id, offset]| {
            let (offset_bits, bit_field_bits) =
                if self.has_bit_fields { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            RawMember { name, type_id, offset_bits, bit_field_bits }
        })
    }
}

fn words(bytes: &[u8]) -> Option<[u32; 3]> {
    let bytes = bytes.first_chunk::<12>()?;
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some([word(0), word(4), word(8)])
}
