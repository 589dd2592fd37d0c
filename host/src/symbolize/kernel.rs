//! Functions of the kernel and its modules, from `/proc/kallsyms`, held densely.

use std::io::{self, BufRead};

/// A line is longer only in damaged text.
const LINE_BYTES_MAX: u64 = 4096;
/// No function of the kernel is larger. What lies further behind the last one of a module, or of a BPF program, is another
/// piece of code, or none.
const FUNCTION_BYTES_MAX: u64 = 64 << 10;
/// The mark in the place of a name that there was no room for.
const NAMELESS: u32 = u32::MAX;

/// The functions, by address.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    /// Sorted by address.
    starts: Vec<Start>,
    /// Names, each ended by a line feed.
    names: Vec<u8>,
    /// Functions whose names there was no room for.
    left_out: u64,
    /// Addresses of the kernel's own functions, which stay where they are: the first and the last.
    core: Option<(u64, u64)>,
    /// Addresses of functions that are not even in `starts`: the lowest and the highest.
    unknown: Option<(u64, u64)>,
}

/// The address of a function, and the place of its name in `names`.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Start {
    address: u64,
    name: u32,
}

impl KernelSymbols {
    /// Reads lines of `ADDRESS TYPE NAME[\t[MODULE]]` (kernel/kallsyms.c, s_show); functions are those of the types
    /// t and w. Lines that are not understood are left out, and so is what no code is called by: of several names for one
    /// address all but the first, and what compilers put before functions.
    ///
    /// Names for which `max_bytes` leave no room are counted.
    pub fn read(mut text: impl BufRead, max_bytes: usize) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut line = Vec::new();
        let mut last = 0;
        loop {
            line.clear();
            if io::Read::take(&mut text, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some((address, name)) = function_in(&line) else { continue };
            if !line.contains(&b'[') {
                let (first, last) = symbols.core.unwrap_or((address, address));
                symbols.core = Some((first.min(address), last.max(address)));
            }
            // Names of one address mostly follow one another.
            if address != last && !is_padding(name) {
                symbols.add(address, name, max_bytes);
                last = address;
            }
        }
        // A stable sort: of several names for one address the first one stays.
        symbols.starts.sort_by_key(|start| start.address);
        symbols.starts.dedup_by_key(|start| start.address);
        symbols.starts.shrink_to_fit();
        symbols.names.shrink_to_fit();
        Ok(symbols)
    }

    fn add(&mut self, address: u64, name: &[u8], max_bytes: usize) {
        let place = u32::try_from(self.names.len()).ok().filter(|place| *place != NAMELESS);
        let fits = self.bytes() + size_of::<Start>() + name.len() < max_bytes;
        let name_at = place.filter(|_| fits).unwrap_or(NAMELESS);
        if name_at == NAMELESS {
            self.left_out += 1;
            // Where it begins is known still, so that its code is not taken for that of the function before.
            if self.bytes() + size_of::<Start>() >= max_bytes {
                let (low, high) = self.unknown.unwrap_or((address, address));
                self.unknown = Some((low.min(address), high.max(address)));
                return;
            }
        } else {
            self.names.extend_from_slice(name);
            self.names.push(b'\n');
        }
        self.starts.push(Start { address, name: name_at });
    }

    /// The function that begins at or nearest before an address.
    pub fn at(&self, address: u64) -> Option<&[u8]> {
        let after = self.starts.partition_point(|start| start.address <= address);
        let start = *self.starts.get(after.checked_sub(1)?)?;
        // The table says of none where it ends.
        if address - start.address >= FUNCTION_BYTES_MAX {
            return None;
        }
        // One that is not known may begin in between.
        if self.unknown.is_some_and(|(low, high)| low <= address && start.address < high) {
            return None;
        }
        self.names.get(start.name as usize..)?.split(|byte| *byte == b'\n').next()
    }

    /// Tells whether an address is the kernel's own, not that of a module or of code that was made at run time.
    pub fn is_core(&self, address: u64) -> bool {
        self.core.is_some_and(|(first, last)| (first..=last).contains(&address))
    }

    /// Functions whose names there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Bytes that this takes.
    fn bytes(&self) -> usize {
        self.names.len() + self.starts.len() * size_of::<Start>()
    }
}

/// Reads those of the running kernel within a budget.
pub fn read_kernel_symbols(max_bytes: usize) -> io::Result<KernelSymbols> {
    let text = io::BufReader::with_capacity(1 << 16, crate::kernel::open_kallsyms()?);
    KernelSymbols::read(text, max_bytes)
}

/// Names of what stands before functions and is not run under that name: room for calls and types
/// (`-fpatchable-function-entry`, scripts/mod/modpost; CONFIG_CFI_CLANG).
fn is_padding(name: &[u8]) -> bool {
    name.starts_with(b"__pfx_") || name.starts_with(b"__cfi_")
}

fn function_in(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let address = u64::from_str_radix(str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let function = matches!(words.next()?, b"t" | b"T" | b"w" | b"W");
    let name = words.next()?;
    // Zero where addresses are hidden.
    (function && address != 0).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
ffffffffc0000010 t of_module\t[ext4]
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000030 t __pfx_second
ffffffff81000038 t __cfi_second
ffffffff81000040 t second
ffffffff81000080 D data
nonsense
ffffffff810000c0 t na\xffme
ffffffff81000100 W last\n";

    #[test]
    fn finds_the_function_at_or_before_an_address() {
        let symbols = KernelSymbols::read(TEXT, 1 << 20).unwrap();
        let at = |address| symbols.at(address);
        assert_eq!(at(0xffff_ffff_8100_003f), Some(&b"_text"[..]));
        assert_eq!(at(0xffff_ffff_8100_0040), Some(&b"second"[..]));
        assert_eq!(at(0xffff_ffff_8100_00bf), Some(&b"second"[..]), "data is not a function");
        assert_eq!(at(0xffff_ffff_8100_00c0), Some(&b"na\xffme"[..]), "a name is bytes");
        assert_eq!(at(0xffff_ffff_8100_0100), Some(&b"last"[..]));
        assert_eq!(at(0xffff_ffff_c000_0011), Some(&b"of_module"[..]));
        assert_eq!(at(0xffff_ffff_80ff_ffff), None);
        assert_eq!((symbols.left_out(), symbols.starts.len()), (0, 5));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_named_after_nothing_else() {
        let all = |max_bytes| {
            let symbols = KernelSymbols::read(TEXT, max_bytes).unwrap();
            let named = [0x8100_0000, 0x8100_0040, 0x8100_00c0, 0x8100_0100, 0xc000_0010_u64].map(|low| {
                symbols.at(0xffff_ffff_0000_0004 + low).map(|name| String::from_utf8_lossy(name).into_owned())
            });
            (named, symbols.left_out())
        };
        let names = ["_text", "second", "na\u{fffd}me", "last", "of_module"];
        let full = (names.map(|name| Some(name.to_owned())), 0);
        assert_eq!(all(1 << 20), full);
        for max_bytes in 0..100 {
            let (named, left_out) = all(max_bytes);
            assert!(
                named.iter().zip(names).all(|(named, name)| named.as_deref().is_none_or(|it| it == name)),
                "{max_bytes}: {named:?}"
            );
            assert!(
                named.iter().filter(|name| name.is_none()).count() as u64 >= left_out,
                "{max_bytes}: {named:?} {left_out}"
            );
            assert!(left_out > 0 || named == full.0, "{max_bytes}: {named:?}");
        }
    }
}
