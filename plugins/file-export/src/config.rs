//! The operator's configuration.

use crate::format::Format;
use crate::place;
use crate::series::Series;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The number of files of each format that stay in [`Config::directory`] if the config does not say: an hour of 10 s
/// intervals.
const DEFAULT_KEEP: u32 = 360;

/// The plugin's keys: either `files`, or `directory` with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Files that each profile replaces; the extension chooses the format: `.pb.gz` (pprof), `.folded`, `.svg`, `.html`,
    /// `.speedscope.json`, `.json` and `.json.gz` (Firefox Profiler).
    pub files: Vec<PathBuf>,
    /// Directory that each profile adds a file to, named by its time.
    pub directory: Option<PathBuf>,
    /// Formats of the files in `directory`; pprof if it is left out.
    pub formats: Option<Vec<Format>>,
    /// The number of files of each format that stay in `directory`, the oldest being removed; 360 if it is left out.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub keep: Option<u32>,
}

/// A fault of a [`Config`]: the key, its value, the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to do.
    #[error(
        "neither `files` nor `directory` is set; set `files = [\"profile.pb.gz\"]` or `directory = \"/var/lib/stacksonde\"`"
    )]
    Nothing,
    /// Both ways at once.
    #[error("`files` and `directory` are both set; keep one, or make a second exporter for the other")]
    Both,
    /// A key of the other way.
    #[error("`{0}` has a meaning only with `directory`; remove it or set `directory`")]
    NeedsDirectory(&'static str),
    /// An extension that stands for no format.
    #[error("`files`: {path} has no extension that names a format; use {}", Format::extensions())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// A value that occurs twice.
    #[error("`{key}` names {value} twice; remove one")]
    Twice {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// An empty list of formats.
    #[error("`formats` is empty; name at least one of {}, or leave it out", Format::names())]
    NoFormat,
    /// Nothing would stay.
    #[error("`keep` is 0, so that no file would stay; set at least 1")]
    KeepsNothing,
    /// There is no directory to write to.
    #[error("`{key}`: {directory} is not a directory; create it: mkdir -p {directory}")]
    NoDirectory {
        /// The key.
        key: &'static str,
        /// The directory.
        directory: PathBuf,
    },
    /// No file can be made there.
    #[error(
        "`{key}`: no file can be made in {directory}: {reason}; it must be writable by root by its mode, since exporters \
         have no capabilities"
    )]
    NotWritable {
        /// The key.
        key: &'static str,
        /// The directory.
        directory: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// A file's name is that of a directory.
    #[error("`files`: {path} is a directory; name a file in it, or use `directory`")]
    IsDirectory {
        /// The file.
        path: PathBuf,
    },
}

/// The destination of profiles, after the check.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Each file is replaced by each profile.
    Files(Vec<(PathBuf, Format)>),
    /// Each profile adds a file of each format.
    Series(Series, Vec<Format>),
}

impl Config {
    /// Checks that the keys agree with each other; touches no file.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match (self.files.is_empty(), &self.directory) {
            (true, None) => Err(ConfigError::Nothing),
            (false, Some(_)) => Err(ConfigError::Both),
            (false, None) if self.formats.is_some() => Err(ConfigError::NeedsDirectory("formats")),
            (false, None) if self.keep.is_some() => Err(ConfigError::NeedsDirectory("keep")),
            (false, None) => {
                once("files", self.files.iter().map(|path| path.display()))?;
                self.files.iter().try_for_each(|path| format_of(path).map(drop))
            }
            (true, Some(_)) if self.keep == Some(0) => Err(ConfigError::KeepsNothing),
            (true, Some(_)) => match &self.formats {
                Some(formats) if formats.is_empty() => Err(ConfigError::NoFormat),
                Some(formats) => once("formats", formats.iter()),
                None => Ok(()),
            },
        }
    }

    /// Checks the keys and the directories that they name.
    pub(crate) fn into_sink(self, instance: &str) -> Result<Sink, ConfigError> {
        self.validate()?;
        if let Some(directory) = self.directory {
            takes_files("directory", &directory)?;
            let series = Series::new(directory, self.keep.unwrap_or(DEFAULT_KEEP), instance);
            return Ok(Sink::Series(series, self.formats.unwrap_or_else(|| vec![Format::Pprof])));
        }
        let mut files = Vec::with_capacity(self.files.len());
        for path in self.files {
            let format = format_of(&path)?;
            match path.parent() {
                Some(parent) if parent != Path::new("") => takes_files("files", parent)?,
                _ => takes_files("files", Path::new("."))?,
            }
            if path.is_dir() {
                return Err(ConfigError::IsDirectory { path });
            }
            files.push((path, format));
        }
        Ok(Sink::Files(files))
    }
}

