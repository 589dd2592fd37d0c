//! A directory of one file per batch and format.

use crate::clock;
use crate::format::Format;
use crate::place::PlaceError;
use stacksonde_plugin::batch::Header;
use std::fs;
use std::io;
use std::path::PathBuf;

/// What the names of its files begin with.
const PREFIX: &str = "profile-";

/// Where the files are and how many of each format stay. The files of an earlier run count as well;
/// files of other names are left alone.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) directory: PathBuf,
    pub(crate) keep: u32,
}

impl Series {
    /// `profile-20261124T022510Z-000042.pb.gz`: end of the interval in UTC, number of the batch.
    /// Names sort by time.
    pub(crate) fn path(&self, header: &Header, format: Format) -> PathBuf {
        let time = clock::utc(header.unix_ns(header.end_ns) / 1_000_000_000);
        let sequence = header.sequence;
        self.directory.join(format!("{PREFIX}{time}-{sequence:06}.{}", format.extension()))
    }

    /// Removes the oldest files of `format` beyond the number that stays.
    pub(crate) fn remove_oldest(&self, format: Format) -> Result<(), PlaceError> {
        let mut names = self.names(format).map_err(|cause| PlaceError {
            what: "list",
            path: self.directory.clone(),
            cause,
        })?;
        names.sort_unstable();
        let surplus = names.len().saturating_sub(self.keep as usize);
        for name in names.into_iter().take(surplus) {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(PlaceError { what: "remove", path, cause });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Names of the files of `format` that this plugin has written.
    fn names(&self, format: Format) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let ours = name.strip_prefix(PREFIX).is_some_and(clock::starts_with_utc);
            // By the whole ending: another format's may end with this one's.
            if ours && Format::of(name.as_ref()) == Some(format) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u64, end_s: u64) -> Header {
        Header { sequence, end_ns: end_s * 1_000_000_000, ..Header::default() }
    }

    #[test]
    fn names_carry_time_number_and_format() {
        let series = Series { directory: "/p".into(), keep: 1 };
        let path = series.path(&header(42, 1_795_487_110), Format::Pprof);
        assert_eq!(path.to_str().unwrap(), "/p/profile-20261124T022510Z-000042.pb.gz");
    }

    #[test]
    fn keeps_the_newest_of_each_format_and_leaves_other_files_alone() {
        let directory = tempfile::tempdir().unwrap();
        let series = Series { directory: directory.path().into(), keep: 2 };
        for number in 0..4 {
            fs::write(series.path(&header(number, 1_795_487_110 + number), Format::Svg), "").unwrap();
        }
        let pprof = series.path(&header(0, 5), Format::Pprof);
        let foreign = ["profile-of-my-dog.svg", "profile-20261124T022510Z.txt", "a.svg"];
        fs::write(&pprof, "").unwrap();
        foreign.iter().for_each(|name| fs::write(directory.path().join(name), "").unwrap());

        series.remove_oldest(Format::Svg).unwrap();

        for (number, stays) in [(0, false), (1, false), (2, true), (3, true)] {
            let path = series.path(&header(number, 1_795_487_110 + number), Format::Svg);
            assert_eq!(path.exists(), stays, "{path:?}");
        }
        assert!(pprof.exists());
        assert!(foreign.iter().all(|name| directory.path().join(name).exists()));
    }
}
