//! `cargo xtask proof`: the unwinder beside others. Its rows beside readelf's, its stacks beside libdw's, and what it
//! remembers beside what it would find. And what samples say of programs that work in step with a clock.

mod periods;
mod recalled;

use crate::build::{STAGE, cargo_in};
use crate::install;
use crate::markdown::output;
use crate::run::{as_root, must, workspace};
use anyhow::{Context, bail};
use std::process::{Command, ExitCode, Stdio};

/// The document, in the checkout.
const PATH: &str = "docs/unwinder-agreement.md";

/// All, and the document; or the one that is named.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    install::ensure(install::BUILD)?;
    install::ensure(install::TEST)?;
    match arguments {
        [] => {
            let (stacks, rows, recalled) = (check("agreement")?, check("rows")?, recalled::check()?);
            write(&stacks, &rows, &recalled)?;
            periods::write(&periods::check()?)?;
        }
        [name] if name == "rows" || name == "agreement" => {
            check(name)?;
        }
        [name] if name == "recalled" => {
            recalled::check()?;
        }
        [name] if name == "periods" => periods::write(&periods::check()?)?,
        _ => bail!(
            "proof takes one of: rows, agreement, recalled, periods; or nothing, for all and their documents"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one of the checks, optimised; what it printed.
fn check(name: &str) -> anyhow::Result<String> {
    let program = build(name)?;
    let mut command = as_root(program)?;
    // It compiles programs of the tests by their place.
    command.env("CARGO_MANIFEST_DIR", workspace().join("tests"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run the check `{name}`"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{said}");
    if !output.status.success() {
        bail!("the check `{name}` failed with {}", output.status);
    }
    Ok(said)
}

/// Only the check needs root, not the compiler.
fn build(name: &str) -> anyhow::Result<String> {
    let bench = || -> anyhow::Result<Command> {
        let mut bench = cargo_in(STAGE, "bench")?;
        bench.args(["--no-run", "--package", "stacksonde-tests", "--bench", name]);
        Ok(bench)
    };
    must(bench()?.arg("--quiet"))?;
    let output = bench()?.args(["--message-format", "json"]).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let artifacts = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    // Programs of the package are built with it and named, too.
    let mut ours =
        artifacts.filter(|artifact| artifact.pointer("/target/name").is_some_and(|own| own == name));
    let program = ours.find_map(|artifact| Some(artifact.get("executable")?.as_str()?.to_owned()));
    program.with_context(|| format!("cargo names no program for the check `{name}`"))
}

fn write(stacks: &str, rows: &str, recalled: &str) -> anyhow::Result<()> {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let (day, kernel) = (output("date", &["--utc", "+%F"])?, output("uname", &["-r"])?);
    let text = format!(
        "# The unwinder beside others\n\n\
         Written by `cargo xtask proof`. Commit {commit}, {day}, Linux {kernel}.\n\n\
         ## Stacks, beside libdw's and Go's\n\n\
         Each record carries the registers and up to 64 KiB of the stack beside what the sampler made of them, and \
         elfutils' libdw walks from these, and for Go a walker by the table of Go's own runtime (`tests/agreement`): the \
         very same samples, all in user mode. *Whole* are walks that ended at a root; *equal* are those of the other's \
         whole walks in which each address is ours.\n\n\
         {stacks}\n\
         ## Rows, beside readelf's\n\n\
         Every executable and library below /usr/bin, /usr/sbin and /usr/lib of this machine: the rule that we make for \
         each row of `readelf --debug-dump=frames-interp`.\n\n\
         {rows}\n\
         ## What the sampler remembers, beside what it finds\n\n\
         The mix of programs of docs/complete-stacks.md, where thousands of processes come and go, at {hertz} Hz for {seconds} s \
         with `sampling.verify_unwinding`: each frame whose rule the sampler had at hand was looked up, too.\n\n\
         {recalled}",
        hertz = recalled::HERTZ,
        seconds = recalled::SECONDS,
    );
    let path = workspace().join(PATH);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nwrote {PATH}");
    Ok(())
}
