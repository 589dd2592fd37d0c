//! Readable names of mangled ones, in bounded time and memory: names are text of others, and one of a few hundred
//! bytes can stand for gigabytes, or for years of parsing.

use cpp_demangle::{DemangleNodeType, DemangleOptions, DemangleWrite, Symbol};
use std::borrow::Cow;
use std::fmt;

/// Bytes of a name that is shown; longer ones are cut.
pub(super) const NAME_BYTES_MAX: usize = 4096;
/// Ends a name that was cut.
const CUT: char = '…';
/// Operators that `cpp_demangle` 0.5 parses a second time, with all that they contain, where the first time failed:
/// each one inside of another doubles the time. Others do, too, but of those its limit of recursion lets no more than
/// sixteen be inside of each other.
const PARSED_TWICE: [[u8; 2]; 4] = [*b"nw", *b"na", *b"dl", *b"da"];
/// So many of those may be in a name, wherever they stand. Of the 400,000 names of LLVM, rustc and libstdc++ one has more.
const PARSED_TWICE_MAX: usize = 10;
/// Steps that printing a name of C++ may take; each name that is shorter than the limit takes fewer.
const NODES_MAX: usize = 1 << 16;

/// A name as a person reads it: demangled if it is mangled and can be, and cut if it is too long.
pub fn readable(name: &str) -> Cow<'_, str> {
    // Demanglers take other texts for types, or for names without their underscore: a C function `f` is not a float.
    let rust = name.starts_with("_R") || name.starts_with("_ZN") || name.starts_with("__ZN");
    let cpp = ["_Z", "__Z", "___Z", "____Z", "_GLOBAL_"].iter().any(|prefix| name.starts_with(prefix));
    // A name that was cut is not understood any more.
    let demangled = (name.len() <= NAME_BYTES_MAX)
        .then(|| rust.then(|| rust_name(name)).flatten().or_else(|| cpp.then(|| cpp_name(name)).flatten()))
        .flatten();
    demangled.map_or_else(|| shortened(name), Cow::Owned)
}

/// The text itself, or its beginning and an ellipsis.
pub(super) fn shortened(name: &str) -> Cow<'_, str> {
    if name.len() <= NAME_BYTES_MAX {
        return Cow::Borrowed(name);
    }
    let mut cut = beginning(name, NAME_BYTES_MAX - CUT.len_utf8()).to_owned();
    cut.push(CUT);
    Cow::Owned(cut)
}

/// The characters that lie in the first `bytes` as a whole.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

fn rust_name(name: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(name).ok()?;
    let mut short = Short::default();
    let printed = fmt::write(&mut short, format_args!("{demangled:#}"));
    short.finish(printed)
}

fn cpp_name(name: &str) -> Option<String> {
    let twice = name.as_bytes().windows(2).filter(|two| PARSED_TWICE.iter().any(|pair| pair == two)).count();
    if twice > PARSED_TWICE_MAX {
        return None;
    }
    let symbol = Symbol::new(name).ok()?;
    let mut printer = Printer::default();
    let printed = symbol.structured_demangle(&mut printer, &DemangleOptions::default());
    printer.0.finish(printed)
}

/// A text that takes no more than a name may have, and fails then, which ends the printing.
#[derive(Default)]
struct Short {
    text: String,
    full: bool,
}

impl Short {
    /// The text, unless printing failed for another reason than its length.
    fn finish(self, printed: fmt::Result) -> Option<String> {
        let Self { mut text, full } = self;
        if full {
            text.truncate(beginning(&text, NAME_BYTES_MAX - CUT.len_utf8()).len());
            text.push(CUT);
        }
        (full || printed.is_ok()).then_some(text)
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = beginning(more, NAME_BYTES_MAX - self.text.len());
        self.text.push_str(fits);
        self.full |= fits.len() < more.len();
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The same, which counts steps, too.
#[derive(Default)]
struct Printer(Short, usize);

impl DemangleWrite for Printer {
    fn push_demangle_node(&mut self, _: DemangleNodeType) {
        self.1 += 1;
    }

    fn write_string(&mut self, more: &str) -> fmt::Result {
        if self.1 > NODES_MAX { Err(fmt::Error) } else { fmt::Write::write_str(&mut self.0, more) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names_become_readable() {
        for (mangled, name) in [
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_Z3addii", "add(int, int)"),
            ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"),
            ("_Z3addii.cold", "add(int, int) [clone .cold]"),
            ("_ZN3foo", "_ZN3foo"),
        ] {
            assert_eq!(readable(mangled), name);
        }
    }

    #[test]
    fn names_of_c_stay_as_they_are() {
        // Types, substitutions, Rust's without an underscore, and what only looks like a beginning.
        let names = [
            "f",
            "t",
            "c",
            "v",
            "i",
            "St",
            "Sa",
            "Pc",
            "PFvvE",
            "main",
            "ZN3foo3barE",
            "RNvC1a1b",
            "R",
            "_start",
            "_Zebra",
            "__cxa_begin_catch",
            "N",
            "1a",
            "Dn",
        ];
        for name in names {
            assert_eq!(readable(name), name);
        }
    }

    /// Each repeats the one before ten times.
    fn doubling(levels: usize) -> String {
        let digit = |level: usize| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[level]);
        let level = |level| format!("S_I{}E", format!("S{}_", digit(level)).repeat(10));
        format!("_Z1f1AIiiE{}", (0..levels).map(level).collect::<String>())
    }

    #[test]
    fn a_name_that_grows_without_end_is_cut() {
        for levels in [3, 7, 8, 20, 36] {
            let name = readable(&doubling(levels)).into_owned();
            assert!(name.starts_with("f(A<int, int>") && name.ends_with('…'), "{levels}: {name}");
            assert!(name.len() <= NAME_BYTES_MAX);
        }
        let tuple = |level: &u8| format!("TB{}_B{}_E", char::from(*level), char::from(*level));
        let rust =
            format!("_RIC1aTTTTTuuETuuEETTuuETuuEEE{}E", b"23456789".iter().map(tuple).collect::<String>());
        assert!(readable(&rust).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn a_name_that_is_parsed_again_and_again_stays_mangled() {
        // Years, without the limit.
        for operator in ["nw", "na", "dl", "da", "gsnw"] {
            let name = format!("_Z1aIX{}{}", operator.repeat(40), "E".repeat(40));
            assert_eq!(readable(&name), name);
        }
    }

    #[test]
    fn a_deep_name_stays_within_the_stack() {
        for (begin, level) in
            [("_Z1f", "P"), ("_Z1f", "1aI"), ("_Z1aIX", "ps"), ("_RNvC1a1b", "INvC1a1bR"), ("_RIC1a", "T")]
        {
            let name = format!("{begin}{}", level.repeat(4000 / level.len()));
            assert!(readable(&name).len() <= NAME_BYTES_MAX);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "é".repeat(NAME_BYTES_MAX);
        let name = readable(&long);
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("é…"), "{}", name.len());
        let exact = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(readable(&exact), exact);
    }
}
