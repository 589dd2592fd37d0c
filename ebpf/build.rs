//! Compiles the kernel side with clang, for both architectures, and makes the Rust side of
//! `layout.h` with the C preprocessor.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Rust's and the C side's name of each architecture.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "X86_64"), ("aarch64", "AARCH64")];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(message) = build() {
        println!("cargo::error={message}");
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("cargo did not set {name}"));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());

    let layout = run(&clang, &["-E", "-P", "-x", "c", "bpf/layout.rs.in"])?;
    std::fs::write(out.join("layout.rs"), layout).map_err(|e| format!("layout.rs: {e}"))?;

    for entry in std::fs::read_dir("bpf").map_err(|e| format!("bpf: {e}"))? {
        let source = entry.map_err(|e| format!("bpf: {e}"))?.path();
        let Some(name) = source.file_name().and_then(|n| n.to_str()?.strip_suffix(".bpf.c")) else {
            continue;
        };
        for (rust, c) in ARCHITECTURES {
            compile(&clang, &source, c, &out.join(format!("{name}.{rust}.o")))?;
        }
    }
    Ok(())
}

fn compile(clang: &str, source: &Path, architecture: &str, object: &Path) -> Result<(), String> {
    let define = format!("-DSTACKSONDE_{architecture}");
    // -g: maps are described by BTF. -mcpu=v2: the verifier of 5.10 tracks 64-bit values better than 32-bit ones.
    let flags =
        ["-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fno-stack-protector"];
    // The debug information names the folder of the build; two checkouts shall give the same bytes.
    let here = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "cargo did not set CARGO_MANIFEST_DIR")?;
    let anywhere = format!("-fdebug-prefix-map={here}=/usr/src/stacksonde/ebpf");
    let (source, object) = (source.to_string_lossy(), object.to_string_lossy());
    run(clang, &[&flags[..], &[&define, &anywhere, "-c", &source, "-o", &object]].concat()).map(drop)
}

fn run(clang: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new(clang).args(arguments).output().map_err(|error| {
        format!(
            "cannot run `{clang}` ({error}): the kernel side is compiled by clang 11 or newer; \
             install it (Debian: apt-get install clang) or name it in the environment variable CLANG"
        )
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|l| l.contains("error")).unwrap_or("no error text");
    Err(format!("`{clang} {}` failed: {line}", arguments.join(" ")))
}
