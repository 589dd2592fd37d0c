//! A reader of BTF (Documentation/bpf/btf.rst): bytes in, offsets of members out.
//!
//! The kernel's BTF has some 130,000 types in 5 MB, of which an answer needs a handful. So types
//! are walked in order and only as far as needed; their positions are remembered on the way,
//! names are compared in place, and there is no index of names.

#[cfg(test)]
pub(crate) mod build;
mod member;
mod types;

pub use member::Member;

use types::{Kind, Type, Types};

/// Why BTF has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The magic number is another one, or there is less than a header.
    #[error("not BTF of this machine's byte order")]
    NotBtf,
    /// A part of it lies outside of the file.
    #[error("damaged BTF: {0} lies outside of it")]
    Truncated(&'static str),
    /// A kind of type that this reader does not know, and so cannot skip.
    #[error("type {id} is of kind {kind}, which this version of btf-offsets does not know")]
    UnknownKind {
        /// The type's number.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// The structure is not there.
    #[error("no struct `{0}`")]
    NoStructure(String),
    /// The member is not there.
    #[error("no member `{0}`")]
    NoMember(String),
    /// The member is a bit field, which has no offset in bytes.
    #[error("member `{0}` is a bit field")]
    BitField(String),
    /// Types refer to one another without an end.
    #[error("damaged BTF: types of type {0} go on without an end")]
    TooDeep(u32),
}

/// BTF in memory.
#[derive(Clone, Debug)]
pub struct Btf<'a> {
    types: Types<'a>,
    strings: &'a [u8],
    /// Structures that were looked for together, by name.
    found: Vec<(String, u32)>,
}

impl<'a> Btf<'a> {
    /// Reads the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        const MAGIC: u16 = 0xeb9f;
        let word = |at: usize| -> Option<u32> {
            bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
        };
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
        if magic != Some(MAGIC) {
            return Err(Error::NotBtf);
        }
        let at =
            |index: usize| word(index).and_then(|value| usize::try_from(value).ok()).ok_or(Error::NotBtf);
        let header = at(4)?;
        let section = |name: &'static str, offset: usize, length: usize| {
            let start = header.checked_add(offset);
            let end = start.and_then(|start| start.checked_add(length));
            start.zip(end).and_then(|(start, end)| bytes.get(start..end)).ok_or(Error::Truncated(name))
        };
        let types = section("the types", at(8)?, at(12)?)?;
        let strings = section("the strings", at(16)?, at(20)?)?;
        Ok(Self { types: Types::new(types), strings, found: Vec::new() })
    }

    /// Finds the first structures of these names in one walk, which ends at the last of them.
    pub fn find_structures(&mut self, names: &[&str]) -> Result<(), Error> {
        let mut open: Vec<&str> =
            names.iter().copied().filter(|name| !self.found.iter().any(|(found, _)| found == name)).collect();
        let mut id = 1;
        while !open.is_empty() {
            let Some(found) = self.types.get(id)? else { return Ok(()) };
            if found.kind == Kind::Struct
                && let Some(at) = open.iter().position(|name| self.is_named(found.name, name))
            {
                self.found.push((open.swap_remove(at).to_owned(), id));
            }
            id += 1;
        }
        Ok(())
    }

    /// The number of the first structure of that name.
    pub fn structure(&mut self, name: &str) -> Result<u32, Error> {
        if let Some((_, id)) = self.found.iter().find(|(found, _)| found == name) {
            return Ok(*id);
        }
        let mut id = 1;
        while let Some(found) = self.types.get(id)? {
            if found.kind == Kind::Struct && self.is_named(found.name, name) {
                return Ok(id);
            }
            id += 1;
        }
        Err(Error::NoStructure(name.into()))
    }

    /// Tells whether the string at `offset` is `name`.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.strings.get(offset..));
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The structure or union behind a type, through type definitions and qualifiers.
    fn compound(&mut self, id: u32) -> Result<Option<Type<'a>>, Error> {
        // C allows no cycle here; what goes on longer is damaged.
        const LONGEST: usize = 32;
        let mut next = id;
        for _ in 0..LONGEST {
            match self.types.get(next)? {
                Some(found) if matches!(found.kind, Kind::Struct | Kind::Union) => return Ok(Some(found)),
                Some(found) if found.kind == Kind::Alias => next = found.size_or_type,
                _ => return Ok(None),
            }
        }
        Err(Error::TooDeep(id))
    }
}
