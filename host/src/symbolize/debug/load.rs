//! Which sections debug information is in, and how they are compressed.

use super::super::elf::{Bytes, Section as Header, Sections, u32_at, u64_at};
use super::section::SectionBytes;
use super::work::Work;
use flate2::read::ZlibDecoder;
use gimli::SectionId;
use std::io::{self, Read};

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
/// `Elf64_Chdr`.
const COMPRESSION_HEADER_BYTES: usize = 24;
const ELFCOMPRESS_ZLIB: u32 = 1;

/// The sections of a file's debug information.
pub(super) struct Loaded<'f> {
    pub(super) sections: Vec<(SectionId, SectionBytes<'f>)>,
    /// Set if one was left out because it does not fit into memory.
    pub(super) too_large: bool,
}

/// Tells whether a file has debug information.
pub(in super::super) fn has_debug_information(file: &dyn Bytes) -> io::Result<bool> {
    Ok(headers(file)?.iter().any(|(id, _)| *id == SectionId::DebugInfo))
}

/// Loads what is wanted, of which the compressed part may take `budget` bytes.
pub(super) fn load<'f>(file: &'f dyn Bytes, budget: u64, work: &'f Work) -> io::Result<Loaded<'f>> {
    let mut found = headers(file)?;
    found.sort_by_key(|(id, _)| WANTED.iter().position(|wanted| wanted == id));
    let mut loaded = Loaded { sections: Vec::new(), too_large: false };
    let mut left = budget;
    for (id, header) in found {
        if header.compressed {
            match unpack(file, &header, left)? {
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

/// The first section of each name.
fn headers(file: &dyn Bytes) -> io::Result<Vec<(SectionId, Header)>> {
    let mut found = Vec::<(SectionId, Header)>::new();
    Sections::of(file)?.each_named(|name, section| {
        if let Some(id) = WANTED.iter().find(|id| id.name().as_bytes() == name)
            && section.is_in_file()
            && found.iter().all(|(known, _)| known != id)
        {
            found.push((*id, section));
        }
    })?;
    Ok(found)
}

/// The bytes of a compressed section; `None` if they are more than `budget`, whatever its header says, or if they are
/// damaged, or compressed in a way that is not known.
fn unpack(file: &dyn Bytes, section: &Header, budget: u64) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; COMPRESSION_HEADER_BYTES];
    if file.some(&mut header, section.offset)? < header.len() {
        return Ok(None);
    }
    let packed = section.bytes.saturating_sub(COMPRESSION_HEADER_BYTES as u64);
    if u32_at(&header, 0) != ELFCOMPRESS_ZLIB || u64_at(&header, 8) > budget || packed > budget {
        return Ok(None);
    }
    let input =
        Range { file, at: section.offset.saturating_add(COMPRESSION_HEADER_BYTES as u64), left: packed };
    let mut bytes = Vec::new();
    let mut unpacked = ZlibDecoder::new(input).take(budget.saturating_add(1));
    match unpacked.read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 <= budget => {
            bytes.shrink_to_fit();
            Ok(Some(bytes))
        }
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(None),
    }
}

/// Tells whether an error is about the bytes, and not about reading them.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Part of a file, to be read once.
struct Range<'f> {
    file: &'f dyn Bytes,
    at: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.some(&mut buffer[..wanted], self.at)?;
        self.at = self.at.saturating_add(count as u64);
        self.left -= count as u64;
        Ok(count)
    }
}
