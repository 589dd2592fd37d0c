//! Names that are known, each text once.

use crate::process::{FileAddress, Frame};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// Readable name (demangled).
    pub function: Arc<str>,
    /// Source file; empty if unknown.
    pub file: Arc<str>,
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// The functions at an address: the innermost inlined function first, the function it was compiled into last.
/// Empty if nothing is known.
pub type Names = Arc<[Name]>;

/// The key that a name is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Kernel(u64),
    File(u32, FileAddress),
}

impl Place {
    pub(super) fn of(frame: &Frame) -> Option<Self> {
        match frame {
            Frame::Kernel(address) => Some(Self::Kernel(*address)),
            Frame::File(executable, address) => Some(Self::File(executable.id, *address)),
            Frame::Unknown(_) => None,
        }
    }
}

/// The names of addresses.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: HashMap<Place, Names>,
    /// Names of the same function are one.
    texts: HashSet<Arc<str>>,
    /// Bytes that texts and names take, about.
    bytes: usize,
}

/// Bytes of an entry beside what it points at: a slot of a table that is three quarters full, and two counts.
const ENTRY_BYTES: usize = (size_of::<(Place, Names)>() + 8) * 4 / 3 + 16;
const TEXT_BYTES: usize = (size_of::<Arc<str>>() + 8) * 4 / 3 + 16;

impl Known {
    pub(super) fn get(&self, place: &Place) -> Option<&Names> {
        self.names.get(place)
    }

    pub(super) fn insert(&mut self, place: Place, names: Names) {
        self.bytes += bytes_of(&names);
        if let Some(old) = self.names.insert(place, names) {
            self.bytes -= bytes_of(&old);
        }
    }

    /// Forgets all of the kernel.
    pub(super) fn forget_kernel(&mut self) {
        let bytes = &mut self.bytes;
        self.names.retain(|place, names| {
            let stays = !matches!(place, Place::Kernel(_));
            *bytes -= if stays { 0 } else { bytes_of(names) };
            stays
        });
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Bytes that all this takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all but these; how many were forgotten.
    pub(super) fn keep(&mut self, wanted: &HashSet<Place>) -> u64 {
        let before = self.names.len();
        self.names.retain(|place, _| wanted.contains(place));
        self.names.shrink_to_fit();
        // Names that a profile holds keep their texts.
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.texts.shrink_to_fit();
        self.bytes = self.names.values().map(bytes_of).sum::<usize>()
            + self.texts.iter().map(|text| text.len() + TEXT_BYTES).sum::<usize>();
        (before - self.names.len()) as u64
    }

    /// A text, which may be known already.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.bytes += new.len() + TEXT_BYTES;
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// A function of which nothing but the name is known.
    pub(super) fn plain(&mut self, function: &str) -> Name {
        Name { function: self.text(function), file: self.text(""), line: 0, column: 0 }
    }

    /// The same as a file says it.
    pub(super) fn name(&mut self, name: &Name) -> Name {
        let Name { function, file, line, column } = name;
        Name { function: self.text(function), file: self.text(file), line: *line, column: *column }
    }
}

fn bytes_of(names: &Names) -> usize {
    ENTRY_BYTES + size_of_val::<[Name]>(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_text_once_and_counts_what_it_holds() {
        let mut known = Known::default();
        let (first, second) = (known.plain("function"), known.plain("function"));
        assert!(Arc::ptr_eq(&first.function, &second.function));
        known.insert(Place::Kernel(1), [first].into());
        known.insert(Place::Kernel(2), [second].into());
        let two = known.bytes();
        assert_eq!(known.keep(&[Place::Kernel(1)].into()), 1);
        assert!(known.bytes() < two && known.bytes() > 0);
        assert_eq!((known.keep(&HashSet::new()), known.len(), known.bytes()), (1, 0, 0));
    }
}
