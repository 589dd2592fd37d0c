//! The guest's file system: busybox, the agent as it is built here with its libraries and plugins,
//! and programs whose stacks are known.

use crate::build::Built;
use crate::run::{must, workspace};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first process.
const INIT: &str = include_str!("guest-init.sh");

/// The folder of plugins, and the file of the configuration that names it.
const PLUGINS: &str = "usr/lib/stacksonde/plugins-1";
const CONFIG: (&str, &str) =
    ("etc/stacksonde/stacksonde.toml", "[plugins]\ndirectories = [\"/usr/lib/stacksonde/plugins-1\"]\n");

/// Programs of `tests/targets`, with the flags of their tests in `tests/kernel`.
const TARGETS: [(&str, &str); 2] = [
    (
        "c_chain",
        "-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -fno-optimize-sibling-calls \
         -nostdlib -static -ffreestanding -fno-stack-protector",
    ),
    (
        "no_frame_pointers",
        "-fomit-frame-pointer -momit-leaf-frame-pointer -fno-optimize-sibling-calls -pthread",
    ),
];

/// Packs it into `folder`.
pub(super) fn build(built: &Built, folder: &Path) -> anyhow::Result<PathBuf> {
    let root = Root(folder.join("root"));
    if root.0.exists() {
        std::fs::remove_dir_all(&root.0).with_context(|| format!("cannot empty {}", root.0.display()))?;
    }
    root.write("init", INIT, 0o755)?;
    root.write(CONFIG.0, CONFIG.1, 0o644)?;
    let busybox = installed("busybox", "busybox-static")?;
    let setpriv = installed("setpriv", "util-linux")?;
    let mut files = vec![busybox, setpriv, built.agent.clone()];
    for (file, name) in files.iter().zip(["bin/busybox", "sbin/setpriv", "bin/stacksonde"]) {
        root.copy(file, name)?;
    }
    for (name, library) in &built.plugins {
        root.copy(library, format!("{PLUGINS}/{name}.so"))?;
        files.push(library.clone());
    }
    files.extend(targets(&root.0.join("bin"))?);
    for library in libraries(&files)? {
        root.copy(&library, library.strip_prefix("/").unwrap_or(&library))?;
    }
    let packed = folder.join("initramfs.gz");
    // In the archive all is root's, as the agent demands of its plugins.
    let pack = "find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1";
    let pack = format!("set -o pipefail; {pack} > \"$0\"");
    must(Command::new("bash").arg("-c").arg(pack).arg(&packed).current_dir(&root.0))?;
    Ok(packed)
}

/// Compiles the programs whose stacks are known into a folder; of this machine's libraries they
/// need the C library's alone.
pub(super) fn targets(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let compiled = TARGETS.iter().map(|(name, flags)| {
        let program = folder.join(name);
        let source = workspace().join("tests/targets").join(format!("{name}.c"));
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-g", "-Wno-unused-result"]).args(flags.split_whitespace());
        must(compile.arg(source).arg("-o").arg(&program))?;
        Ok(program)
    });
    compiled.collect()
}

/// A tree of files that goes into a guest.
pub(super) struct Root(pub(super) PathBuf);

impl Root {
    fn place(&self, name: impl AsRef<Path>) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        let folder = path.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(path)
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.place(name)?;
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies a file.
    pub(super) fn copy(&self, from: &Path, name: impl AsRef<Path>) -> anyhow::Result<()> {
        let to = self.place(name)?;
        std::fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }
}

/// A program of one of Debian's packages, as it is installed here.
pub(super) fn installed(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let mut places = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name)).into_iter();
    let found = places.find(|path| path.exists());
    found.with_context(|| format!("no {name} in /usr/bin; install Debian's package {package}"))
}

/// The shared libraries that these need, and the loader, wherever they lie here.
fn libraries(files: &[PathBuf]) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for file in files {
        let output = Command::new("ldd").arg(file).stdin(Stdio::null()).output().context("cannot run ldd")?;
        // A static program has none, which ldd takes for an error.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            if line.contains("not found") {
                bail!("{} needs a library that is not here: {}", file.display(), line.trim());
            }
            found.extend(library(line));
        }
    }
    Ok(found)
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x..)`, or `/lib64/ld-linux-x86-64.so.2 (0x..)`.
fn library(line: &str) -> Option<PathBuf> {
    let words = line.split_whitespace();
    words.map(Path::new).find(|word| word.is_absolute()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_path_in_each_kind_of_line_of_ldd() {
        let table = [
            ("\tlinux-vdso.so.1 (0x00007f83f944d000)", None),
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tstatically linked", None),
        ];
        for (line, path) in table {
            assert_eq!(library(line), path.map(PathBuf::from), "{line}");
        }
    }
}
