//! A directory of one file per batch and format.
//!
//! Which files an instance wrote, and in which order, stands on the files themselves, in an extended attribute: clocks
//! jump, and a name's time with them, and a list of its own would be one more file among the profiles.

use crate::clock;
use crate::format::Format;
use crate::place::PlaceError;
use rustix::fs::{XattrFlags, fsetxattr, lgetxattr};
use rustix::io::Errno;
use stacksonde_plugin::batch::Header;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// The beginning of its files' names.
const PREFIX: &str = "profile-";

/// The attribute of a file: its place in the order, and the instance that wrote it.
const MARK: &str = "user.stacksonde.written";

/// Bytes of a [`MARK`]; names of instances are short.
const MARK_BYTES: usize = 256;

/// The folder of the files, and the number of each format that stay. The files of an earlier run count as well; files that this
/// instance did not write are left alone.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) directory: PathBuf,
    pub(crate) keep: u32,
    /// The exporter's name.
    instance: String,
    /// The place in the order of the next file; not known before the first one.
    next: Option<u64>,
    /// Set while files can be marked. Some file systems take no attributes; there, names tell which files are ours, and
    /// the time of their last change, as far as it can be true, tells the order.
    is_marking: bool,
    /// When the last file was written, by the clock of the file system.
    last: Option<SystemTime>,
}

/// The place of a file in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    number: u64,
    /// Of files without a mark. What was changed in the future was changed while the clock was wrong: before now.
    time: Option<SystemTime>,
    name: String,
}

impl Series {
    pub(crate) fn new(directory: PathBuf, keep: u32, instance: &str) -> Self {
        Self { directory, keep, instance: instance.into(), next: None, is_marking: true, last: None }
    }

    /// `profile-20261124T022510Z-000042.pb.gz`: end of the interval in UTC, number of the batch.
    pub(crate) fn path(&self, header: &Header, format: Format) -> PathBuf {
        let time = clock::utc(header.unix_ns(header.end_ns) / 1_000_000_000);
        let sequence = header.sequence;
        self.directory.join(format!("{PREFIX}{time}-{sequence:06}.{}", format.extension()))
    }

    /// Marks a new file as the last one that was written.
    pub(crate) fn mark(&mut self, file: &File) -> io::Result<()> {
        let number = match self.next {
            Some(number) => number,
            None => {
                let last = self.written(None)?.into_iter().map(|written| written.number).max();
                last.map_or(0, |last| last.saturating_add(1))
            }
        };
        self.next = Some(number.saturating_add(1));
        let mark = format!("{number} {}", self.instance);
        // Whatever keeps it from being marked, the file is worth more than its mark.
        match fsetxattr(file, MARK, mark.as_bytes(), XattrFlags::empty()) {
            Ok(()) => self.is_marking = true,
            Err(Errno::NOTSUP | Errno::NOSYS) => self.is_marking = false,
            // It stays, as if it were not ours.
            Err(_) => {}
        }
        // By the clock of the file system, which need not be this machine's.
        self.last = file.metadata()?.modified().ok();
        Ok(())
    }

    /// Removes those files of `format` beyond the number that stays that were written first.
    pub(crate) fn remove_oldest(&self, format: Format) -> Result<(), PlaceError> {
        let mut files = self.written(Some(format)).map_err(|cause| PlaceError {
            what: "list",
            path: self.directory.clone(),
            cause,
        })?;
        files.sort_unstable();
        let surplus = files.len().saturating_sub(self.keep as usize);
        for written in files.into_iter().take(surplus) {
            let path = self.directory.join(written.name);
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(PlaceError { what: "remove", path, cause });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The files of `format`, or of all formats, that this instance has written.
    fn written(&self, format: Option<Format>) -> io::Result<Vec<Written>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_like_ours = name.strip_prefix(PREFIX).is_some_and(clock::starts_with_utc);
            // By the whole ending: another format's may end with this one's.
            if !is_like_ours || format.is_some_and(|format| Format::of(name.as_ref()) != Some(format)) {
                continue;
            }
            let mut mark = [0; MARK_BYTES];
            let length = lgetxattr(entry.path(), MARK, &mut mark);
            match length.ok().and_then(|length| parse(&mark[..length])) {
                Some((number, instance)) if instance == self.instance => {
                    files.push(Written { number, time: None, name });
                }
                None if !self.is_marking => {
                    // A file that is gone meanwhile needs no place.
                    let Ok(metadata) = entry.metadata() else { continue };
                    let time =
                        metadata.modified().ok().filter(|time| self.last.is_none_or(|last| *time <= last));
                    files.push(Written { number: 0, time, name });
                }
                _ => {}
            }
        }
        Ok(files)
    }
}

