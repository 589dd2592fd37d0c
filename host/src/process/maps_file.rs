//! The lines of `/proc/<pid>/maps` (fs/proc/task_mmu.c, show_map_vma): bytes in, values out.

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapsLine {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the file.
    pub file_offset: u64,
    /// Major number of the file's device; 0 without a file.
    pub major: u32,
    /// Minor number of the file's device.
    pub minor: u32,
    /// Inode of the file; 0 without a file.
    pub inode: u64,
    /// Path, or a name such as `[vdso]`; empty for anonymous memory. A newline in it reads `\012`.
    pub path: String,
}

use super::living::by_living_task;
use super::reader::{Unseen, reason};
use super::selection::Selection;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

impl MapsLine {
    /// Returns the part of the file that it shows.
    pub fn file_range(&self) -> Range<u64> {
        self.file_offset..self.file_offset.saturating_add(self.end - self.start)
    }

    /// Returns what this would be as the part of a file that two mappings of it leave out between them; `None` if it does not
    /// fit there.
    fn between(&self, (before, after): &(Self, Self)) -> Option<Self> {
        let file = |line: &Self| (line.major, line.minor, line.inode, line.path.clone());
        let file_offset = before.file_range().end;
        let fits = before.inode != 0
            && file(before) == file(after)
            && (before.end, after.start) == (self.start, self.end)
            && file_offset.checked_add(self.end - self.start) == Some(after.file_offset);
        fits.then(|| Self { start: self.start, end: self.end, file_offset, ..before.clone() })
    }
}

/// A line is longer only in damaged text: a path has 4096 bytes at most, of which each may be written as four.
const LINE_BYTES_MAX: u64 = 17_000;

