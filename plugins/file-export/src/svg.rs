//! A flame graph, drawn by `inferno`.

use crate::clock;
use crate::folded::Folded;
use crate::summary::Summary;
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{self, Options};
use stacksonde_plugin::batch::Batch;
use std::io;

/// Shown instead of a graph: a profile without samples is a finding, not a failure.
const NO_SAMPLES: &str = r#"<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="90" viewBox="0 0 1200 90" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="white"/>
<g font-family="monospace" text-anchor="middle">
<text x="600" y="30" font-size="17">TITLE</text>
<text x="600" y="54" font-size="12">SUBTITLE</text>
<text x="600" y="76" font-size="12">no samples</text>
</g>
</svg>
"#;

/// Bytes of all lines, above which names are cut: to the first of these lengths with which they fit, else to the
/// shortest.
const LINES_BYTES: usize = 4 << 20;
const LONGEST: [usize; 4] = [usize::MAX, 200, 100, 60];
const SHORT: usize = 40;

const TITLE: &str = "CPU profile";

/// The text of a file.
pub(crate) fn encode(batch: &Batch<'_>) -> io::Result<Vec<u8>> {
    let folded = Folded::of(batch);
    let subtitle = subtitle(batch);
    if folded.is_empty() {
        return Ok(NO_SAMPLES.replace("SUBTITLE", &subtitle).replace("TITLE", TITLE).into_bytes());
    }
    // `inferno` adds counts up without a check.
    if batch.samples().iter().try_fold(0_u64, |sum, sample| sum.checked_add(sample.count)).is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the counts of samples exceed 64 bits"));
    }
    let mut options = Options::default();
    // Tells kernel, C++ and other functions apart; the same function has the same colour in every file.
    options.colors = Palette::Multi(MultiPalette::Java);
    options.hash = true;
    options.title = TITLE.into();
    options.subtitle = Some(subtitle);
    options.count_name = "samples".into();
    // `inferno` wants all lines at once. Names that are very long cannot be read in a picture anyway.
    let longest = LONGEST.into_iter().find(|longest| folded.bytes(*longest) <= LINES_BYTES);
    let lines: Vec<String> = folded.lines(longest.unwrap_or(SHORT)).collect();
    drop(folded);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

/// Describes the extent to which the picture can be trusted: when, how often, how much is missing. Digits and words
/// only.
fn subtitle(batch: &Batch<'_>) -> String {
    let header = batch.header();
    let start = clock::readable(header.unix_ns(header.start_ns) / 1_000_000_000);
    let seconds = header.end_ns.saturating_sub(header.start_ns) as f64 / 1e9;
    format!("{start}, {seconds:.1} s; {}", Summary::of(batch).sentence())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stacksonde_plugin::batch::tables::{Process, Sample, Stack, Thread};
    use stacksonde_plugin::batch::{Header, Writer};

    #[test]
    fn refuses_counts_that_no_number_holds() {
        let mut writer = Writer::new(Header::default());
        writer.process(Process::default());
        writer.thread(Thread::default());
        writer.stack(Stack::default());
        for count in [u64::MAX, 1] {
            writer.sample(Sample { count, ..Sample::default() });
        }
        let bytes = writer.finish().unwrap();
        let error = encode(&Batch::parse(&bytes).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the counts of samples exceed 64 bits");
    }
}
