//! The choice of colours.

use clap::ValueEnum;
use std::ffi::OsString;
use std::fmt;

/// When output has colours. Pipes and files get none unless that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`; elsewhere only if `CLICOLOR_FORCE` is set.
    #[default]
    Auto,
    /// Always, even into a pipe or a file.
    Always,
    /// Never.
    Never,
}

/// The number of colours that a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// None: bold and reversed text only.
    None,
    /// The eight that every terminal with colours has.
    Eight,
    /// 256.
    Many,
}

impl Colour {
    /// Tells whether output is coloured there.
    pub fn is_on(self, is_terminal: bool) -> bool {
        self.decide(is_terminal, |name| std::env::var_os(name))
    }

    /// Returns the palette of this process's terminal.
    pub fn palette(self) -> Palette {
        self.choose(|name| std::env::var_os(name))
    }

    /// By <https://no-color.org> and <https://bixense.com/clicolors>: a variable that is empty is not set.
    fn decide(self, is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if value("NO_COLOR").is_some() => false,
            Self::Auto if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Self::Auto => {
                is_terminal
                    && value("CLICOLOR").is_none_or(|value| value != "0")
                    && value("TERM").is_some_and(|value| value != "dumb")
            }
        }
    }

    fn choose(self, variable: impl Fn(&str) -> Option<OsString>) -> Palette {
        if !self.decide(true, &variable) {
            return Palette::None;
        }
        let text =
            |name| variable(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        match text("TERM").contains("256color") || !text("COLORTERM").is_empty() {
            true => Palette::Many,
            false => Palette::Eight,
        }
    }
}

/// Text with or without colours, for output that is not a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// A heading.
    pub fn bold<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { codes: if self.0 { "1" } else { "" }, text }
    }

    /// Paints text that a person should look at.
    pub fn warning<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { codes: if self.0 { "33" } else { "" }, text }
    }

    /// Paints text about things that are as they should be.
    pub fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { codes: if self.0 { "32" } else { "" }, text }
    }
}

/// See [`Paint`].
#[derive(Clone, Copy, Debug)]
pub struct Painted<T> {
    codes: &'static str,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.codes.is_empty() {
            return self.text.fmt(f);
        }
        write!(f, "\x1b[{}m", self.codes)?;
        // Widths are those of the text alone.
        self.text.fmt(f)?;
        write!(f, "\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    #[test]
    fn what_is_no_terminal_gets_no_colours_unless_they_are_forced() {
        let xterm = ("TERM", "xterm-256color");
        let table: [(Colour, bool, &[_], bool); 12] = [
            (Colour::Auto, true, &[xterm], true),
            (Colour::Auto, false, &[xterm], false),
            (Colour::Auto, true, &[], false),
            (Colour::Auto, true, &[("TERM", "dumb")], false),
            (Colour::Auto, true, &[xterm, ("NO_COLOR", "1")], false),
            (Colour::Auto, true, &[xterm, ("NO_COLOR", "")], true),
            (Colour::Auto, true, &[xterm, ("CLICOLOR", "0")], false),
            (Colour::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Colour::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (Colour::Auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (Colour::Always, false, &[("NO_COLOR", "1")], true),
            (Colour::Never, true, &[xterm, ("CLICOLOR_FORCE", "1")], false),
        ];
        for (colour, is_terminal, variables, expected) in table {
            let on = colour.decide(is_terminal, with(variables));
            assert_eq!(on, expected, "{colour:?}, terminal: {is_terminal}, {variables:?}");
        }
    }

    #[test]
    fn a_terminal_gets_no_more_colours_than_it_says_it_has() {
        let palette = |variables: &[(&str, &str)]| Colour::Auto.choose(with(variables));
        assert_eq!(palette(&[("TERM", "screen-256color")]), Palette::Many);
        assert_eq!(palette(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]), Palette::Many);
        assert_eq!(palette(&[("TERM", "linux")]), Palette::Eight);
        assert_eq!(palette(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]), Palette::None);
    }

    #[test]
    fn painted_text_keeps_its_width_and_unpainted_has_no_codes() {
        assert_eq!(format!("[{:5}]", Paint(false).bold("ab")), "[ab   ]");
        assert_eq!(format!("[{:5}]", Paint(true).bold("ab")), "[\x1b[1mab   \x1b[0m]");
    }
}
