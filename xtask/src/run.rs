//! Running other programs.

use anyhow::{Context, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A folder for what is fetched or built once and kept outside of the checkout: `$XDG_CACHE_HOME/stacksonde-dev`, by
/// default below `~/.cache`.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let root = root.context("neither XDG_CACHE_HOME nor HOME says where things may be kept")?;
    Ok(root.join("stacksonde-dev"))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// A program as root: itself where we are root, else behind sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !is_installed("sudo") {
        bail!("this needs root: run it as root, or install sudo");
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    Ok(command)
}

/// Tells whether we are root.
pub(crate) fn is_root() -> bool {
    // The owner of what we own; std has no geteuid.
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc is mounted")) == 0
}

/// Tells whether a program can be found, or the file of a path is there.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Administrators' programs are not on everybody's PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).exists())
}

/// Runs a command to its end; a status other than success is an error that names it.
pub(crate) fn must(command: &mut Command) -> anyhow::Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end.
pub(crate) fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    command.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{}`", shown(command)))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Announcements of the steps of a command, each with its number of how many there are.
pub(crate) struct Steps {
    done: usize,
    of: usize,
}

impl Steps {
    /// Counts to `of`.
    pub(crate) fn of(of: usize) -> Self {
        Self { done: 0, of }
    }

    /// Says that the next step begins.
    pub(crate) fn next(&mut self, what: &str) {
        self.done += 1;
        println!("[{}/{}] {what}", self.done, self.of);
    }
}

/// Takes what cargo put into `LD_LIBRARY_PATH` for us out of it again, so that programs that we start do not warn of what
/// nobody who called us has done.
pub(crate) fn forget_cargos_libraries() {
    const NAME: &str = "LD_LIBRARY_PATH";
    let Some(paths) = std::env::var_os(NAME) else { return };
    let is_cargos = |path: &PathBuf| {
        path.starts_with(crate::build::target_folder())
            || path.components().any(|part| part.as_os_str() == "toolchains")
    };
    let kept: Vec<PathBuf> = std::env::split_paths(&paths).filter(|path| !is_cargos(path)).collect();
    let kept = std::env::join_paths(kept).unwrap_or_default();
    // SAFETY: called before any other thread is started.
    unsafe { if kept.is_empty() { std::env::remove_var(NAME) } else { std::env::set_var(NAME, kept) } }
}