/// The number and the instance of a mark, which anybody may have written who may write there.
fn parse(mark: &[u8]) -> Option<(u64, &str)> {
    let (number, instance) = std::str::from_utf8(mark).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, instance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place;
    use std::time::Duration;

    /// A day of 2026, and one of 2099.
    const NOW: u64 = 1_795_487_110;
    const FAR: u64 = 4_083_000_000;

    fn series(directory: &tempfile::TempDir, keep: u32) -> Series {
        Series::new(directory.path().into(), keep, "files")
    }

    fn header(sequence: u64, end_s: u64) -> Header {
        Header { sequence, end_ns: end_s * 1_000_000_000, ..Header::default() }
    }

    /// Writes a file as the exporter does; returns its name.
    fn add(series: &mut Series, format: Format, number: u64, end_s: u64) -> String {
        let path = series.path(&header(number, end_s), format);
        place::whole(&path, |file| series.mark(file.get_ref())).unwrap();
        series.remove_oldest(format).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_carry_time_number_and_format() {
        let series = Series::new("/p".into(), 1, "files");
        let path = series.path(&header(42, NOW), Format::Pprof);
        assert_eq!(path.to_str().unwrap(), "/p/profile-20261124T022510Z-000042.pb.gz");
    }

    #[test]
    fn the_newest_of_each_format_stay_and_other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let foreign = [
            "profile-of-my-dog.svg",
            "profile-20261124T022510Z.txt",
            "a.svg",
            // As if it were ours, but nobody of this name wrote it.
            "profile-20991231T000000Z-000001.svg",
            "profile-20000101T000000Z-000001.svg",
        ];
        foreign.iter().for_each(|name| fs::write(directory.path().join(name), "").unwrap());
        let mut others = Series::new(directory.path().into(), 5, "others");
        let other = add(&mut others, Format::Svg, 9, NOW);
        let mut ours = series(&directory, 2);
        let pprof = add(&mut ours, Format::Pprof, 0, 5);
        let svgs: Vec<_> = (0..4).map(|number| add(&mut ours, Format::Svg, number, NOW + number)).collect();
        let mut expected: Vec<String> = foreign.map(String::from).into();
        expected.extend([other, pprof, svgs[2].clone(), svgs[3].clone()]);
        expected.sort();
        assert_eq!(names(&directory), expected);
    }

    #[test]
    fn the_order_is_that_of_writing_whatever_the_clock_says_and_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = series(&directory, 3);
        let far: Vec<_> =
            (0..3).map(|number| add(&mut first, Format::Folded, number, FAR + number)).collect();
        assert_eq!(names(&directory), far);
        let past = add(&mut first, Format::Folded, 3, 5);
        // The agent is restarted, and the clock is right at last.
        let mut second = series(&directory, 3);
        let now = add(&mut second, Format::Folded, 0, NOW);
        assert_eq!(names(&directory), [past.clone(), now.clone(), far[2].clone()]);
        let next = add(&mut second, Format::Folded, 1, NOW + 1);
        assert_eq!(names(&directory), [past, now.clone(), next.clone()]);
        // Once more the same: it replaces, and is the last one now.
        assert_eq!(add(&mut second, Format::Folded, 0, NOW), now);
        let last = add(&mut series(&directory, 2), Format::Folded, 2, NOW + 2);
        assert_eq!(names(&directory), [now, last]);
    }

    #[test]
    fn files_that_somebody_took_away_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut series = series(&directory, 2);
        let old = add(&mut series, Format::Folded, 0, NOW);
        let taken = add(&mut series, Format::Folded, 1, NOW + 1);
        fs::remove_file(directory.path().join(taken)).unwrap();
        let new = add(&mut series, Format::Folded, 2, NOW + 2);
        assert_eq!(names(&directory), [old, new]);
    }

    #[test]
    fn where_files_cannot_be_marked_what_was_changed_in_the_future_is_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let mut series = series(&directory, 2);
        let now = SystemTime::now();
        (series.is_marking, series.last) = (false, Some(now));
        for (number, end_s, changed) in [
            (1, FAR, now + Duration::from_secs(1 << 31)),
            (2, NOW, now - Duration::from_secs(20)),
            (3, NOW - 100, now - Duration::from_secs(10)),
        ] {
            let path = series.path(&header(number, end_s), Format::Svg);
            File::create(path).unwrap().set_modified(changed).unwrap();
        }
        series.remove_oldest(Format::Svg).unwrap();
        let (older, newer) =
            (series.path(&header(3, NOW - 100), Format::Svg), series.path(&header(2, NOW), Format::Svg));
        assert!(older.exists() && newer.exists());
        series.keep = 1;
        series.remove_oldest(Format::Svg).unwrap();
        assert!(older.exists() && !newer.exists());
    }

    #[test]
    fn marks_that_are_none_are_read_as_none() {
        assert_eq!(parse(b"17 files"), Some((17, "files")));
        for mark in
            [&b""[..], b"17", b"-1 files", b"x files", b"99999999999999999999999 files", b"\xff files"]
        {
            assert_eq!(parse(mark), None, "{mark:?}");
        }
    }
}
