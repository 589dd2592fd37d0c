//! The plugin's role.

use crate::config::{Config, Sink};
use crate::format::{Format, Prepared};
use crate::place;
use crate::series::Series;
use stacksonde_plugin::batch::{Batch, FORMAT};
use stacksonde_plugin::{Exporter, Failure, Instance, Offer, Wants};
use std::path::Path;

/// Writes each batch to files.
#[derive(Debug)]
pub struct FileExport {
    sink: Sink,
}

impl Exporter for FileExport {
    type Config = Config;

    fn negotiate(config: &Config, offer: &Offer) -> Result<Wants, String> {
        config.validate().map_err(|error| error.to_string())?;
        let format = FORMAT.to_string();
        if !offer.formats.contains(&format) {
            let offered = offer.formats.join(", ");
            return Err(format!("reads batch format {format}, and the host offers only: {offered}"));
        }
        Ok(Wants { format: Some(format), ..Wants::default() })
    }

    fn create(instance: Instance, config: Config) -> Result<Self, String> {
        let sink = config.into_sink(&instance.name).map_err(|error| error.to_string())?;
        Ok(Self { sink })
    }

    /// Every file is tried, so that one full disk does not cost the others; the first failure is told.
    /// The names follow from the batch, so that a second try replaces what the first one wrote.
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        match &mut self.sink {
            Sink::Files(files) => {
                for (path, format) in files {
                    let written = put(*format, batch, path);
                    outcome = outcome.and(written);
                }
            }
            Sink::Series(series, formats) => {
                for format in formats {
                    outcome = outcome.and(add(series, *format, batch));
                }
            }
        }
        outcome
    }
}

fn add(series: &mut Series, format: Format, batch: &Batch<'_>) -> Result<(), Failure> {
    let path = series.path(batch.header(), format);
    let file = prepare(format, batch)?;
    place::whole(&path, |to| series.mark(to.get_ref()).and_then(|()| file(to)))?;
    Ok(series.remove_oldest(format)?)
}

fn put(format: Format, batch: &Batch<'_>, path: &Path) -> Result<(), Failure> {
    let file = prepare(format, batch)?;
    Ok(place::whole(path, |to| file(to))?)
}

/// Prepares a batch for a format. What it lacks for that will not change; what a disk lacks may.
fn prepare<'a>(format: Format, batch: &'a Batch<'a>) -> Result<Prepared<'a>, Failure> {
    format.prepare(batch).map_err(|error| Failure::Permanent(error.to_string()))
}
