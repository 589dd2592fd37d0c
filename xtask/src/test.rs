//! `cargo xtask test`: tests in tiers, named by what they need.

use crate::build::{self, QUICK};
use crate::install::{self, Tool};
use crate::run::{is_installed, is_root, status};
use crate::{collector, debian, dist, runtimes, speedscope, stage, vm};
use anyhow::bail;
use std::process::{Command, ExitCode};
use std::time::Instant;

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
    /// Root, and interpreters of other versions than this machine's.
    Runtimes,
}

impl Tier {
    const ALL: [Self; 5] = [Self::Suite, Self::Kernel, Self::Packages, Self::Vm, Self::Runtimes];
    /// The tiers that need neither another kernel nor another distribution's files.
    const USUAL: [Self; 2] = [Self::Suite, Self::Kernel];

    const fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Kernel => "kernel",
            Self::Packages => "packages",
            Self::Vm => "vm",
            Self::Runtimes => "runtimes",
        }
    }

    /// Returns the tools that it takes besides a compiler.
    const fn tools(self) -> &'static [&'static [Tool]] {
        match self {
            Self::Suite => &[install::TEST, install::SUITE, install::NPM],
            Self::Kernel => &[install::TEST],
            Self::Packages => &[install::TEST, install::PACKAGES, install::DIST],
            Self::Vm => &[install::VM],
            Self::Runtimes => &[install::RUNTIMES],
        }
    }

    /// Runs it, and tells by whether all of it passed.
    fn run(self, full: bool, names: &[String]) -> anyhow::Result<bool> {
        match self {
            Self::Suite => suite(full, names),
            Self::Kernel => kernel(full, names),
            Self::Packages => packages(full, names),
            Self::Vm => vm::tier(full),
            Self::Runtimes => runtimes::tier(full),
        }
    }
}

/// The arguments of the command.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    tiers: Vec<Tier>,
    /// The tiers run what takes too long for CI, too.
    full: bool,
    /// Parts of tests' names: only these run. Empty for all.
    names: Vec<String>,
}

/// Runs the tiers one after the other, all of them even if one fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Arguments { tiers, full, names } = parse(arguments)?;
    let tools = tiers.iter().flat_map(|tier| tier.tools().iter().copied()).flatten();
    install::ensure(install::BUILD.iter().chain(tools))?;
    if tiers.contains(&Tier::Suite) {
        install::try_other_compiler();
    }
    let outcomes: Vec<(Tier, Outcome)> = std::thread::scope(|scope| {
        if tiers.contains(&Tier::Vm) {
            // Fetching and building kernels takes its time at a low priority; the tier does again what failed, and says so.
            scope.spawn(|| drop(vm::prepare_for_ci()));
        }
        tiers.iter().map(|tier| (*tier, Outcome::of(*tier, full, &names))).collect()
    });
    let named = |wanted: Outcome| {
        let names = outcomes.iter().filter(|(_, outcome)| *outcome == wanted).map(|(tier, _)| tier.name());
        names.collect::<Vec<_>>()
    };
    let (passed, failed, skipped) = (named(Outcome::Passed), named(Outcome::Failed), named(Outcome::Skipped));
    for (what, names) in [("passed", &passed), ("failed", &failed), ("could not run", &skipped)] {
        if !names.is_empty() {
            println!("{what}: {}", names.join(", "));
        }
    }
    println!("{}", left_out(&tiers, full));
    if !names.is_empty() {
        println!("left out of these tiers: tests whose names have no {}", names.join(" or "));
    }
    println!("tiers: {} passed, {} failed, {} skipped", passed.len(), failed.len(), skipped.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The end of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    fn of(tier: Tier, full: bool, names: &[String]) -> Self {
        let (name, start) = (tier.name(), Instant::now());
        println!("== tier {name}");
        let outcome = match tier.run(full, names) {
            Ok(true) => Self::Passed,
            Ok(false) => Self::Failed,
            Err(why) if std::env::var("CI").as_deref() == Ok("true") => {
                eprintln!("tier {name} could not run, which CI takes for a failure: {why:#}");
                Self::Failed
            }
            Err(why) => {
                eprintln!("SKIPPED tier {name}: {why:#}");
                Self::Skipped
            }
        };
        println!("== tier {name}: {} s", start.elapsed().as_secs());
        outcome
    }
}

/// Says which tiers were not asked for, and how to ask.
fn left_out(tiers: &[Tier], full: bool) -> String {
    let others = Tier::ALL.iter().filter(|tier| !tiers.contains(tier)).map(|tier| tier.name());
    let others = others.collect::<Vec<_>>().join(", ");
    let longer = if full { "" } else { "; what takes too long for CI: --full" };
    match others.as_str() {
        "" => format!("left out: no tier{longer}"),
        others => format!("left out: {others} (--all runs every tier, --tier NAME one){longer}"),
    }
}

fn parse(arguments: &[String]) -> anyhow::Result<Arguments> {
    let (mut all, mut full, mut tiers) = (false, false, Vec::new());
    let (arguments, names) = match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], arguments[at + 1..].to_vec()),
        None => (arguments, Vec::new()),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--all" => all = true,
            "--full" => full = true,
            "--tier" => {
                let name = rest.next().map_or("", String::as_str);
                let Some(tier) = Tier::ALL.into_iter().find(|tier| tier.name() == name) else {
                    let names = Tier::ALL.map(Tier::name).join(", ");
                    bail!("`--tier {name}` names no tier; there are {names}");
                };
                tiers.push(tier);
            }
            other => bail!(
                "`{other}` is not an argument of test; it takes --all, --tier NAME, --full, and parts of tests' names after --"
            ),
        }
    }
    if all && !tiers.is_empty() {
        bail!("--all is every tier: leave out --tier");
    }
    let chosen = if all { &Tier::ALL[..] } else { &Tier::USUAL[..] };
    // In their usual order, whatever the order on the command line.
    let tiers = match tiers.as_slice() {
        [] => chosen.to_vec(),
        named => Tier::ALL.into_iter().filter(|tier| named.contains(tier)).collect(),
    };
    if !names.is_empty() && tiers.iter().any(|tier| matches!(tier, Tier::Vm | Tier::Runtimes)) {
        bail!("the tiers vm and runtimes have rows instead of named tests: leave out what follows --");
    }
    Ok(Arguments { tiers, full, names })
}

