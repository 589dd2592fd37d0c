//! `cargo xtask test`: all tiers, or those that are named.

use crate::run::{cargo, is_installed, is_root, status};
use crate::{collector, debian, dist, install, speedscope, stage, vm};
use anyhow::bail;
use std::process::{Command, ExitCode};

/// A tier, named by what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// Neither root nor a network.
    Suite,
    /// Root and this machine's kernel.
    Kernel,
    /// Root, and Debian's archive for a clean system to install packages in.
    Packages,
    /// QEMU, and other kernels.
    Vm,
}

const TIERS: [(Tier, &str); 4] =
    [(Tier::Suite, "suite"), (Tier::Kernel, "kernel"), (Tier::Packages, "packages"), (Tier::Vm, "vm")];

/// Runs the tiers one after the other, all of them even if one fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let tiers = parse(arguments)?;
    install::ensure(install::BUILD)?;
    install::ensure(install::TEST)?;
    install::try_other_compiler();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (tier, name) in tiers {
        println!("== tier {name}");
        let outcome = match tier {
            Tier::Suite => suite(),
            Tier::Kernel => kernel(),
            Tier::Packages => packages(),
            Tier::Vm => vm::tier(),
        };
        match outcome {
            Ok(true) => passed += 1,
            Ok(false) => failed += 1,
            Err(why) if std::env::var("CI").as_deref() == Ok("true") => {
                eprintln!("tier {name} could not run, which CI takes for a failure: {why:#}");
                failed += 1;
            }
            Err(why) => {
                eprintln!("SKIPPED tier {name}: {why:#}");
                skipped += 1;
            }
        }
    }
    println!("tiers: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: &[String]) -> anyhow::Result<Vec<(Tier, &'static str)>> {
    if arguments.is_empty() {
        return Ok(TIERS.into());
    }
    let mut tiers = Vec::new();
    for pair in arguments.chunks(2) {
        let [flag, name] = pair else { bail!("--tier takes a name: suite, kernel, packages or vm") };
        match TIERS.iter().find(|(_, known)| known == name) {
            Some(tier) if flag == "--tier" => tiers.push(*tier),
            _ => bail!(
                "`{flag} {name}` is not an argument of test; it takes --tier with suite, kernel, packages or vm"
            ),
        }
    }
    Ok(tiers)
}

/// Unit tests, documentation tests and the suite; the kernel tier's tests leave themselves out.
fn suite() -> anyhow::Result<bool> {
    install::ensure(install::SUITE)?;
    let mut tests = cargo();
    match speedscope::fetch() {
        Ok(page) => drop(tests.env("STACKSONDE_TEST_SPEEDSCOPE", page)),
        // The test that wants it says so.
        Err(error) => eprintln!("no speedscope: {error:#}"),
    }
    tests.args(["test", "--quiet", "--workspace", "--lib", "--bins"]);
    for name in ["suite", "batch", "allocation", "layout"] {
        tests.args(["--test", name]);
    }
    let tests = status(&mut tests)?.success();
    let documentation = status(cargo().args(["test", "--quiet", "--workspace", "--doc"]))?.success();
    Ok(tests && documentation)
}

fn kernel() -> anyhow::Result<bool> {
    let stage = stage::build("stage")?;
    let collector = collector::build()?;
    let kubernetes = collector::kubernetes()?;
    let mut tests = tests_as_root("kernel")?;
    tests.env("STACKSONDE_TEST_AGENT", &stage.agent).env("STACKSONDE_TEST_CONFIG", &stage.config);
    tests.env("STACKSONDE_TEST_COLLECTOR", collector).env("STACKSONDE_TEST_KUBERNETES", kubernetes);
    // One after the other: several watch the whole machine.
    Ok(status(tests.args(["--", "--test-threads=1"]))?.success())
}

/// Packages of a profile that links in less time than the release; everything else about them is the same. Those of
/// the release are made by `cargo xtask dist`.
fn packages() -> anyhow::Result<bool> {
    const PROFILE: &str = "stage";
    let mut tests = tests_as_root("packages")?;
    install::ensure(install::PACKAGES)?;
    let root = debian::archive()?;
    let collector = collector::build()?;
    for (variable, revision) in [("STACKSONDE_TEST_PACKAGES", 1), ("STACKSONDE_TEST_PACKAGES_NEWER", 2)] {
        let folder = stage::target_folder().join(format!("packages-{revision}"));
        let options = dist::Options { profile: PROFILE.into(), revision, folder };
        dist::build(&options)?;
        tests.env(variable, options.folder);
    }
    tests.env("STACKSONDE_TEST_ROOT", root).env("STACKSONDE_TEST_COLLECTOR", collector);
    tests.env("STACKSONDE_TEST_PACKAGES_PROFILE", PROFILE);
    Ok(status(tests.args(["--", "--test-threads=2"]))?.success())
}

/// A tier's tests, of which only they themselves need root, not the compiler.
pub(crate) fn tests_as_root(tier: &str) -> anyhow::Result<Command> {
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "stacksonde-tests", "--test", tier]);
    if !is_root() {
        if !is_installed("sudo") {
            bail!("it needs root: run it as root, or install sudo");
        }
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let variable = format!("CARGO_TARGET_{}_RUNNER", triple.to_uppercase().replace('-', "_"));
        tests.env(variable, "sudo -E --");
    }
    Ok(tests)
}
