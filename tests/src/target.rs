//! Programs with known stacks: compiled from `tests/targets`, started, ended with the test.

use crate::cpu_time::used;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Compiles `tests/targets/<name>` (`.c`, `.cpp` or `.rs`) into `folder`, with frame pointers.
///
/// # Panics
///
/// If the compiler is missing or refuses.
pub fn compile(name: &str, folder: &Path, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets").join(name);
    let program = folder.join(source.file_stem().unwrap_or_default());
    let mut compiler = match source.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => {
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition", "2024", "-O", "-g", "-C", "force-frame-pointers=yes"]);
            rustc
        }
        extension => {
            let mut cc = Command::new(if extension == Some("cpp") { "c++" } else { "cc" });
            cc.args(["-O2", "-g", "-fno-optimize-sibling-calls"]);
            cc.args(["-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"]);
            cc
        }
    };
    let output = compiler.args(flags).arg(&source).arg("-o").arg(&program).output();
    let output = output.unwrap_or_else(|error| panic!("compiling {name}: {error}"));
    assert!(output.status.success(), "compiling {name}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A running program; it is killed when the test drops it.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts a program.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Compiles and starts `c_chain.c`, whose frames are linked by frame pointers and end at a root.
    ///
    /// # Panics
    ///
    /// If it cannot be compiled or started.
    pub fn c_chain(folder: &Path) -> Self {
        let flags = ["-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector"];
        Self::start(&mut Command::new(compile("c_chain.c", folder, &flags)))
    }

    /// Its process id, as an argument.
    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Makes a condition that holds once it has used so much CPU time; see [`used`].
    pub fn used(&self, milliseconds: u64) -> impl FnMut(u32) -> bool + use<> {
        used(&[self.0.id()], Duration::from_millis(milliseconds))
    }
}

/// Finds the process itself, or the first of its descendants, that is called so.
pub fn descendant(pid: u32, name: &str) -> Option<u32> {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    if comm.trim_end() == name {
        return Some(pid);
    }
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|line| line.split_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect();
    children.into_iter().find_map(|child| descendant(child, name))
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Copies of the program `busy`, each called otherwise.
#[derive(Debug)]
pub struct Spinners {
    folder: tempfile::TempDir,
}

impl Default for Spinners {
    fn default() -> Self {
        Self::new()
    }
}

impl Spinners {
    /// Compiles it.
    ///
    /// # Panics
    ///
    /// If the compiler is missing or refuses.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        compile("busy.c", folder.path(), &[]);
        Self { folder }
    }

    /// Returns their folder; everyone may run them.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program under this name.
    ///
    /// # Panics
    ///
    /// If it cannot be copied.
    pub fn called(&self, name: &str) -> PathBuf {
        let program = self.folder.path().join(name);
        if !program.exists() {
            std::fs::copy(self.folder.path().join("busy"), &program).unwrap();
        }
        program
    }

    /// Keeps a CPU busy under this name, for ten minutes of CPU time at most.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn spin(&self, name: &str, cpu: u32) -> Running {
        Running::start(Command::new(self.called(name)).args([&cpu.to_string(), "600"]).stdout(Stdio::null()))
    }
}
