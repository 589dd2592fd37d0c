//! `cargo xtask lint`: formatting, clippy, dependencies.

use crate::run::{cache, cargo, must};
use crate::{build, install};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Runs all of them; the first that finds something is the error.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    install::ensure(install::BUILD)?;
    must(cargo().args(["fmt", "--all", "--check"]))?;
    // In the tests' profile, so that macros and build scripts are built once.
    let mut clippy = build::cargo_in(build::QUICK, "clippy")?;
    must(clippy.args(["--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let deny = cargo_deny()?;
    let checks = ["bans", "licenses", "sources"];
    must(Command::new(deny).current_dir(crate::run::workspace()).arg("check").args(checks))?;
    Ok(ExitCode::SUCCESS)
}

/// cargo-deny, built once into the user's cache.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let root = cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !Path::new(&program).exists() {
        println!("building cargo-deny {CARGO_DENY}, once");
        let mut install = cargo();
        install
            .args(["install", "cargo-deny", "--quiet", "--locked", "--version", CARGO_DENY, "--root"])
            .arg(&root);
        // Its speed matters less than the minutes of its build.
        install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        must(&mut install)?;
    }
    Ok(program)
}
