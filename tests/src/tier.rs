//! What a test needs, and what happens without it.

/// Whether the test must be left out, with the reason printed. In CI nothing is left out: there it fails.
///
/// # Panics
///
/// If `CI` is `true` and something is missing.
pub fn skip(missing: Option<String>) -> bool {
    let Some(reason) = missing else { return false };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must not skip tests: {reason}");
    eprintln!("SKIPPED: {reason}");
    true
}

/// What the kernel tier lacks here, if anything.
pub fn kernel() -> Option<String> {
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
        if $crate::tier::skip($crate::tier::kernel()) {
            return;
        }
    };
}
