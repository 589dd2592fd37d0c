//! Which upstream version is running?
//!
//! Known bugs have upstream version ranges, and `uname -r` need not be one: a distribution's
//! release may say 6.1.0-NN for the source of 6.1.192. The kernel's own code says better.

use serde::{Serialize, Serializer};
use std::fmt;

/// An upstream version, `[major, minor, patch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

/// Versions from `first` on, up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    first: Version,
    end: Version,
}

/// The source that a version was read from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// LINUX_VERSION_CODE in the ELF note of our own vDSO: what the kernel was compiled from.
    Vdso,
    /// `/proc/version_signature`: Ubuntu states the upstream version there.
    VersionSignature,
    /// `Debian x.y.z` in `uname -v`.
    UnameVersion,
    /// `uname -r`, which a vendor may have chosen freely.
    UnameRelease,
}

/// The version of the running kernel, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KernelVersion {
    /// The upstream version.
    pub version: Version,
    /// The source that it was read from.
    pub source: Source,
}

impl KernelVersion {
    /// Asks every source in order; `None` if not even `uname -r` begins with a version.
    pub fn detect() -> Option<Self> {
        let text =
            |path: &str| std::fs::read(path).ok().map(|text| String::from_utf8_lossy(&text).into_owned());
        let uname = |file: &str| text(&format!("/proc/sys/kernel/{file}"));
        let signature = text("/proc/version_signature");
        choose([
            (own_vdso().as_deref().and_then(in_vdso), Source::Vdso),
            (signature.and_then(|s| in_version_signature(&s)), Source::VersionSignature),
            (uname("version").and_then(|s| in_uname_version(&s)), Source::UnameVersion),
            (uname("osrelease").and_then(|s| leading(&s)), Source::UnameRelease),
        ])
    }
}

/// The first that is known. A version code holds no patch above 255 and then says 255; there the
/// next source that says a higher one of the same series is taken.
fn choose(sources: [(Option<Version>, Source); 4]) -> Option<KernelVersion> {
    let mut known = sources
        .into_iter()
        .filter_map(|(version, source)| version.map(|version| KernelVersion { version, source }));
    let first = known.next()?;
    let [major, minor, patch] = first.version.0;
    if first.source != Source::Vdso || patch < 255 {
        return Some(first);
    }
    let exact =
        known.find(|other| matches!(other.version.0, [a, b, c] if (a, b) == (major, minor) && c > 255));
    Some(exact.unwrap_or(first))
}

/// A copy of our vDSO, by its extent in `/proc/self/maps`.
fn own_vdso() -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let line = maps.split(|byte| *byte == b'\n').find(|line| line.ends_with(b"[vdso]"))?;
    let line = str::from_utf8(line).ok()?;
    let (first, end) = line.split_whitespace().next()?.split_once('-')?;
    let (first, end) = (u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    // Two pages today; a limit only so that nonsense is not believed.
    let bytes = usize::try_from(end.checked_sub(first)?).ok().filter(|bytes| *bytes <= 1 << 20)?;
    let mut vdso = vec![0; bytes];
    std::fs::File::open("/proc/self/mem").ok()?.read_exact_at(&mut vdso, first).ok()?;
    Some(vdso)
}

/// LINUX_VERSION_CODE from a vDSO: an ELF note by the name `Linux` of type 0, whose four bytes
/// are `major << 16 | minor << 8 | patch`; a patch above 255 reads as 255
/// (`arch/*/kernel/vdso/note.S`, the kernel's top Makefile).
pub(crate) fn in_vdso(elf: &[u8]) -> Option<Version> {
    const PT_NOTE: u32 = 4;
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let headers = usize::try_from(u64_at(elf, 32)?).ok()?;
    let (header_bytes, count) = (usize::from(u16_at(elf, 54)?), usize::from(u16_at(elf, 56)?));
    for index in 0..count {
        let header = elf.get(headers.checked_add(index * header_bytes)?..)?;
        if u32_at(header, 0)? != PT_NOTE {
            continue;
        }
        let (offset, bytes) = (usize::try_from(u64_at(header, 8)?), usize::try_from(u64_at(header, 32)?));
        let notes = elf.get(offset.ok()?..)?;
        if let Some(version) = in_notes(notes.get(..bytes.ok()?).unwrap_or(notes)) {
            return Some(version);
        }
    }
    None
}

fn in_notes(mut notes: &[u8]) -> Option<Version> {
    while !notes.is_empty() {
        let (name_bytes, value_bytes) = (u32_at(notes, 0)?, u32_at(notes, 4)?);
        let (name_bytes, value_bytes) =
            (usize::try_from(name_bytes).ok()?, usize::try_from(value_bytes).ok()?);
        let value_at = 12usize.checked_add(name_bytes.checked_next_multiple_of(4)?)?;
        let name = notes.get(12..12usize.checked_add(name_bytes)?)?;
        if name == b"Linux\0" && u32_at(notes, 8)? == 0 && value_bytes == 4 {
            let code = u32_at(notes, value_at)?;
            return Some(Version([code >> 16, code >> 8 & 0xff, code & 0xff]));
        }
        notes = notes.get(value_at.checked_add(value_bytes.checked_next_multiple_of(4)?)?..)?;
    }
    None
}