/// The package whose tests are built by themselves: what they depend on has features that the product's build has not, and
/// all would be built twice.
const APART: &str = "stacksonde-batch";

/// Unit tests, documentation tests and the suite; the kernel tier's tests leave themselves out.
fn suite(full: bool, names: &[String]) -> anyhow::Result<bool> {
    let mut tests = tests()?;
    match speedscope::fetch() {
        Ok(page) => drop(tests.env("STACKSONDE_TEST_SPEEDSCOPE", page)),
        // The test that wants it says so.
        Err(error) => eprintln!("no speedscope: {error:#}"),
    }
    if full {
        tests.env("STACKSONDE_FUZZ_SECONDS", "60");
    }
    tests.args(["--workspace", "--exclude", APART, "--lib", "--bins"]);
    for name in ["suite", "layout"] {
        tests.args(["--test", name]);
    }
    let mut apart = self::tests()?;
    apart.args(["--package", APART, "--lib", "--tests"]);
    let mut documentation = self::tests()?;
    documentation.args(["--workspace", "--exclude", APART, "--doc"]);
    let mut passed = true;
    for command in [&mut tests, &mut apart, &mut documentation] {
        passed &= status(command.arg("--").args(names))?.success();
    }
    Ok(passed)
}

fn kernel(full: bool, names: &[String]) -> anyhow::Result<bool> {
    let stage = stage::build(QUICK)?;
    let collector = collector::build()?;
    let kubernetes = collector::kubernetes()?;
    let mut tests = tests_as_root("kernel")?;
    tests.env("STACKSONDE_TEST_AGENT", &stage.agent).env("STACKSONDE_TEST_CONFIG", &stage.config);
    tests.env("STACKSONDE_TEST_COLLECTOR", collector).env("STACKSONDE_TEST_KUBERNETES", kubernetes);
    if full {
        // An hour of a hostile neighbour.
        tests.env("STACKSONDE_TEST_NEIGHBOUR_SECONDS", "3600");
    }
    // One after the other: several watch the whole machine.
    Ok(status(tests.args(["--", "--test-threads=1"]).args(names))?.success())
}

/// Packages of what the other tiers have built; everything else about them is as in a release. `full` is the release.
fn packages(full: bool, names: &[String]) -> anyhow::Result<bool> {
    let profile = if full { build::RELEASE } else { QUICK };
    let mut tests = tests_as_root("packages")?;
    let root = debian::archive()?;
    let collector = collector::build()?;
    for (variable, revision) in [("STACKSONDE_TEST_PACKAGES", 1), ("STACKSONDE_TEST_PACKAGES_NEWER", 2)] {
        let folder = build::target_folder().join(format!("packages-{revision}"));
        let options = dist::Options { profile: profile.into(), revision, folder };
        dist::build(&options)?;
        tests.env(variable, options.folder);
    }
    tests.env("STACKSONDE_TEST_ROOT", root).env("STACKSONDE_TEST_COLLECTOR", collector);
    tests.env("STACKSONDE_TEST_PACKAGES_PROFILE", profile);
    Ok(status(tests.args(["--", "--test-threads=2"]).args(names))?.success())
}

/// Returns `cargo test` of the build that all tiers share.
fn tests() -> anyhow::Result<Command> {
    let mut tests = build::cargo_in(QUICK, "test")?;
    tests.args(["--quiet", "--no-fail-fast"]);
    Ok(tests)
}

/// Returns a tier's tests, of which only they themselves need root, not the compiler.
pub(crate) fn tests_as_root(tier: &str) -> anyhow::Result<Command> {
    let mut tests = tests()?;
    // Of the whole workspace, so that what they depend on has the features that it was built with.
    tests.args(["--workspace", "--exclude", APART, "--test", tier]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Arguments> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn runs_what_needs_no_other_system_unless_told_otherwise() {
        assert_eq!(parsed("").unwrap(), Arguments { tiers: Tier::USUAL.into(), full: false, names: vec![] });
        assert_eq!(
            parsed("--all").unwrap(),
            Arguments { tiers: Tier::ALL.into(), full: false, names: vec![] }
        );
        let two = parsed("--tier vm --full --tier suite").unwrap();
        assert_eq!(two, Arguments { tiers: vec![Tier::Suite, Tier::Vm], full: true, names: vec![] });
        let some = parsed("--tier kernel -- filters:: books::").unwrap();
        assert_eq!((some.tiers, some.names.len()), (vec![Tier::Kernel], 2));
        for (line, part) in [("--tier", "suite, kernel"), ("--tier x", "suite, kernel"), ("x", "--tier NAME")]
        {
            assert!(parsed(line).unwrap_err().to_string().contains(part), "{line}");
        }
        assert!(parsed("--all --tier vm").is_err() && parsed("--tier vm -- x").is_err());
    }

    #[test]
    fn the_closing_line_names_what_was_left_out() {
        let line = left_out(&Tier::USUAL, false);
        assert!(line.contains("packages, vm, runtimes") && line.contains("--full"), "{line}");
        assert_eq!(left_out(&Tier::ALL, true), "left out: no tier");
    }
}
