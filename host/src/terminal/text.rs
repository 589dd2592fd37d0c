//! Text of others on a terminal: what could act on it is made visible, and columns are counted as terminals do.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The characters that a terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// Everything.
    #[default]
    Unicode,
    /// ASCII only: the locale is not UTF-8.
    Ascii,
}

impl Charset {
    /// By the locale of this process.
    pub fn of_locale() -> Self {
        Self::by(|name| std::env::var(name).ok())
    }

    /// locale(7): the first of these that is set and not empty says which.
    fn by(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        match locale.contains("utf-8") || locale.contains("utf8") {
            true => Self::Unicode,
            false => Self::Ascii,
        }
    }

    /// `text` on one line without anything that acts on a terminal: control characters, those that change the
    /// direction of what follows, and those that cannot be seen, each as one replacement character. Names of processes
    /// and functions are chosen by whoever runs a program.
    pub fn plain(self, text: &str) -> Cow<'_, str> {
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(text.chars().map(|character| self.show(character)).collect())
    }

    /// The same of text in lines, which stay, with what colours text if it `is_painted`: text of ours around names that
    /// are plain already.
    pub(super) fn plain_lines(self, text: &str, is_painted: bool) -> Cow<'_, str> {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
            return Cow::Borrowed(text);
        }
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let colour = if is_painted { colour_at_start(rest) } else { 0 };
            if colour > 0 {
                plain.push_str(&rest[..colour]);
                rest = &rest[colour..];
                continue;
            }
            plain.push(match character {
                '\n' => '\n',
                '\t' => ' ',
                character => self.show(character),
            });
            rest = &rest[character.len_utf8()..];
        }
        Cow::Owned(plain)
    }

    fn show(self, character: char) -> char {
        match (self, character) {
            (_, ' '..='~') => character,
            (Self::Ascii, _) => '?',
            (Self::Unicode, character) if acts(character) => char::REPLACEMENT_CHARACTER,
            (Self::Unicode, character) => character,
        }
    }

    /// Returns the mark for text that was cut out.
    fn ellipsis(self) -> &'static str {
        match self {
            Self::Unicode => "…",
            Self::Ascii => "~",
        }
    }
}

/// Bytes of a sequence that only chooses colours (ECMA-48, "Select Graphic Rendition"), if `text` begins with one.
fn colour_at_start(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let end = parameters.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b';'));
    match end {
        Some(end) if parameters.as_bytes()[end] == b'm' => end + 3,
        _ => 0,
    }
}

/// JSON that holds the same and acts on no terminal: what would, which can stand in its strings only, is escaped.
pub(crate) fn plain_json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|it| acts(it) && it != '\n') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) && character != '\n' {
            plain.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

/// Controls (Unicode's category Cc) and what is invisible or changes the order of others (Cf, separators, variation
/// selectors, fillers).
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{fffe}' | '\u{ffff}')
        // What stands on the character before it, without end.
        || character.width() == Some(0)
}

/// Columns that plain text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Plain text in at most so many columns; where it is cut a mark says so.
pub fn fit(text: &str, most: usize, charset: Charset) -> Cow<'_, str> {
    if columns(text) <= most {
        return Cow::Borrowed(text);
    }
    let mark = charset.ellipsis();
    let room = most.saturating_sub(columns(mark));
    let (mut used, mut end) = (0, 0);
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        end = at + character.len_utf8();
    }
    if most == 0 { Cow::Borrowed("") } else { Cow::Owned(format!("{}{mark}", &text[..end])) }
}

/// A plain name in at most so many columns; where it is cut in its middle a mark says so. Long names of functions begin alike, and
/// often end alike, too: what tells them apart is at both ends.
pub fn fit_name(name: &str, most: usize, charset: Charset) -> Cow<'_, str> {
    let mark = charset.ellipsis();
    let room = most.saturating_sub(columns(mark));
    if columns(name) <= most || room < 2 {
        return fit(name, most, charset);
    }
    let (mut used, mut end) = (0, 0);
    for (at, character) in name.char_indices() {
        used += character.width().unwrap_or(0);
        if used > room.div_ceil(2) {
            break;
        }
        end = at + character.len_utf8();
    }
    let (mut used, mut start) = (columns(&name[..end]), name.len());
    for (at, character) in name.char_indices().rev() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        start = at;
    }
    Cow::Owned(format!("{}{mark}{}", &name[..end], &name[start..]))
}

/// A plain name behind a head, in at most so many columns together: the head is whole, the name as [`fit_name`] cuts it.
pub fn fit_behind(head: &str, name: &str, most: usize, charset: Charset) -> String {
    format!("{head}{}", fit_name(name, most.saturating_sub(columns(head)), charset))
}