/// `Ubuntu 5.4.0-12.15-generic 5.4.8`: the last word.
pub(crate) fn in_version_signature(text: &str) -> Option<Version> {
    leading(text.split_whitespace().last()?)
}

/// `#1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)`: what follows `Debian`.
pub(crate) fn in_uname_version(text: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == "Debian")?;
    leading(words.next()?)
}

/// The version that `text` begins with: `6.18.44-fc`, `6.2-rc1`.
fn leading(text: &str) -> Option<Version> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut parts = text[..end].split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let patch = parts.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
    Some(Version([major, minor, patch]))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|value| u16::from_ne_bytes(*value))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|value| u32::from_ne_bytes(*value))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|value| u64::from_ne_bytes(*value))
}

impl VersionRange {
    /// From `first` on, up to and without `end`.
    pub const fn new(first: [u32; 3], end: [u32; 3]) -> Self {
        Self { first: Version(first), end: Version(end) }
    }

    /// Tells whether `version` lies in the range.
    pub fn contains(&self, version: Version) -> bool {
        (self.first..self.end).contains(&version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vdso => "the vDSO's version note",
            Self::VersionSignature => "/proc/version_signature",
            Self::UnameVersion => "uname -v",
            Self::UnameRelease => "uname -r",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap();
        for number in [length(name), length(value), kind] {
            bytes.extend(number.to_ne_bytes());
        }
        for part in [name, value] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..5].copy_from_slice(b"\x7fELF\x02");
        bytes[32..40].copy_from_slice(&64u64.to_ne_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_ne_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_ne_bytes());
        bytes[64..68].copy_from_slice(&4u32.to_ne_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_ne_bytes());
        bytes[96..104].copy_from_slice(&(notes.len() as u64).to_ne_bytes());
        bytes.extend(notes);
        bytes
    }

    #[test]
    fn reads_the_version_from_a_vdso_note_among_others() {
        let code = ((6 << 16) | (1 << 8) | 192u32).to_ne_bytes();
        let notes = [note(b"GNU\0", 3, &[7; 20]), note(b"Linux\0", 0, &code)].concat();
        assert_eq!(in_vdso(&elf(&notes)), Some(Version([6, 1, 192])));
        assert_eq!(in_vdso(&elf(&note(b"Linux\0", 1, &code))), None, "another type of note");
        assert_eq!(in_vdso(&elf(&note(b"GNU\0", 0, &code))), None, "another owner");
    }

    #[test]
    fn finds_no_version_in_a_damaged_vdso() {
        let whole = elf(&note(b"Linux\0", 0, &[4, 3, 2, 0]));
        for end in 0..whole.len() {
            assert_eq!(in_vdso(&whole[..end]), None, "cut at {end}");
        }
        let mut huge = whole.clone();
        huge[120..124].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(in_vdso(&huge), None);
    }

    #[test]
    fn reads_versions_as_distributions_write_them() {
        assert_eq!(in_version_signature("Ubuntu 5.4.0-12.15-generic 5.4.8\n"), Some(Version([5, 4, 8])));
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)\n";
        assert_eq!(in_uname_version(debian), Some(Version([6, 1, 55])));
        assert_eq!(in_uname_version("#1 SMP Tue Nov 24 2026"), None);
        for (release, version) in [
            ("6.1.0-13-amd64", Some([6, 1, 0])),
            ("6.18.44-fc-v595", Some([6, 18, 44])),
            ("5.14.0-503.11.1.el9_5.x86_64", Some([5, 14, 0])),
            ("6.2-rc1", Some([6, 2, 0])),
            ("next", None),
            ("", None),
            ("6", None),
        ] {
            assert_eq!(leading(release), version.map(Version), "{release}");
        }
    }

    #[test]
    fn takes_the_exact_patch_from_elsewhere_where_the_note_cannot_hold_it() {
        use Source::{UnameRelease, UnameVersion, Vdso, VersionSignature};
        let table = [
            // Debian's 5.10.0-46: its source is 5.10.262.
            (Some([5, 10, 255]), Some([5, 10, 262]), Some([5, 10, 0]), [5, 10, 262], UnameVersion),
            (Some([5, 10, 255]), None, Some([5, 10, 0]), [5, 10, 255], Vdso),
            (Some([5, 10, 255]), Some([6, 1, 300]), None, [5, 10, 255], Vdso),
            (Some([6, 1, 192]), Some([6, 1, 193]), Some([6, 1, 0]), [6, 1, 192], Vdso),
            (None, Some([6, 1, 192]), Some([6, 1, 0]), [6, 1, 192], UnameVersion),
            (None, None, Some([6, 1, 0]), [6, 1, 0], UnameRelease),
        ];
        for (vdso, debian, release, version, source) in table {
            let sources = [
                (vdso.map(Version), Vdso),
                (None, VersionSignature),
                (debian.map(Version), UnameVersion),
                (release.map(Version), UnameRelease),
            ];
            assert_eq!(choose(sources), Some(KernelVersion { version: Version(version), source }));
        }
        assert_eq!(choose([Vdso, VersionSignature, UnameVersion, UnameRelease].map(|s| (None, s))), None);
    }

    #[test]
    fn this_kernel_states_its_version_in_its_vdso() {
        let own = KernelVersion::detect().unwrap();
        assert_eq!(own.source, Source::Vdso);
        assert!(own.version > Version([3, 0, 0]), "{own:?}");
    }
}
