//! Sections that are compressed, unpacked within a budget.

use super::elf::{Bytes, Sections, u32_at, u64_at};
use flate2::read::ZlibDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, Read};

/// `Elf64_Chdr` (System V gABI, chapter 4, "Compressed Sections").
const HEADER_BYTES: usize = 24;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// Unpacks a section that lies in so many bytes of a file from `offset` on; `None` if it is more than `budget`, whatever its
/// header says, or if it is damaged, or compressed in a way that is not known.
pub(crate) fn unpack(file: &dyn Bytes, offset: u64, bytes: u64, budget: u64) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES];
    if file.some(&mut header, offset)? < header.len() {
        return Ok(None);
    }
    let packed = bytes.saturating_sub(HEADER_BYTES as u64);
    if u64_at(&header, 8) > budget || packed > budget {
        return Ok(None);
    }
    let mut input = Range { file, at: offset.saturating_add(HEADER_BYTES as u64), left: packed };
    match u32_at(&header, 0) {
        ELFCOMPRESS_ZLIB => read_within(ZlibDecoder::new(input), budget),
        ELFCOMPRESS_ZSTD => {
            // A decoder makes room for as much as the frame asks for.
            let mut head = [0; ZSTD_HEADER_BYTES];
            let read = file.some(&mut head, input.at)?;
            if window_of(&head[..read]).is_none_or(|window| window > budget) {
                return Ok(None);
            }
            match StreamingDecoder::new(&mut input) {
                Ok(unpacked) => read_within(unpacked, budget),
                Err(_) => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Unpacks the symbols that some distributions leave in files that they strip: an ELF file in a section of its own, packed
/// by xz (the section is described in GDB's manual, "MiniDebugInfo"). `None` as [`unpack`].
pub(super) fn mini_debug_information(file: &dyn Bytes, budget: u64) -> io::Result<Option<Vec<u8>>> {
    let found = Sections::of(file)?.named(b".gnu_debugdata")?;
    let Some(section) = found.filter(|section| section.bytes <= budget) else { return Ok(None) };
    let input = Range { file, at: section.offset, left: section.bytes };
    read_within(XzReader::new_mem_limit(input, false, XZ_KIB), budget)
}

/// A dictionary is larger than any of these sections where somebody means harm. Of what is allotted only that takes memory
/// that is written.
const XZ_KIB: u32 = 72 << 10;

/// Reads all that is unpacked, if that is no more than `budget`.
fn read_within(unpacked: impl Read, budget: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match unpacked.take(budget.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 <= budget => {
            bytes.shrink_to_fit();
            Ok(Some(bytes))
        }
        // Of errors only those of reading have a number of the kernel's.
        Err(error) if error.raw_os_error().is_some() => Err(error),
        _ => Ok(None),
    }
}

/// A frame's header has so many bytes up to its size (RFC 8878, 3.1.1).
const ZSTD_HEADER_BYTES: usize = 18;

/// Reads how much memory a frame asks for (RFC 8878, 3.1.1.1).
fn window_of(frame: &[u8]) -> Option<u64> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    let (descriptor, rest) = rest.split_first()?;
    if *magic != [0x28, 0xb5, 0x2f, 0xfd] {
        return None;
    }
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single segment: as much as there is.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => u64::from(u16::from_le_bytes(*size.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_how_much_memory_it_asks_for() {
        let frame = |rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd][..], rest].concat();
        assert_eq!(window_of(&frame(&[0, 0])), Some(1024));
        assert_eq!(window_of(&frame(&[0, 0xf9])), Some((1 << 41) + (1 << 38)));
        assert_eq!(window_of(&frame(&[0x20, 7])), Some(7));
        assert_eq!(window_of(&frame(&[0x61, 9, 1, 2])), Some(0x201 + 256));
        assert_eq!(window_of(&frame(&[0x20])), None);
        assert_eq!(window_of(b"x\xb5\x2f\xfd\0\0"), None);
    }
}
