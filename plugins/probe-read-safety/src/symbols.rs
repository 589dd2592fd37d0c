//! `/proc/kallsyms` (kernel/kallsyms.c, s_show): a line is an address, a type and a name.

/// From the first byte to one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

/// The symbols of the kernel, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a>(&'a [u8]);

/// A function that is longer is not the one that is looked for.
const LONGEST: u64 = 4096;

impl<'a> Symbols<'a> {
    /// Takes the text of `/proc/kallsyms`.
    pub fn parse(text: &'a [u8]) -> Self {
        Self(text)
    }

    fn all(&self) -> impl Iterator<Item = (u64, &'a [u8])> + 'a {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| byte.is_ascii_whitespace());
            let address = std::str::from_utf8(fields.next()?).ok()?;
            let _kind = fields.next()?;
            Some((u64::from_str_radix(address, 16).ok()?, fields.next()?))
        })
    }

    fn address(&self, name: &str) -> Option<u64> {
        self.all().find(|(_, found)| *found == name.as_bytes()).map(|(address, _)| address)
    }

    /// Returns the extent of a function: up to the next symbol. The error is a sentence.
    pub fn extent(&self, name: &str) -> Result<Extent, String> {
        let start = match self.address(name) {
            Some(0) => return Err(format!("/proc/kallsyms hides the address of {name}")),
            Some(start) => start,
            None => return Err(format!("/proc/kallsyms has no {name}")),
        };
        let next = self.all().map(|(address, _)| address).filter(|address| *address > start).min();
        let end = next.ok_or_else(|| format!("no symbol follows {name}, so that its end is unknown"))?;
        if end - start > LONGEST {
            return Err(format!("{name} seems to be {} bytes long, which it is not", end - start));
        }
        Ok(Extent { start, end })
    }

    /// The addresses by which a function may be called: its own, and those of the padding before it,
    /// through which kernels that count calls lead them (`__pfx_` symbols, 6.2+).
    pub fn with_padding(&self, name: &str) -> Option<Extent> {
        let end = self.address(name).filter(|address| *address != 0)?;
        let padding = self.address(&format!("__pfx_{name}")).filter(|start| *start < end);
        Some(Extent { start: padding.unwrap_or(end), end: end.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"ffffffff81000100 T first\nffffffff81000300 T after\t[module]\n\
        ffffffff81000200 t wanted\nffffffff810001f0 t __pfx_wanted\n0000000000000000 T hidden\n";

    #[test]
    fn a_function_goes_up_to_the_next_symbol_in_any_order() {
        let symbols = Symbols::parse(TEXT);
        let extent = Extent { start: 0xffff_ffff_8100_0200, end: 0xffff_ffff_8100_0300 };
        assert_eq!(symbols.extent("wanted"), Ok(extent));
        let padded = Extent { start: 0xffff_ffff_8100_01f0, end: 0xffff_ffff_8100_0201 };
        assert_eq!(symbols.with_padding("wanted"), Some(padded));
        let alone = Extent { start: 0xffff_ffff_8100_0100, end: 0xffff_ffff_8100_0101 };
        assert_eq!(symbols.with_padding("first"), Some(alone));
    }

    #[test]
    fn says_why_there_is_no_extent() {
        let symbols = Symbols::parse(TEXT);
        let said = |name| symbols.extent(name).unwrap_err();
        assert!(said("hidden").contains("hides the address"));
        assert!(said("gone").contains("has no gone"));
        assert!(said("after").contains("no symbol follows"));
        let far = Symbols::parse(b"1000 T a\nffff0000 T b\n not a line\nzz T c\n");
        assert!(far.extent("a").unwrap_err().contains("bytes long"));
        assert_eq!((symbols.with_padding("hidden"), symbols.with_padding("gone")), (None, None));
    }
}
