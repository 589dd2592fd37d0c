//! `cargo xtask lint`: formatting, clippy, dependencies, spelling.

use crate::run::{cache, cargo, must};
use crate::{build, install};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";
/// The version that `_typos.toml` is written for: a later one knows more mistakes.
const TYPOS: &str = "1.52.0";

/// Runs all of them; the first that finds something is the error.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    install::ensure(install::BUILD)?;
    must(cargo().args(["fmt", "--all", "--check"]))?;
    // In the tests' profile, so that macros and build scripts are built once.
    let mut clippy = build::cargo_in(build::QUICK, "clippy")?;
    must(clippy.args(["--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    must(Command::new(built("typos-cli", TYPOS, "typos")?).current_dir(crate::run::workspace()))?;
    let deny = built("cargo-deny", CARGO_DENY, "cargo-deny")?;
    let checks = ["bans", "licenses", "sources"];
    must(Command::new(deny).current_dir(crate::run::workspace()).arg("check").args(checks))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a program of a crate, built once into the user's cache.
fn built(package: &str, version: &str, program: &str) -> anyhow::Result<PathBuf> {
    let root = cache()?.join(format!("{package}-{version}"));
    let program = root.join("bin").join(program);
    if !program.exists() {
        println!("building {package} {version}, once");
        let mut install = cargo();
        install.args(["install", package, "--quiet", "--locked", "--version", version, "--root"]).arg(&root);
        // Its speed matters less than the minutes of its build.
        install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        must(&mut install)?;
    }
    Ok(program)
}
