//! An error with everything that led to it, each thing once.

use anyhow::Error;

/// Returns what the error and its causes say, the outermost first. A cause that is in what was said already is left out:
/// many libraries write it into their own text, and name it as the source as well.
pub(super) fn with_causes(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::{fmt, io};

    /// An error that writes its cause into its text and names it, too.
    #[derive(Debug)]
    struct Twice(io::Error);

    impl fmt::Display for Twice {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "cannot open x: {}", self.0)
        }
    }

    impl std::error::Error for Twice {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let missing = || io::Error::from_raw_os_error(2);
        let twice: Result<(), _> = Err(Twice(missing()));
        let text = with_causes(&twice.context("plugin `p` is required").unwrap_err());
        assert_eq!(text, "plugin `p` is required: cannot open x: No such file or directory (os error 2)");
        let plain: Result<(), _> = Err(missing());
        let text = with_causes(&plain.context("cannot read y").unwrap_err());
        assert_eq!(text, "cannot read y: No such file or directory (os error 2)");
    }
}
