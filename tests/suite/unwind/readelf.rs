//! Our rows beside those of `readelf`: a few files here, all of an installation by `cargo xtask proof rows`.

#[path = "../../rows/mod.rs"]
mod rows;

use std::path::Path;

/// Programs and libraries of every Debian installation, small ones and the C library.
const FILES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/lib/x86_64-linux-gnu/libm.so.6",
    "/usr/bin/bash",
    "/usr/bin/perl",
];

#[test]
fn rows_are_those_of_readelf() {
    let mut equal = 0;
    for path in FILES.iter().map(Path::new).filter(|path| path.exists()) {
        let shown = path.display();
        let compared = rows::compare(path).unwrap_or_else(|| panic!("{shown} has no unwind information"));
        assert_eq!(compared.different, 0, "{shown}, the first: {:?}", compared.first);
        assert!(compared.unsupported * 1000 <= compared.equal, "{shown}: {compared:?}");
        equal += compared.equal;
    }
    assert!(equal > 20_000, "only {equal} rows were compared");
}
