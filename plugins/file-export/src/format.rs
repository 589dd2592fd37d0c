//! The formats of files.

use crate::{folded, pprof, svg};
use serde::Deserialize;
use stacksonde_plugin::batch::Batch;
use std::fmt;
use std::path::Path;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The compressed protocol buffer that `pprof` reads.
    Pprof,
    /// A line per stack, root first, with its number of samples.
    Folded,
    /// A flame graph for a browser.
    Svg,
}

/// A batch that cannot be said in a format.
#[derive(Debug, thiserror::Error)]
#[error("the profile could not be written as {format}: {cause}")]
pub struct EncodeError {
    /// The format.
    pub format: Format,
    /// What its encoder said.
    pub cause: std::io::Error,
}

impl Format {
    /// Every format, in the order in which they are named to people.
    pub const ALL: [Self; 3] = [Self::Pprof, Self::Folded, Self::Svg];

    /// What its files' names end with, after a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Svg => "svg",
        }
    }

    /// The format that the name of `path` ends with; a name needs something before the extension.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        Self::ALL.into_iter().find(|format| {
            let stem = name.strip_suffix(format.extension()).and_then(|stem| stem.strip_suffix('.'));
            stem.is_some_and(|stem| !stem.is_empty())
        })
    }

    /// All extensions, for a message: `.pb.gz, .folded or .svg`.
    pub(crate) fn extensions() -> String {
        let [pprof, folded, svg] = Self::ALL.map(Self::extension);
        format!(".{pprof}, .{folded} or .{svg}")
    }

    /// The bytes of a file with this profile.
    pub fn encode(self, batch: &Batch<'_>) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Pprof => pprof::encode(batch),
            Self::Folded => {
                let mut text = Vec::new();
                folded::write(batch, &mut text).map(|()| text)
            }
            Self::Svg => svg::encode(batch),
        }
        .map_err(|cause| EncodeError { format: self, cause })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pprof => "pprof",
            Self::Folded => "folded",
            Self::Svg => "svg",
        })
    }
}
