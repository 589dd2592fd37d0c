//! Tests that need what a machine may not have.

use std::io::Write;

/// Says on the terminal that `test` did not run and why; where `CI=true` that is a failure, because
/// there everything must be there.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {why}");
    // The test harness shows what `println!` writes only if the test fails; this it lets through.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}");
}

/// What the kernel tier lacks here, if anything.
pub fn kernel_tier_lacks() -> Option<String> {
    // SAFETY: a plain question.
    if unsafe { libc::geteuid() } != 0 {
        return Some("the kernel tier needs root; run `cargo xtask test`".into());
    }
    crate::agent::Installed::from_environment().err()
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
