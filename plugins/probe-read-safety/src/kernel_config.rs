//! With which options was the running kernel built?

use std::io::Read;

/// The kernel's checks of copies to and from user memory against its own objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardened {
    /// It does.
    Yes,
    /// It does not.
    No {
        /// The file that says so.
        source: String,
    },
    /// No file says.
    Unknown,
}

/// The state of an option in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Built in or as a module.
    On,
    /// Not set.
    Off,
    /// Not mentioned: the kernel does not know it, or what it depends on is off.
    Unmentioned,
}

/// A configuration is some 300 kB.
const LONGEST: u64 = 8 << 20;

/// The running kernel's configuration, with the name of the file that has it.
pub fn running() -> Option<(String, String)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let packed = || {
        let file = std::fs::File::open("/proc/config.gz").ok()?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).take(LONGEST).read_to_string(&mut text).ok()?;
        Some(("/proc/config.gz".to_owned(), text))
    };
    let installed = || {
        let path = format!("/boot/config-{}", release.trim());
        let mut text = String::new();
        std::fs::File::open(&path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        Some((path, text))
    };
    packed().or_else(installed)
}

/// Returns the state of CONFIG_HARDENED_USERCOPY in a configuration.
pub fn hardened_usercopy(options: Option<&(String, String)>) -> Hardened {
    match options {
        None => Hardened::Unknown,
        // A configuration that does not mention it, although it is one, has it off: it depends on what
        // every kernel that could have it mentions.
        Some((source, text)) => match option(text, "CONFIG_HARDENED_USERCOPY") {
            State::On => Hardened::Yes,
            State::Off => Hardened::No { source: source.clone() },
            State::Unmentioned => Hardened::Unknown,
        },
    }
}

/// Returns the state of an option in `text`.
pub fn option(text: &str, name: &str) -> State {
    for line in text.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| rest.strip_prefix(name));
        if comment == Some(" is not set") {
            return State::Off;
        }
        if let Some(value) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return if matches!(value, "y" | "m") { State::On } else { State::Off };
        }
    }
    State::Unmentioned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_options_as_the_kernel_writes_them() {
        let text = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=m\nCONFIG_C=n\n# CONFIG_BB is not set\n";
        for (name, state) in [
            ("CONFIG_A", State::On),
            ("CONFIG_AB", State::On),
            ("CONFIG_B", State::Off),
            ("CONFIG_C", State::Off),
            ("CONFIG_D", State::Unmentioned),
        ] {
            assert_eq!(option(text, name), state, "{name}");
        }
    }

    #[test]
    fn only_a_file_that_says_no_means_no() {
        let of = |text: &str| hardened_usercopy(Some(&("/boot/config".into(), text.into())));
        assert_eq!(of("CONFIG_HARDENED_USERCOPY=y\n"), Hardened::Yes);
        let no = Hardened::No { source: "/boot/config".into() };
        assert_eq!(of("# CONFIG_HARDENED_USERCOPY is not set\n"), no);
        assert_eq!(of("# CONFIG_HARDENED_USERCOPY_FALLBACK is not set\n"), Hardened::Unknown);
        assert_eq!(hardened_usercopy(None), Hardened::Unknown);
    }
}
