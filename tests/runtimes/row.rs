//! Runtimes that `cargo xtask test` unpacked, and what must come out of each.

use serde_json::Value;
use stacksonde_tests::skip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable that names the file of rows.
const ROWS: &str = "STACKSONDE_TEST_RUNTIMES";
/// Environment variable that names the file that results are written to.
pub(super) const RESULTS: &str = "STACKSONDE_TEST_RUNTIMES_RESULTS";

/// Gives a program the root of a file system, which it cannot change, the programs of the tests in `/home`, and what
/// every program expects. The process that was started becomes the program.
const ENTER: &str = r#"
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1/home"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
mount --rbind /dev "$1/dev"
root=$1; shift 2
exec chroot "$root" "$@"
"#;

/// A runtime.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name.
    pub(super) name: String,
    folder: PathBuf,
    is_root: bool,
    program: String,
    version_flag: String,
    version: String,
    script: String,
    /// Whole stacks in a hundred samples, at least.
    pub(super) whole: u64,
    /// Functions of the runtime, one of which is in every whole stack.
    pub(super) entries: Vec<String>,
}

/// Reads the rows; the error says what is missing.
pub(super) fn rows() -> Result<Vec<Row>, String> {
    let path = std::env::var_os(ROWS).ok_or_else(|| {
        format!("{ROWS} names no file; run `cargo xtask test --tier runtimes`, which unpacks")
    })?;
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rows: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(rows.iter().map(Row::parse).collect())
}

/// Names what the tier lacks here, if anything.
pub(super) fn lacking() -> Option<String> {
    skip::kernel_tier_lacks().or_else(|| rows().err())
}

impl Row {
    fn parse(row: &Value) -> Self {
        let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("no {name}: {row}")).to_owned();
        Self {
            name: text("row"),
            folder: text("folder").into(),
            is_root: row["is_root"].as_bool().unwrap(),
            program: text("program"),
            version_flag: text("version_flag"),
            version: text("version"),
            script: text("script"),
            whole: row["whole"].as_u64().unwrap(),
            entries: row["entries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry.as_str().unwrap().to_owned())
                .collect(),
        }
    }

    /// The runtime that runs its program.
    pub(super) fn running(&self) -> Command {
        let targets = if self.is_root { Path::new("/home") } else { targets() };
        self.command(&targets.join(&self.script))
    }

    /// Asks the runtime for its version, which must begin as the row says.
    pub(super) fn version(&self) -> Result<String, String> {
        let output = self.command(Path::new(&self.version_flag)).output().unwrap();
        let said = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .concat();
        let line = said.lines().find(|line| !line.is_empty()).unwrap_or_default();
        let words = line.split_whitespace().map(|word| word.trim_matches(['(', ')', '"']));
        let version = words.into_iter().find(|word| word.starts_with(&self.version));
        version.map(str::to_owned).ok_or_else(|| format!("the version is not {}*: {said}", self.version))
    }

    fn command(&self, argument: &Path) -> Command {
        let mut command = if self.is_root {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]);
            unshare.arg(&self.folder).arg(targets()).arg(Path::new("/").join(&self.program));
            unshare
        } else {
            Command::new(self.folder.join(&self.program))
        };
        // Nothing that cargo sets for the tests, or a user for programs of this machine.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg(argument);
        command
    }
}

fn targets() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/targets"))
}
