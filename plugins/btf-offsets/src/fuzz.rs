//! Plain functions of bytes for fuzzers: any input may be refused, none may panic.

use crate::btf::Btf;
use crate::questions::ALL;

/// The bytes of a BTF file.
pub fn fuzz_btf(data: &[u8]) {
    if let Ok(mut btf) = Btf::parse(data) {
        for question in &ALL {
            let _answer = question.ask(&mut btf);
        }
        // Not so picky about names, so that more of the input is reached.
        for id in 0..64 {
            let _member = btf.member(id, &["stack", "thread"]);
        }
    }
}
