//! Plain functions of bytes for fuzzers: any input may be refused, none may panic.

use crate::symbols::{Extent, Symbols};
use crate::{aarch64, kernel_config, x86_64};

/// The text of `/proc/kallsyms`.
pub fn fuzz_kallsyms(data: &[u8]) {
    let symbols = Symbols::parse(data);
    let _extent = symbols.extent("copy_from_user_nofault");
    let _padded = symbols.with_padding("nmi_uaccess_okay");
}

/// Machine code of both architectures.
pub fn fuzz_code(data: &[u8]) {
    let _verdict = x86_64::judge(data, u64::MAX - 64, Extent { start: 1 << 63, end: (1 << 63) + 16 });
    let _verdict = aarch64::judge(data, None);
}

/// A kernel's configuration.
pub fn fuzz_kernel_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _state = kernel_config::option(&text, "CONFIG_HARDENED_USERCOPY");
}
