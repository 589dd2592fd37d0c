//! A file: unpacked, and read by what it is.

use super::Profile;
use super::folded::{self, FoldedError};
use super::pprof::{self, PprofError};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read of a file, packed and unpacked: a few kilobytes can be unpacked to any size.
const MOST_BYTES: u64 = 256 << 20;

/// The page to show.
#[derive(Debug)]
pub enum Page {
    /// A page that somebody made, as it is.
    Made(Vec<u8>),
    /// A profile, to be made a page of.
    Profile(Box<Profile>),
}

/// Why a file cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It is too large.
    #[error("{path} holds more than {} MiB, unpacked, which is more than is read of a file", MOST_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is packed, and damaged.
    #[error("{path} cannot be unpacked: {cause}; is all of it there?")]
    Unpack {
        /// The file.
        path: PathBuf,
        /// The fault.
        cause: io::Error,
    },
    /// It is something that other programs open.
    #[error("{path} is for {program}; `view` shows .pb.gz (pprof), .folded and .html")]
    Other {
        /// The file.
        path: PathBuf,
        /// The program that opens it.
        program: &'static str,
    },
    /// It is not what its name says, or what is in it looks like.
    #[error("{path}: {cause}")]
    Folded {
        /// The file.
        path: PathBuf,
        /// The fault.
        cause: FoldedError,
    },
    /// The same.
    #[error("{path}: {cause}")]
    Pprof {
        /// The file.
        path: PathBuf,
        /// The fault.
        cause: PprofError,
    },
}

/// Reads a file; of pprof's the values called `wanted`, if that is said.
///
/// # Errors
///
/// A sentence that names the file.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Page, FileError> {
    let error = |cause| FileError::Read { path: path.into(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::TooLarge { path: path.into() });
    }
    parse(path, bytes, wanted, MOST_BYTES)
}

/// Parses the bytes of a file of this name; unpacked they may be `most`.
pub(crate) fn parse(path: &Path, bytes: Vec<u8>, wanted: Option<&str>, most: u64) -> Result<Page, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    let bytes = if packed { unpack(path, &bytes, most)? } else { bytes };
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let is = |endings: &[&str]| endings.iter().any(|ending| stem.ends_with(ending));
    let other = |program| Err(FileError::Other { path: path.into(), program });
    if is(&[".html", ".htm"]) {
        return Ok(Page::Made(bytes));
    }
    if is(&[".speedscope.json"]) {
        return other("https://www.speedscope.app");
    }
    if is(&[".json"]) {
        return other("https://profiler.firefox.com");
    }
    if is(&[".svg"]) {
        return other("any browser");
    }
    let pprof = |bytes: &[u8]| {
        pprof::read(bytes, wanted).map_err(|cause| FileError::Pprof { path: path.into(), cause })
    };
    // Text of other names is folded stacks, everything else pprof's.
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| !is(&[".pb", ".pprof", ".prof"]) && !text.contains('\0'));
    let profile = match text {
        Some(text) => folded::read(text).map_err(|cause| FileError::Folded { path: path.into(), cause })?,
        None if is(&[".folded"]) => {
            let text = String::from_utf8_lossy(&bytes);
            folded::read(&text).map_err(|cause| FileError::Folded { path: path.into(), cause })?
        }
        None => pprof(&bytes)?,
    };
    Ok(Page::Profile(Box::new(profile)))
}

fn unpack(path: &Path, bytes: &[u8], most: u64) -> Result<Vec<u8>, FileError> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(most + 1).read_to_end(&mut unpacked);
    read.map_err(|cause| FileError::Unpack { path: path.into(), cause })?;
    if unpacked.len() as u64 > most {
        return Err(FileError::TooLarge { path: path.into() });
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn parsed(name: &str, bytes: &[u8]) -> Result<Page, FileError> {
        parse(Path::new(name), bytes.to_vec(), None, 1 << 20)
    }

    #[test]
    fn a_file_is_read_by_what_it_is() {
        for (name, bytes) in [("a.folded", b"a;b 3\n".to_vec()), ("a.txt.gz", packed(b"a;b 3\n"))] {
            let Page::Profile(profile) = parsed(name, &bytes).unwrap() else { panic!("{name}") };
            assert_eq!(profile.graph.total(), Some(3), "{name}");
        }
        assert!(matches!(parsed("a.html", b"<p>").unwrap(), Page::Made(bytes) if bytes == b"<p>"));
    }

    #[test]
    fn a_few_bytes_that_unpack_to_many_are_refused() {
        let bomb = packed(&vec![0; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        let error = parsed("bomb.pb.gz", &bomb).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn what_is_refused_is_named_with_the_next_step() {
        for (name, bytes, expected) in [
            ("a.pb.gz", &packed(b"\x08")[..], "a.pb.gz: this is not a pprof profile"),
            ("a.pb.gz", &packed(b"some")[..9], "a.pb.gz cannot be unpacked"),
            ("a.pb.gz", b"", "a.pb.gz: the profile names no type of values"),
            ("a.folded", b"x y", "a.folded: line 1 does not end with a number"),
            ("a.speedscope.json", b"{}", "a.speedscope.json is for https://www.speedscope.app; `view` shows"),
            ("a.json.gz", &packed(b"{}"), "a.json.gz is for https://profiler.firefox.com"),
            ("a.svg", b"<svg/>", "a.svg is for any browser"),
        ] {
            let error = parsed(name, bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = read(Path::new("/no/such.pb.gz"), None).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /no/such.pb.gz: No such file"), "{error}");
    }
}
