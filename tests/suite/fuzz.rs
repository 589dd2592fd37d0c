//! Every parser on damaged input: a line each. It may refuse, it must not panic.

use stacksonde_tests::{fuzz, plugin, profile};

/// `test: function of bytes, corpus of sound inputs;`
macro_rules! parsers {
    ($($test:ident: $target:path, $corpus:expr;)+) => {$(
        #[test]
        fn $test() {
            fuzz::run(stringify!($test), &$corpus, $target);
        }
    )+};
}

parsers! {
    a_damaged_batch_is_refused_or_read: stacksonde_batch::fuzz::fuzz_batch, [profile::batch(1), profile::empty_batch()];
    a_damaged_plugin_file_is_refused_or_read: stacksonde::plugins::fuzz::fuzz_plugin_file, [plugin::File { needed: vec!["libc.so.6".into()], runpath: "/opt".into(), ..plugin::File::with_manifest(|_| {}) }.bytes()];
    a_damaged_manifest_is_refused_or_read: stacksonde::plugins::fuzz::fuzz_manifest, [plugin::File::with_manifest(|_| {}).manifest.into_bytes()];
}
