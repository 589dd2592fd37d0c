//! Entries for a fuzzer: any bytes in, no panic out.

/// A plugin's file, up to its manifest.
pub fn fuzz_plugin_file(data: &[u8]) {
    let _ = super::manifest::read(data);
}

/// A manifest.
pub fn fuzz_manifest(data: &[u8]) {
    let _ = super::manifest::parse(data);
}
