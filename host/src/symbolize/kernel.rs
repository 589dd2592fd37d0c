//! Functions of the kernel and its modules, from `/proc/kallsyms`, held densely.

use std::io::{self, BufRead};

/// Where the running kernel lists its symbols.
pub(super) const KALLSYMS: &str = "/proc/kallsyms";
/// A line is longer only in damaged text.
const LINE_BYTES_MAX: u64 = 4096;

/// The functions, by address.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    /// Address, and where the name begins in `names`; sorted.
    starts: Vec<(u64, u32)>,
    /// Names, each ended by a line feed.
    names: String,
}

impl KernelSymbols {
    /// Reads lines of `ADDRESS TYPE NAME[\t[MODULE]]` (kernel/kallsyms.c, s_show); functions are those of the types
    /// t and w. Lines that are not understood are left out. Stops, with an error, where `max_bytes` do not suffice.
    pub fn read(mut text: impl BufRead, max_bytes: usize) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if io::Read::take(&mut text, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some((address, name)) = function_in(&line) else { continue };
            let Ok(at) = u32::try_from(symbols.names.len()) else { break };
            symbols.names.push_str(name);
            symbols.names.push('\n');
            symbols.starts.push((address, at));
            if symbols.bytes() > max_bytes {
                return Err(io::Error::other(format!(
                    "the kernel's functions take more than {max_bytes} bytes; to change that: raise memory.max"
                )));
            }
        }
        // A stable sort: of several names for one address the first one stays.
        symbols.starts.sort_by_key(|(address, _)| *address);
        symbols.starts.dedup_by_key(|(address, _)| *address);
        symbols.starts.shrink_to_fit();
        symbols.names.shrink_to_fit();
        Ok(symbols)
    }

    /// The function that begins at or nearest before an address.
    pub fn at(&self, address: u64) -> Option<&str> {
        let after = self.starts.partition_point(|(start, _)| *start <= address);
        let (_, at) = self.starts.get(after.checked_sub(1)?)?;
        self.names.get(*at as usize..)?.lines().next()
    }

    /// Bytes that this takes.
    fn bytes(&self) -> usize {
        self.names.len() + self.starts.len() * size_of::<(u64, u32)>()
    }
}

fn function_in(line: &[u8]) -> Option<(u64, &str)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let function = matches!(words.next()?, "t" | "T" | "w" | "W");
    let name = words.next()?;
    // Zero where addresses are hidden.
    (function && address != 0).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffffc0000010 t of_module\t[ext4]
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000040 t second
ffffffff81000080 D data
nonsense
ffffffff81000100 W last\n";

    #[test]
    fn finds_the_function_at_or_before_an_address() {
        let symbols = KernelSymbols::read(TEXT.as_bytes(), 1 << 20).unwrap();
        let at = |address| symbols.at(address);
        assert_eq!(at(0xffff_ffff_8100_003f), Some("_text"));
        assert_eq!(at(0xffff_ffff_8100_0040), Some("second"));
        assert_eq!(at(0xffff_ffff_8100_00ff), Some("second"), "data is no function");
        assert_eq!(at(0xffff_ffff_8100_0100), Some("last"));
        assert_eq!(at(0xffff_ffff_c000_0011), Some("of_module"));
        assert_eq!(at(0xffff_ffff_80ff_ffff), None);
    }

    #[test]
    fn says_so_if_it_takes_more_than_it_may() {
        let refused = KernelSymbols::read(TEXT.as_bytes(), 60).unwrap_err().to_string();
        assert!(refused.contains("memory.max"), "{refused}");
    }
}