fn format_of(path: &Path) -> Result<Format, ConfigError> {
    Format::of(path).ok_or_else(|| ConfigError::Extension { path: path.into() })
}

/// Finds out by a file that it makes and removes: modes do not tell of quotas, read-only mounts and other rules.
fn takes_files(key: &'static str, directory: &Path) -> Result<(), ConfigError> {
    if !directory.is_dir() {
        return Err(ConfigError::NoDirectory { key, directory: directory.into() });
    }
    place::try_in(directory).map_err(|error| ConfigError::NotWritable {
        key,
        directory: directory.into(),
        reason: error.to_string(),
    })
}

fn once(key: &'static str, values: impl Iterator<Item: ToString>) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for value in values {
        let value = value.to_string();
        if seen.contains(&value) {
            return Err(ConfigError::Twice { key, value });
        }
        seen.insert(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(value: Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn refusal(value: Value) -> String {
        config(value).into_sink("files").unwrap_err().to_string()
    }

    #[test]
    fn the_extension_chooses_the_format() {
        let Sink::Files(files) =
            config(json!({ "files": ["/tmp/a.svg", "b.pb.gz", "/tmp/c.x.folded", "d.html", "e.speedscope.json", "f.json", "speedscope.json", "g.json.gz"] })).into_sink("files").unwrap()
        else {
            panic!("not files");
        };
        let formats: Vec<_> = files.iter().map(|(_, format)| *format).collect();
        assert_eq!(
            formats,
            [
                Format::Svg,
                Format::Pprof,
                Format::Folded,
                Format::Html,
                Format::Speedscope,
                Format::Firefox,
                Format::Firefox,
                Format::FirefoxGz
            ]
        );
    }

    #[test]
    fn a_directory_alone_means_an_hour_of_pprof() {
        let Sink::Series(series, formats) =
            config(json!({ "directory": "/tmp" })).into_sink("files").unwrap()
        else {
            panic!("not a series");
        };
        assert_eq!((series.keep, formats), (360, vec![Format::Pprof]));
    }

    #[test]
    fn refuses_an_unknown_extension_and_names_the_known_ones() {
        assert_eq!(
            refusal(json!({ "files": ["/tmp/a.png"] })),
            "`files`: /tmp/a.png has no extension that names a format; use .pb.gz, .folded, .svg, .html, .speedscope.json, .json or .json.gz"
        );
        assert!(refusal(json!({ "files": ["/tmp/.svg"] })).contains("/tmp/.svg has no extension"));
    }

    #[test]
    fn refuses_keys_that_contradict_each_other() {
        assert!(refusal(json!({})).starts_with("neither `files` nor `directory` is set"));
        let both = json!({ "files": ["a.svg"], "directory": "/tmp" });
        assert!(refusal(both).starts_with("`files` and `directory` are both set"));
        let keep = json!({ "files": ["a.svg"], "keep": 3 });
        assert_eq!(refusal(keep), "`keep` has a meaning only with `directory`; remove it or set `directory`");
        let formats = json!({ "files": ["a.svg"], "formats": ["svg"] });
        assert!(refusal(formats).starts_with("`formats` has a meaning only with `directory`"));
        assert!(refusal(json!({ "directory": "/tmp", "keep": 0 })).starts_with("`keep` is 0"));
        assert!(refusal(json!({ "directory": "/tmp", "formats": [] })).starts_with("`formats` is empty"));
        assert_eq!(
            refusal(json!({ "directory": "/tmp", "formats": ["svg", "svg"] })),
            "`formats` names svg twice; remove one"
        );
        assert_eq!(refusal(json!({ "files": ["a.svg", "a.svg"] })), "`files` names a.svg twice; remove one");
    }

    #[test]
    fn refuses_a_missing_directory_with_the_command_that_makes_it() {
        assert_eq!(
            refusal(json!({ "files": ["/no/such/a.svg"] })),
            "`files`: /no/such is not a directory; create it: mkdir -p /no/such"
        );
        assert!(refusal(json!({ "directory": "/no/such" })).ends_with("mkdir -p /no/such"));
    }

    #[test]
    fn refuses_a_file_that_is_a_directory() {
        let directory = tempfile::Builder::new().suffix(".svg").tempdir().unwrap();
        assert!(refusal(json!({ "files": [directory.path()] })).contains("is a directory"));
    }

    #[test]
    fn the_manifest_carries_the_schema_of_these_keys() {
        let manifest: Value = serde_json::from_str(include_str!("../plugin.json")).unwrap();
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        let shown = serde_json::to_string_pretty(&schema).unwrap();
        assert_eq!(manifest["config_schema"], schema, "plugin.json needs this config_schema:\n{shown}");
    }
}
