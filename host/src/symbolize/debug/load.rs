//! Which sections debug information is in, and how they are compressed.

use super::super::compressed::unpack;
use super::super::elf::{Bytes, Class, Section as Header, Sections};
use super::section::SectionBytes;
use super::work::Work;
use gimli::SectionId;
use std::io;

/// Sections that are read, in the order in which memory is given to those that are compressed.
const WANTED: [SectionId; 10] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugRngLists,
    SectionId::DebugRanges,
    SectionId::DebugAddr,
    SectionId::DebugStrOffsets,
    SectionId::DebugStr,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugAranges,
];

/// The sections of a file's debug information.
pub(super) struct Loaded<'f> {
    pub(super) sections: Vec<(SectionId, SectionBytes<'f>)>,
    /// Set if one was left out because it does not fit into memory.
    pub(super) too_large: bool,
    /// Set if the file refers to another one for what it has in common with others (`.gnu_debugaltlink`, dwz(1)).
    pub(super) has_supplement: bool,
}

/// Tells whether a file has debug information.
pub(in super::super) fn has_debug_information(file: &dyn Bytes) -> io::Result<bool> {
    Ok(headers(file)?.0.iter().any(|(id, _)| *id == SectionId::DebugInfo))
}

/// Loads what is wanted, of which the compressed part may take `budget` bytes.
pub(super) fn load<'f>(file: &'f dyn Bytes, budget: u64, work: &'f Work) -> io::Result<Loaded<'f>> {
    let (mut found, has_supplement) = headers(file)?;
    found.sort_by_key(|(id, _)| WANTED.iter().position(|wanted| wanted == id));
    let mut loaded = Loaded { sections: Vec::new(), too_large: false, has_supplement };
    let mut left = budget;
    for (id, header) in found {
        if header.compressed {
            match unpack(file, header.offset, header.bytes, left)? {
                Some(bytes) => {
                    left -= bytes.len() as u64;
                    loaded.sections.push((id, SectionBytes::in_memory(bytes, work)));
                }
                None => loaded.too_large = true,
            }
        } else {
            loaded.sections.push((id, SectionBytes::in_file(file, header.offset, header.bytes, work)));
        }
    }
    Ok(loaded)
}

/// Finds the first section of each name, and whether there is one that refers to another file.
fn headers(file: &dyn Bytes) -> io::Result<(Vec<(SectionId, Header)>, bool)> {
    let mut found = Vec::<(SectionId, Header)>::new();
    let mut has_supplement = false;
    Sections::of(file)?.each_named(|name, section| {
        has_supplement |= name == b".gnu_debugaltlink";
        if let Some(id) = WANTED.iter().find(|id| id.name().as_bytes() == name)
            && section.is_in_file()
            // Headers of what is packed differ by class; 32-bit files are rare.
            && (section.class == Class::Bits64 || !section.compressed)
            && found.iter().all(|(known, _)| known != id)
        {
            found.push((*id, section));
        }
    })?;
    Ok((found, has_supplement))
}
