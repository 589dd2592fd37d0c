//! Problems of a configuration, in sentences.

use crate::kernel::UnknownCapability;
use std::fmt;
use std::path::PathBuf;

/// The origin of a value. Its `Display` continues a sentence: " in FILE".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag.
    CommandLine,
    /// Not known: the value was not read, or is a default.
    Unknown,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, " in {}", path.display()),
            Self::Variable(name) => write!(f, " in the environment variable {}", name.escape_debug()),
            Self::CommandLine => f.write_str(" on the command line"),
            Self::Unknown => Ok(()),
        }
    }
}

/// One thing that is wrong; its `Display` is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file could not be read.
    #[error("cannot read the config file {}: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason, or ours.
        reason: String,
    },
    /// A file is not TOML.
    #[error("{}:{line}: not valid TOML: {reason}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The parser's reason.
        reason: String,
    },
    /// A file that says which libraries are loaded could have been written by somebody else.
    #[error("{} sets `plugins.*`, which decides what code runs, but {reason}; {remedy}", .file.display())]
    Untrusted {
        /// The file.
        file: PathBuf,
        /// A description of the fault.
        reason: String,
        /// The command that repairs it.
        remedy: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`{origin}; {hint}")]
    UnknownKey {
        /// Its path.
        key: String,
        /// The place where it was set.
        origin: Origin,
        /// The nearest key, or all keys of the section.
        hint: String,
    },
    /// A value that is not allowed.
    #[error("`{key}` is {value}{origin}; allowed: {allowed}")]
    Value {
        /// The key's path.
        key: String,
        /// The value, as JSON, shortened.
        value: String,
        /// The place where it was set.
        origin: Origin,
        /// A description of the allowed values.
        allowed: String,
    },
    /// A `plugins.*` key outside of a file.
    #[error(
        "`{key}` was set{origin}, but `plugins.*` decides what code runs and is read only from files; \
         set it in a config file"
    )]
    FilesOnly {
        /// The key's path.
        key: String,
        /// The place where it was set.
        origin: Origin,
    },
    /// A key that has no default is not set.
    #[error("`{key}` is not set, but `{section}` is{origin}; set it to the name of a plugin")]
    Missing {
        /// The key's path.
        key: String,
        /// The section that needs it.
        section: String,
        /// The place where the section was set.
        origin: Origin,
    },
    /// A plugin is needed that is not to be loaded.
    #[error("`{key}` names the plugin `{plugin}`{origin}, which is not loaded; add it to `plugins.load`")]
    NotLoaded {
        /// The key's path.
        key: String,
        /// The plugin.
        plugin: String,
        /// The place where the key was set.
        origin: Origin,
    },
    /// A capability that no probe has.
    #[error(transparent)]
    Capability(UnknownCapability),
    /// The layers could not be put together; no input is known that leads here.
    #[error("cannot put the configuration together: {0}")]
    Merge(String),
}

/// Everything that is wrong: one line a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// A path of keys as TOML writes it, without line breaks: parts that are more than a word are quoted.
pub(crate) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let part = |part: &str| match !part.is_empty() && part.bytes().all(bare) {
        true => part.to_owned(),
        false => format!("{part:?}"),
    };
    path.iter().map(|it| part(it.as_ref())).collect::<Vec<_>>().join(".")
}

/// A value as JSON, short enough for a sentence.
pub(crate) fn shown(value: &serde_json::Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    let mut shown: String = text.chars().filter(|char| !char.is_control()).take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
