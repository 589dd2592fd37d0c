//! Reads an ELF file's headers as far as attribution needs them: bytes in, values out.
//! Layouts as in the ELF specification (System V gABI, chapters 4 and 5), of both classes, little-endian.

use object::elf::{FileHeader32, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{LittleEndian, ReadRef};
use std::ops::Range;

/// A loaded, executable part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Offset in the file.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Address that the file states for its first byte.
    pub address: u64,
}

impl Segment {
    /// The address that the file states for an offset, whether the segment holds that or not.
    pub fn address_of(&self, file_offset: u64) -> u64 {
        self.address.wrapping_add(file_offset).wrapping_sub(self.file_offset)
    }

    fn end(&self) -> u64 {
        self.file_offset.saturating_add(self.file_bytes)
    }

    /// Tells whether a mapping of this range of the file begins as one of this segment does: at a page's beginning.
    fn begins(&self, mapped: &Range<u64>) -> bool {
        // Pages of all architectures.
        [0xfff_u64, 0x3fff, 0xffff].iter().any(|page| self.file_offset & !page == mapped.start)
    }

    fn overlap(&self, mapped: &Range<u64>) -> u64 {
        self.end().min(mapped.end).saturating_sub(self.file_offset.max(mapped.start))
    }
}

/// Chooses the segment that a mapping of a range of the file shows, for an offset in it. Mappings begin and end at pages'
/// boundaries, so they show parts of the segments' neighbours, too, whose addresses are others.
pub fn segment_of<'a>(segments: &'a [Segment], mapped: &Range<u64>, file_offset: u64) -> Option<&'a Segment> {
    let shown = segments.iter().filter(|segment| segment.overlap(mapped) > 0 || segment.begins(mapped));
    let fits = |segment: &&Segment| {
        let holds = (segment.file_offset..segment.end()).contains(&file_offset);
        (segment.begins(mapped), holds, segment.overlap(mapped))
    };
    shown.max_by_key(fits)
}

/// Why a file has no segments for us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a little-endian ELF file: {0}")]
pub struct NotElf(String);

/// The executable segments, in the file's order.
pub fn segments<'data>(data: impl ReadRef<'data>) -> Result<Vec<Segment>, NotElf> {
    segments_by::<FileHeader64<LittleEndian>>(data)
        .or_else(|other| segments_by::<FileHeader32<LittleEndian>>(data).map_err(|_| other))
}

fn segments_by<'data, H: FileHeader<Endian = LittleEndian>>(
    data: impl ReadRef<'data>,
) -> Result<Vec<Segment>, NotElf> {
    let headers = program_headers::<H>(data)?;
    let executable = headers.iter().filter(|header| {
        header.p_type(LittleEndian) == PT_LOAD && header.p_flags(LittleEndian).contains(PF_X)
    });
    Ok(executable
        .map(|header| Segment {
            file_offset: header.p_offset(LittleEndian).into(),
            file_bytes: header.p_filesz(LittleEndian).into(),
            address: header.p_vaddr(LittleEndian).into(),
        })
        .collect())
}

/// Bytes of a build id that is taken for one.
const BUILD_ID_MAX: usize = 64;

/// The GNU build id, from the notes that program headers point at; `None` if the file has none.
pub fn build_id_of<'data>(data: impl ReadRef<'data>) -> Result<Option<Vec<u8>>, NotElf> {
    build_id_by::<FileHeader64<LittleEndian>>(data)
        .or_else(|other| build_id_by::<FileHeader32<LittleEndian>>(data).map_err(|_| other))
}

fn build_id_by<'data, H: FileHeader<Endian = LittleEndian>>(
    data: impl ReadRef<'data>,
) -> Result<Option<Vec<u8>>, NotElf> {
    for header in program_headers::<H>(data)? {
        let notes: Option<NoteIterator<'_, H>> = header.notes(LittleEndian, data).map_err(not_elf)?;
        let Some(mut notes) = notes else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"GNU" && note.n_type(LittleEndian) == NT_GNU_BUILD_ID {
                // The kernel takes 20 bytes at most (include/linux/buildid.h); a linker can be told any.
                return Ok(Some(note.desc()).filter(|id| id.len() <= BUILD_ID_MAX).map(<[u8]>::to_vec));
            }
        }
    }
    Ok(None)
}

fn program_headers<'data, H: FileHeader<Endian = LittleEndian>>(
    data: impl ReadRef<'data>,
) -> Result<&'data [H::ProgramHeader], NotElf> {
    let header = H::parse(data).map_err(not_elf)?;
    if !header.is_little_endian() {
        return Err(NotElf("big-endian".into()));
    }
    header.program_headers(LittleEndian, data).map_err(not_elf)
}

fn not_elf(error: object::Error) -> NotElf {
    NotElf(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_segments_and_build_id_of_our_own_program() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let segments = segments(&*file).unwrap();
        assert!(!segments.is_empty());
        assert!(build_id_of(&*file).unwrap().is_none_or(|id| id.len() >= 8));
    }

    #[test]
    fn agrees_with_the_loader_about_a_function_of_libc() {
        // The loader mapped libc; the mapping's start plus our arithmetic must give the stated address.
        let maps = super::super::parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let address = libc::getpid as *const () as u64;
        let Some(map) = maps.iter().find(|map| (map.start..map.end).contains(&address) && map.inode != 0)
        else {
            panic!("getpid lies in no mapped file")
        };
        let file = std::fs::read(&map.path).unwrap();
        let offset = address - map.start + map.file_offset;
        let stated = segments(&*file).unwrap();
        let stated = segment_of(&stated, &map.file_range(), offset).unwrap().address_of(offset);
        assert_eq!((address - stated) % 4096, 0, "the load bias is a whole number of pages");
    }

    #[test]
    fn refuses_what_is_not_elf() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0; 64]] {
            assert!(segments(bytes).is_err());
            assert!(build_id_of(bytes).is_err());
        }
    }
}