/// Plain text in lines of at most so many columns, cut between words where there are any; those after the first are
/// indented like it.
pub fn wrap(text: &str, most: usize) -> Vec<String> {
    let indent = &text[..text.len() - text.trim_start().len()];
    let room = most.saturating_sub(columns(indent)).max(2);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.trim_start().split_inclusive(' ') {
        if used > 0 && used + columns(word.trim_end()) > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let width = character.width().unwrap_or(0);
            if used > 0 && used + width > room && character != ' ' {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += width;
        }
    }
    lines.push(line);
    lines.into_iter().map(|line| format!("{indent}{}", line.trim_end())).collect()
}

/// Plain text in exactly so many columns.
pub fn pad(text: &str, exactly: usize, charset: Charset) -> String {
    let mut text = fit(text, exactly, charset).into_owned();
    let missing = exactly.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        let hostile = "a\x1b[2J\x1b]0;title\x07\r\n\u{9b}31m\u{202e}x\u{200b}\u{7f}e\u{301}\u{fe0f}";
        let shown = Charset::Unicode.plain(hostile);
        assert_eq!(shown, "a�[2J�]0;title���\u{fffd}31m�x��e��");
        assert_eq!(Charset::Ascii.plain("naïve\x1b[m"), "na?ve?[m");
        assert_eq!(Charset::Unicode.plain("Größe::名前"), "Größe::名前");
    }

    #[test]
    fn lines_stay_and_colours_only_where_they_are_ours() {
        let text = "one\x1b]0;t\x07\ttwo\n\x1b[1;31mred\x1b[0m\x1b[2J\x1b[m\x1b[31";
        let plain = |is_painted| Charset::Unicode.plain_lines(text, is_painted);
        assert_eq!(plain(false), "one�]0;t� two\n�[1;31mred�[0m�[2J�[m�[31");
        assert_eq!(plain(true), "one�]0;t� two\n\x1b[1;31mred\x1b[0m�[2J\x1b[m�[31");
        assert!(matches!(Charset::Unicode.plain_lines("a b\nc", false), Cow::Borrowed(_)));
    }

    #[test]
    fn json_says_the_same_without_acting() {
        let value = serde_json::json!({ "a\u{9b}31m": "\x1b[2J \u{202e}\u{7f}\u{e0001} Größe\n" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let plain = plain_json(&text);
        assert!(!plain.chars().any(|it| acts(it) && it != '\n'), "{plain:?}");
        assert!(plain.contains("Größe") && plain.contains("\\udb40\\udc01"), "{plain}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!((columns("abc"), columns("名前"), columns("é")), (3, 4, 1));
        assert_eq!(fit("abcdef", 4, Charset::Unicode), "abc…");
        assert_eq!(fit("abcdef", 4, Charset::Ascii), "abc~");
        // A wide character that does not fit is left out as a whole.
        assert_eq!(fit("名前名", 4, Charset::Unicode), "名…");
        assert_eq!((fit("ab", 0, Charset::Unicode), fit("ab", 1, Charset::Unicode)), ("".into(), "…".into()));
        assert_eq!(pad("名前名", 4, Charset::Unicode), "名… ");
        assert_eq!(pad("ab", 4, Charset::Unicode), "ab  ");
    }

    #[test]
    fn long_names_keep_both_ends() {
        let name = "core::iter::Iterator::for_each<core::slice::Iter<u8>, work::one>";
        assert_eq!(fit_name(name, 21, Charset::Unicode), "core::iter…work::one>");
        assert_eq!(fit_name(name, 9, Charset::Ascii), "core~one>");
        assert_eq!(fit_name(name, 80, Charset::Unicode), name);
        assert_eq!(
            (fit_name(name, 0, Charset::Unicode), fit_name(name, 2, Charset::Unicode)),
            ("".into(), "c…".into())
        );
        for most in 0..40 {
            let shown = fit_name("名前名前名前::名前名前名前", most, Charset::Unicode);
            assert!(columns(&shown) <= most, "{shown}");
        }
    }

    #[test]
    fn long_lines_go_on_below_and_nothing_is_left_out() {
        assert_eq!(wrap("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrap("abcdefg hi", 4), ["abcd", "efg", "hi"]);
        assert_eq!(wrap("名前名前 x", 5), ["名前", "名前", "x"]);
        assert_eq!((wrap("", 5), wrap("fits", 80)), (vec![String::new()], vec!["fits".to_owned()]));
    }

    #[test]
    fn the_locale_says_what_can_be_shown() {
        let by = |values: [&str; 3]| {
            let names = ["LC_ALL", "LC_CTYPE", "LANG"];
            Charset::by(|name| Some(values[names.iter().position(|known| *known == name)?].to_owned()))
        };
        assert_eq!(by(["", "", "en_GB.UTF-8"]), Charset::Unicode);
        assert_eq!(by(["C", "", "en_GB.UTF-8"]), Charset::Ascii);
        assert_eq!(by(["", "C.utf8", "C"]), Charset::Unicode);
        assert_eq!(by(["", "", ""]), Charset::Ascii);
    }
}
