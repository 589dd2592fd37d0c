//! Tests that need what a machine may not have.

use std::io::Write;

/// Says on the terminal that `test` did not run and why; where `CI=true` that is a failure, because
/// there everything must be there.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {why}");
    // The test harness shows what `println!` writes only if the test fails; this it lets through.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}");
}

/// Says so if we are not root.
pub fn root_is_lacking() -> Option<String> {
    // SAFETY: a plain question.
    let root = unsafe { libc::geteuid() } == 0;
    (!root).then(|| "the kernel tier needs root; run `cargo xtask test`".into())
}

/// Returns a description of what the kernel tier lacks here, if anything.
pub fn kernel_tier_lacks() -> Option<String> {
    root_is_lacking().or_else(|| crate::agent::Installed::from_environment().err())
}

/// Leaves a test out that loads programs into the kernel itself, where we are not root.
#[macro_export]
macro_rules! root_only {
    () => {
        if let Some(why) = $crate::skip::root_is_lacking() {
            $crate::skip::skip(concat!(module_path!(), ":", line!()), &why);
            return;
        }
    };
}

/// Leaves a test of the kernel tier out where it cannot run.
#[macro_export]
macro_rules! kernel_tier {
    () => {
        if let Some(why) = $crate::skip::kernel_tier_lacks() {
            $crate::skip::skip(concat!(module_path!(), ":", line!()), &why);
            return;
        }
    };
}