/// Hands the executable mappings of a maps file to `take`, in its order, without holding the text. Lines that are
/// none, or not understood, are left out. Code that was moved into memory without a file, as some programs do to have it in
/// large pages, is the file's that is mapped on both sides of it. Returns whether there was any text.
pub fn read_maps(mut text: impl BufRead, mut take: impl FnMut(MapsLine)) -> io::Result<bool> {
    let (mut line, mut before) = (Vec::new(), Vec::new());
    let mut moved: Option<(MapsLine, Option<MapsLine>)> = None;
    let mut any = false;
    loop {
        line.clear();
        let is_end = Read::take(&mut text, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some((memory, before)) = moved.take() {
            take(before.zip(parse_any(text)).and_then(|sides| memory.between(&sides)).unwrap_or(memory));
        }
        if is_end {
            return Ok(any);
        }
        any = true;
        match parse_line(text) {
            Some(line) if line.inode == 0 && line.path.is_empty() => moved = Some((line, parse_any(&before))),
            Some(line) => take(line),
            None => {}
        }
        std::mem::swap(&mut line, &mut before);
        if before.last() == Some(&b'\n') {
            before.pop();
        }
    }
}

/// Bytes of the paths of one process's mappings: a hundred for each of as many as there may be.
const PATHS_BYTES: usize = 4 << 20;

/// The executable mappings of a process.
#[derive(Debug, Default)]
pub(super) struct ExecutableMaps {
    pub(super) lines: Vec<MapsLine>,
    /// The number of those that are left out.
    pub(super) left_out: u64,
}

/// Reads the mappings of a process, or else, if it is gone, of its parent: `most` of them at most, and those in which the
/// addresses `sampled` lie, which are sorted. `None` if neither has any.
pub(super) fn read_executable_maps(
    (pid, tid, parent): (u32, u32, u32),
    most: usize,
    sampled: &[u64],
) -> io::Result<Option<ExecutableMaps>> {
    let read = |task| {
        let mut maps = ExecutableMaps::default();
        let text = BufReader::with_capacity(1 << 14, File::open(format!("/proc/{task}/maps"))?);
        let mut selection = Selection::new(most, sampled);
        let (mut bytes, mut too_long) = (0, 0);
        let any = read_maps(text, |line| {
            if !selection.takes(&line) {
                return;
            }
            bytes += line.path.len();
            match bytes <= PATHS_BYTES {
                true => maps.lines.push(line),
                false => too_long += 1,
            }
        })?;
        maps.left_out = selection.left_out() + too_long;
        Ok(any.then_some(maps))
    };
    match by_living_task(pid, tid, read) {
        Err(error) if reason(&error) != Unseen::Gone => Err(error),
        Ok(Some(maps)) => Ok(Some(maps)),
        _ if parent == 0 => Ok(None),
        _ => by_living_task(parent, parent, read),
    }
}

/// The executable mappings of a maps file, in its order. Lines that are none, or not understood, are left out.
pub fn parse_maps(text: &[u8]) -> Vec<MapsLine> {
    let mut lines = Vec::new();
    // Bytes in memory can be read.
    let _any = read_maps(text, |line| lines.push(line));
    lines
}

/// `55d0-55d4 r-xp 00002000 fd:01 1234   /usr/bin/cat`
fn parse_line(line: &[u8]) -> Option<MapsLine> {
    // Most mappings are not executable: `START-END rw-p ...`
    let permissions = line.iter().position(|byte| *byte == b' ')? + 1;
    if line.get(permissions + 2) != Some(&b'x') {
        return None;
    }
    parse_any(line)
}

/// The same of any mapping.
fn parse_any(line: &[u8]) -> Option<MapsLine> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let file_offset = hex(fields.next()?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let (start, end) = (hex(start)?, hex(end)?);
    let small = |text: &str| u32::from_str_radix(text, 16).ok();
    let path = fields.next().unwrap_or("").trim_start().to_owned();
    (start < end).then_some(MapsLine {
        start,
        end,
        file_offset,
        major: small(major)?,
        minor: small(minor)?,
        inode,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_executable_mappings_and_only_those() {
        let text = b"55d0e000-55d10000 r--p 00000000 fd:01 1234                       /usr/bin/cat\n\
            55d10000-55d14000 r-xp 00002000 fd:01 1234                       /usr/bin/cat\n\
            7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
            7ffc8000-7ffc9000 r-xp 00000000 00:00 0                  [vdso]\n";
        let maps = parse_maps(text);
        assert_eq!(maps.len(), 3);
        assert_eq!((maps[0].start, maps[0].end, maps[0].file_offset), (0x55d1_0000, 0x55d1_4000, 0x2000));
        assert_eq!((maps[0].major, maps[0].minor, maps[0].inode), (0xfd, 1, 1234));
        assert_eq!(maps[0].path, "/usr/bin/cat");
        assert_eq!(maps[1].path, "");
        assert_eq!(maps[2].path, "[vdso]");
    }

    #[test]
    fn code_that_was_moved_into_memory_is_that_of_the_file_around_it() {
        let around = |text: &str| {
            let maps = parse_maps(text.as_bytes());
            (maps[0].path.clone(), maps[0].file_offset, maps[0].inode)
        };
        let text = "400000-401000 r--p 00000000 fd:01 7   /bin/x\n\
            401000-403000 r-xp 00000000 00:00 0 \n\
            403000-404000 r--p 00003000 fd:01 7   /bin/x\n";
        assert_eq!(around(text), ("/bin/x".into(), 0x1000, 7));
        let nothing = (String::new(), 0, 0);
        for (from, to) in [
            ("00003000", "00004000"),
            ("fd:01 7   /bin/x\n401", "fd:01 8   /bin/x\n401"),
            ("403000-404", "413000-414"),
        ] {
            assert_eq!(around(&text.replace(from, to)), nothing, "{from}");
        }
        assert_eq!(around("401000-403000 r-xp 00000000 00:00 0 "), nothing);
    }

    #[test]
    fn keeps_spaces_in_paths() {
        let maps = parse_maps(b"1000-2000 r-xp 00000000 08:01 7   /opt/my app/x (deleted)\n");
        assert_eq!(maps[0].path, "/opt/my app/x (deleted)");
    }

    #[test]
    fn leaves_out_what_it_does_not_understand() {
        let text = b"\n-\n1-2\nzz-yy r-xp 0 0:0 0\n2000-1000 r-xp 0 0:0 0\n1000-2000 r-xp 0 0 0\n";
        assert_eq!(parse_maps(text), []);
    }

    #[test]
    fn reads_our_own_maps() {
        let maps = parse_maps(&std::fs::read("/proc/self/maps").unwrap());
        let here = reads_our_own_maps as fn() as usize as u64;
        assert!(maps.iter().any(|map| (map.start..map.end).contains(&here) && map.inode != 0));
    }
}
