//! The built agent with its plugins installed, as `cargo xtask test` leaves them.

use crate::plugin;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The agent as the tests' own profile builds it, for commands that need no rights.
///
/// # Panics
///
/// If it does not build.
pub fn built() -> PathBuf {
    plugin::once("the agent", || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // As part of the workspace, so that what it depends on is what the tests have built.
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bin", "stacksonde"])
            .current_dir(plugin::workspace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        plugin::target().join("debug/stacksonde")
    })
}

/// Environment variable that names the agent's binary.
pub const AGENT: &str = "STACKSONDE_TEST_AGENT";
/// Environment variable that names a config file whose `plugins.directories` hold the plugins.
pub const CONFIG: &str = "STACKSONDE_TEST_CONFIG";

/// Where the agent and its config are.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The binary.
    pub agent: PathBuf,
    /// The config file.
    pub config: PathBuf,
}

impl Installed {
    /// Reads [`AGENT`] and [`CONFIG`]; the error says what is missing.
    pub fn from_environment() -> Result<Self, String> {
        let path = |name| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.exists()).ok_or_else(|| {
                format!("{name} names no file; run `cargo xtask test`, which builds and installs")
            })
        };
        Ok(Self { agent: path(AGENT)?, config: path(CONFIG)? })
    }

    /// A command of the agent, with the test's config.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.agent);
        command.arg(subcommand).arg("--config").arg(&self.config);
        command
    }

    /// Records into `folder/profile.folded` and returns what the agent said and the stacks.
    ///
    /// # Panics
    ///
    /// If the agent fails.
    pub fn record(&self, folder: &Path, arguments: &[&str]) -> (Output, crate::folded::Stacks) {
        let file = folder.join("profile.folded");
        let output = self
            .command("record")
            .arg("-o")
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.agent.display()));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (output, crate::folded::Stacks::parse(&text))
    }
}
