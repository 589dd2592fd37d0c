//! The files into which debug information was split off, wherever they are: with the file, in the places of distributions, in the
//! file's own container and on the host.

use super::debug::has_debug_information;
use super::elf::{Bytes, Sections};
use super::limit::CpuLimit;
use crate::process::{Headers, PinnedFile, WatchedFile, build_id_of};
use flate2::Crc;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The folder into which distributions put what they split off.
const PLACE: &str = "/usr/lib/debug";
/// A file is held against a checksum only up to this size; a larger one needs a build id.
const CHECKED_BYTES: u64 = 64 << 20;
/// Bytes of `.gnu_debuglink`: a name, what fills it up, and the checksum.
const LINK_BYTES: usize = 4096 + 8;

/// A file whose debug information is looked for.
#[derive(Debug)]
pub(super) struct Origin<'f> {
    pub(super) file: &'f File,
    pub(super) path: &'f str,
    pub(super) build_id: Option<&'f [u8]>,
    /// A task that has it mapped, if it is there still.
    pub(super) task: u32,
}

/// A name and a checksum (GDB's manual, "Debugging Information in Separate Files").
#[derive(Debug, PartialEq, Eq)]
struct Link {
    name: String,
    checksum: u32,
}

impl Origin<'_> {
    /// Finds the file with its debug information, if there is one that it agrees with.
    pub(super) fn split(&self, limit: CpuLimit) -> io::Result<Option<File>> {
        let link = link_of(self.file)?;
        if link.is_none() && self.build_id.is_none() {
            return Ok(None);
        }
        let path = Path::new(self.path);
        // Below a root that was changed without a namespace of its own, the path is from ours.
        let inside = std::fs::read_link(format!("/proc/{}/root", self.task)).unwrap_or_default();
        let inside = path.strip_prefix(inside).map_or(path.to_owned(), |path| Path::new("/").join(path));
        let own_root = PinnedFile::root_of(self.task).ok().map(|root| (root, inside.as_path()));
        for (root, path) in own_root.into_iter().chain(File::open("/").ok().map(|root| (root, path))) {
            for place in self.places(link.as_ref(), path) {
                let found = match PinnedFile::below(&root, &place).and_then(|file| file.open()) {
                    Ok(found) => found,
                    Err(error) if is_absence(&error) => continue,
                    Err(error) => return Err(error),
                };
                if self.agrees(&found, link.as_ref(), limit)? && has_debug_information(&found)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Lists where it may be beside a path, the likeliest first.
    fn places(&self, link: Option<&Link>, path: &Path) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Some(id) = self.build_id.filter(|id| id.len() > 1) {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            places.push(Path::new(PLACE).join(format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..])));
        }
        let folder = path.parent().filter(|folder| folder.is_absolute());
        if let (Some(Link { name, .. }), Some(folder)) = (link, folder) {
            places.push(folder.join(name));
            places.push(folder.join(".debug").join(name));
            places.push(Path::new(PLACE).join(folder.strip_prefix("/").unwrap_or(folder)).join(name));
        }
        places
    }

    /// Tells whether a file belongs to this one: by the build id that both have, or else by the checksum.
    fn agrees(&self, found: &File, link: Option<&Link>, limit: CpuLimit) -> io::Result<bool> {
        let watched = WatchedFile::new(found);
        let build_id = watched.judge(build_id_of(&Headers::of(&watched)).unwrap_or_default())?;
        match (self.build_id, build_id, link) {
            (Some(ours), Some(theirs), _) => Ok(ours == theirs),
            (_, _, Some(link)) => Ok(checksum(found, limit)? == Some(link.checksum)),
            _ => Ok(false),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    // What is not a regular file has no number.
    let known = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::EISDIR, libc::ENAMETOOLONG];
    error.raw_os_error().is_none_or(|number| known.contains(&number))
}

/// Reads `.gnu_debuglink`.
fn link_of(file: &File) -> io::Result<Option<Link>> {
    let Some(section) = Sections::of(file)?.named(b".gnu_debuglink")? else { return Ok(None) };
    let length = usize::try_from(section.bytes).unwrap_or(usize::MAX).min(LINK_BYTES);
    let mut bytes = vec![0; length];
    let read = file.some(&mut bytes, section.offset)?;
    Ok(parse_link(&bytes[..read]))
}

/// A name that ends with a zero, zeros up to a multiple of four bytes, a checksum.
fn parse_link(bytes: &[u8]) -> Option<Link> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = str::from_utf8(&bytes[..end]).ok()?;
    let checksum = bytes.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
    // A name and no path: what it says leads nowhere else.
    let is_name = !name.is_empty() && !name.contains('/') && name != "..";
    is_name.then(|| Link { name: name.into(), checksum: u32::from_le_bytes(*checksum) })
}

/// Computes the checksum of all of a file; `None` of one that is too large for that.
fn checksum(file: &File, limit: CpuLimit) -> io::Result<Option<u32>> {
    if file.metadata()?.len() > CHECKED_BYTES {
        return Ok(None);
    }
    let (mut sum, mut at, mut buffer) = (Crc::new(), 0, vec![0; 1 << 16]);
    loop {
        if limit.is_over() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match file.some(&mut buffer, at)? {
            0 => return Ok(Some(sum.sum())),
            read => {
                sum.update(&buffer[..read]);
                at += read as u64;
                // It may grow while it is read.
                if at > CHECKED_BYTES {
                    return Ok(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_name_and_a_checksum() {
        let link = |name: &str| Some(Link { name: name.into(), checksum: 0x0403_0201 });
        assert_eq!(parse_link(b"x.debug\0\x01\x02\x03\x04"), link("x.debug"));
        assert_eq!(parse_link(b"xy\0\0\x01\x02\x03\x04"), link("xy"));
        for bytes in [&b""[..], b"x", b"x\0", b"x\0\0\0\x01\x02\x03", b"\0\0\0\0\x01\x02\x03\x04"] {
            assert_eq!(parse_link(bytes), None, "{bytes:?}");
        }
        for bytes in [
            &b"../secret\0\0\0\x01\x02\x03\x04"[..],
            b"..\0\0\x01\x02\x03\x04",
            b"/etc/x\0\0\x01\x02\x03\x04",
        ] {
            assert_eq!(parse_link(bytes), None, "{bytes:?}");
        }
    }
}
