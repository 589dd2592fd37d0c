//! The page: text, style and script are fixed, the graph is JSON in an element that no browser runs.

use crate::graph::{Graph, text};
use std::io::{self, Write};

/// The text of the page besides the graph.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The heading.
    pub title: String,
    /// When the profile begins, nanoseconds since 1970 (UTC).
    pub start_unix_ns: Option<u64>,
    /// Its length, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// The unit of the values: `samples`, or a unit such as `nanoseconds` or `bytes`.
    pub unit: String,
    /// CPU time that one sample stands for in the mean, in nanoseconds, where they are of a clock.
    pub period_ns: Option<u64>,
    /// The number of samples, where values may be something else.
    pub samples: Option<u64>,
    /// Samples that are missing, by reason.
    pub losses: Vec<(String, u64)>,
    /// Samples that the operator's filter left out.
    pub excluded: u64,
    /// More that is known: kernel, host.
    pub notes: Vec<(String, String)>,
}

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str =
    concat!(include_str!("page/tree.js"), include_str!("page/draw.js"), include_str!("page/use.js"));
const BODY: &str = include_str!("page/body.html");

/// SHA-256 of [`STYLE`] and [`SCRIPT`], in base64: all that the page may apply and run.
const STYLE_HASH: &str = "fswxkofveiJ8AoUWajAbAaAh1qwWzXT0BF+au6yHZvE=";
const SCRIPT_HASH: &str = "mLcDpEQcCHF0TI2S4zEIcCO0hcuvHefNfxeFYtN/dGo=";

/// Writes the page.
///
/// # Errors
///
/// Those of `to`.
pub fn write(about: &About, graph: Graph, to: &mut dyn Write) -> io::Result<()> {
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
    );
    write!(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Flame graph</title>\n\
         <style>{STYLE}</style>\n</head>\n{BODY}<script type=\"application/json\" id=\"profile\">"
    )?;
    head(about, to)?;
    graph.write(to)?;
    write!(to, "}}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

/// The members of the object that come before the graph's.
fn head(about: &About, to: &mut dyn Write) -> io::Result<()> {
    let number = |value: Option<u64>| value.map_or("null".to_owned(), |value| value.to_string());
    write!(to, "{{\"title\":{},\"unit\":{}", text(&about.title), text(&about.unit))?;
    write!(
        to,
        ",\"start_ns\":{},\"duration_ns\":{}",
        number(about.start_unix_ns),
        number(about.duration_ns)
    )?;
    let (period_ns, samples) = (number(about.period_ns), number(about.samples));
    write!(to, ",\"period_ns\":{period_ns},\"samples\":{samples},\"excluded\":{}", about.excluded)?;
    let losses: Vec<_> =
        about.losses.iter().map(|(reason, count)| format!("[{},{count}]", text(reason))).collect();
    let notes: Vec<_> =
        about.notes.iter().map(|(key, value)| format!("[{},{}]", text(key), text(value))).collect();
    write!(to, ",\"losses\":[{}],\"notes\":[{}]", losses.join(","), notes.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    fn base64(bytes: &[u8]) -> String {
        BASE64_STANDARD.encode(bytes)
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_that_are_there() {
        assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(base64(&Sha256::digest(SCRIPT)), SCRIPT_HASH, "write this into SCRIPT_HASH");
        assert_eq!(base64(&Sha256::digest(STYLE)), STYLE_HASH, "write this into STYLE_HASH");
    }

    #[test]
    fn hostile_names_stay_data() {
        let hostile = "</script><script>alert(1)</script><!--\u{202e}\u{0}'\"";
        let mut graph = Graph::new();
        let frame = graph.frame(hostile, Kind::User, hostile);
        graph.stack([frame], 1);
        let about = About {
            title: hostile.into(),
            unit: hostile.into(),
            losses: vec![(hostile.into(), u64::MAX)],
            notes: vec![(hostile.into(), hostile.into())],
            ..About::default()
        };
        let mut page = Vec::new();
        write(&about, graph, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        // The page's own: the data and the script.
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!page.contains("<!--"));
        let data = page.split_once("id=\"profile\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["title"], &data["names"][0]), (&hostile.into(), &hostile.into()));
        assert_eq!(data["losses"][0][1], u64::MAX);
    }
}
