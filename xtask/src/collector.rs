//! Programs of the tests that are Go modules, built once and kept outside of the checkout: the OpenTelemetry Collector,
//! and the reader of what is in `packaging/kubernetes`.

use crate::install;
use crate::run::{cache, must, workspace};
use anyhow::Context;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds what `tests/collector` describes, if that was not done yet, and returns the program.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    module("collector", "an OpenTelemetry Collector")
}

/// The same of `tests/kubernetes`.
pub(crate) fn kubernetes() -> anyhow::Result<PathBuf> {
    module("kubernetes", "a reader of Kubernetes' types")
}

fn module(name: &str, what: &str) -> anyhow::Result<PathBuf> {
    install::ensure(install::TEST)?;
    let source = workspace().join("tests").join(name);
    let folder = cache()?.join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let program = folder.join(format!("{name}-{:016x}", digest(&source)?));
    if program.exists() {
        return Ok(program);
    }
    println!("building {what} for the tests, once; that takes some minutes");
    let draft = folder.join(format!("draft-{}", std::process::id()));
    let mut go = Command::new("go");
    go.current_dir(&source)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&draft);
    // Debian's Go may be older than what the Collector asks for; then Go fetches itself as a module.
    must(go.arg(".").env("GOTOOLCHAIN", "auto").env("CGO_ENABLED", "0"))?;
    forget_others(&folder, &draft, name)?;
    std::fs::rename(&draft, &program).with_context(|| format!("cannot make {}", program.display()))?;
    Ok(program)
}

/// Of what it is built from.
fn digest(source: &Path) -> anyhow::Result<u64> {
    let entries = std::fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        (file.file_name(), bytes).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Programs of other versions of the sources, which nobody asks for any more.
fn forget_others(folder: &Path, keep: &Path, name: &str) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for old in
        entries.flatten().map(|entry| entry.path()).filter(|path| path != keep && is_program(path, name))
    {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

/// Not a draft, which another build may be writing.
fn is_program(path: &Path, program: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{program}-")))
}
