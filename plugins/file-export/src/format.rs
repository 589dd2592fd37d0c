//! The formats of files.

use crate::{firefox, folded, html, pprof, speedscope, svg};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use stacksonde_plugin::batch::Batch;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The compressed protocol buffer that `pprof` reads.
    Pprof,
    /// A line per stack, root first, with its number of samples.
    Folded,
    /// A flame graph as a picture, for a browser.
    Svg,
    /// A flame graph as a page to search and zoom in, for a browser.
    Html,
    /// JSON that speedscope opens.
    Speedscope,
    /// JSON that the Firefox Profiler opens.
    Firefox,
    /// The same, compressed.
    FirefoxGz,
}

/// A batch that cannot be said in a format.
#[derive(Debug, thiserror::Error)]
#[error("the profile could not be written as {format}: {cause}")]
pub struct EncodeError {
    /// The format.
    pub format: Format,
    /// The encoder's error.
    pub cause: io::Error,
}

/// Writes a file that is ready to be written: what fails then is the file's fault.
pub(crate) type Prepared<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

impl Format {
    /// Every format, in the order in which they are named to people. An extension that another one ends with comes
    /// after it.
    pub const ALL: [Self; 7] =
        [Self::Pprof, Self::Folded, Self::Svg, Self::Html, Self::Speedscope, Self::Firefox, Self::FirefoxGz];

    /// Returns the extension of its files' names, after a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Html => "html",
            Self::Speedscope => "speedscope.json",
            Self::Firefox => "json",
            Self::FirefoxGz => "json.gz",
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

    /// All names, for a message.
    pub(crate) fn names() -> String {
        Self::ALL.map(|format| format.to_string()).join(", ")
    }

    /// All extensions, for a message: `.pb.gz, .folded or .svg`.
    pub(crate) fn extensions() -> String {
        let dotted = Self::ALL.map(|format| format!(".{}", format.extension()));
        match dotted.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// Does what may fail for the batch's sake. Texts that are large are put together only while they are written.
    pub(crate) fn prepare<'a>(self, batch: &'a Batch<'a>) -> Result<Prepared<'a>, EncodeError> {
        let bytes = |bytes: Vec<u8>| -> Prepared<'a> { Box::new(move |to| to.write_all(&bytes)) };
        let prepared: io::Result<Prepared<'a>> = match self {
            Self::Pprof => pprof::encode(batch).map(bytes),
            Self::Svg => svg::encode(batch).map(bytes),
            Self::Folded => Ok(Box::new(move |to| folded::write(batch, to))),
            Self::Html => html::page(batch).map(|(about, graph)| -> Prepared<'a> {
                Box::new(move |to| stacksonde_flame::write(&about, graph, to))
            }),
            Self::Speedscope => Ok(Box::new(move |to| speedscope::write(batch, to))),
            Self::Firefox => firefox::profile(batch).map(|profile| -> Prepared<'a> {
                Box::new(move |to| Ok(serde_json::to_writer(to, &profile)?))
            }),
            Self::FirefoxGz => firefox::profile(batch).map(|profile| -> Prepared<'a> {
                Box::new(move |to| {
                    let mut encoder = GzEncoder::new(to, Compression::default());
                    serde_json::to_writer(&mut encoder, &profile)?;
                    encoder.finish().map(drop)
                })
            }),
        };
        prepared.map_err(|cause| EncodeError { format: self, cause })
    }

    /// The bytes of a file with this profile.
    ///
    /// # Errors
    ///
    /// The format cannot say what is in the batch: counts beyond its numbers.
    pub fn encode(self, batch: &Batch<'_>) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::new();
        self.prepare(batch)?(&mut bytes).map_err(|cause| EncodeError { format: self, cause })?;
        Ok(bytes)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pprof => "pprof",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Html => "html",
            Self::Speedscope => "speedscope",
            Self::Firefox => "firefox",
            Self::FirefoxGz => "firefox-gz",
        })
    }
}
