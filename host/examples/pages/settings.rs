//! The page of the configuration, from the comments of the shipped file.
//!
//! In that file a comment stands above what it explains: a section, or keys that follow each other without a comment
//! between them. Text is `# text`; a key or section that is switched off is `#key = value`; a line of `#` alone
//! ends a paragraph.

use std::fmt::Write as _;

/// One line of the file, by its kind.
enum Line<'a> {
    /// The end of a paragraph.
    Gap,
    /// A comment.
    Text(&'a str),
    /// The beginning of a section.
    Section(&'a str),
    /// A key and its value.
    Key(&'a str, &'a str),
}

fn line(text: &str) -> Line<'_> {
    if text.is_empty() || text == "#" {
        return Line::Gap;
    }
    if let Some(text) = text.strip_prefix("# ") {
        return Line::Text(text);
    }
    let text = text.strip_prefix('#').unwrap_or(text);
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(section) => Line::Section(section),
        None => text.split_once(" = ").map_or(Line::Text(text), |(key, value)| Line::Key(key, value)),
    }
}

/// A part of the page.
enum Part<'a> {
    /// Text of its own.
    Paragraph(Vec<&'a str>),
    /// The beginning of a section of the file.
    Section(&'a str),
    /// Keys with their defaults, and the text that explains them.
    Keys(Vec<(&'a str, &'a str)>, Vec<&'a str>),
}

fn parts(file: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    for line in file.lines().map(line) {
        match line {
            Line::Text(line) => text.push(line),
            Line::Gap if text.is_empty() => {}
            Line::Gap => parts.push(Part::Paragraph(std::mem::take(&mut text))),
            Line::Section(name) => {
                parts.push(Part::Section(name));
                if !text.is_empty() {
                    parts.push(Part::Paragraph(std::mem::take(&mut text)));
                }
            }
            Line::Key(key, value) => match parts.last_mut() {
                Some(Part::Keys(keys, _)) if text.is_empty() => keys.push((key, value)),
                _ => parts.push(Part::Keys(vec![(key, value)], std::mem::take(&mut text))),
            },
        }
    }
    if !text.is_empty() {
        parts.push(Part::Paragraph(text));
    }
    parts
}

/// The page, in the language of `man`.
pub(crate) fn page(file: &str, date: &str) -> String {
    let mut page = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH STACKSONDE.TOML 5 \"{date}\" \"stacksonde {}\" Stacksonde\n\
         .SH NAME\nstacksonde.toml \\- configuration of the Stacksonde profiler\n\
         .SH SYNOPSIS\n\\fI/etc/stacksonde/stacksonde.toml\\fR\n.br\n\\fI/etc/stacksonde/conf.d/*.toml\\fR\n\
         .SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    // After a heading a paragraph needs no mark of its own.
    let mut is_begun = false;
    for part in parts(file) {
        // Writing to a `String` cannot fail.
        let _ = match &part {
            Part::Section(name) => writeln!(page, ".SH \"[{}]\"", escaped(name)),
            Part::Paragraph(text) if is_begun => writeln!(page, ".PP\n{}", filled(text)),
            Part::Paragraph(text) => writeln!(page, "{}", filled(text)),
            Part::Keys(keys, text) => {
                for (position, (key, value)) in keys.iter().enumerate() {
                    let tag = if position == 0 { ".TP" } else { ".TQ" };
                    let _ = writeln!(page, "{tag}\n\\fB{}\\fR = {}", escaped(key), escaped(value));
                }
                writeln!(page, "{}", filled(text))
            }
        };
        is_begun = !matches!(part, Part::Section(_));
    }
    page + ".SH SEE ALSO\n\\fBstacksonde\\fR(1),\n\\fBstacksonde\\-config\\-check\\fR(1)\n"
}

/// A paragraph, line by line.
fn filled(paragraph: &[&str]) -> String {
    paragraph.iter().map(|text| escaped(text)).collect::<Vec<_>>().join("\n")
}

/// Escapes text that `man` would take for its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
