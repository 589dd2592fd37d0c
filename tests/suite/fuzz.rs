//! Every parser on damaged input: a line each. It may refuse, it must not panic.

use stacksonde_tests::{fuzz, profile};

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
}
