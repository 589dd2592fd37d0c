//! Developer commands: `cargo xtask profile`, `test`, `lint`, `vm`.

mod bench;
mod build;
mod collector;
mod debian;
mod dist;
mod install;
mod lint;
mod load;
mod markdown;
mod npm;
mod profile;
mod proof;
mod run;
mod runtimes;
mod speedscope;
mod stacks;
mod stage;
mod test;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  profile [-d SECONDS] [-F HZ]   build, profile this machine, write profile.html, .svg and .pb.gz
  test [--all | --tier TIER]... [--full] [-- NAME...]
                                 run the tests of this machine (tiers suite and kernel), of every tier (packages, vm
                                 and runtimes, too), or of the named ones; --full: also what takes too long for CI;
                                 NAME: only tests whose name has such a part
  vm [--all] [ROW]...            boot other kernels under QEMU with the agent in them; all of them,
                                 or those of the named rows, else those that CI boots
  systemd [--write]              boot Debian with the service in it, with the unit's rights and without each of them;
                                 write docs/capabilities.md, or compare with it
  bench NAME                     print what plugins cost (plugins), what sending profiles costs (export), how long the
                                 agent takes to its first sample (start), what profiling costs beside other
                                 profilers (cost), or what many processes cost (scale)
  stacks [PROGRAM|mix]...        profile real programs, count whole stacks, write docs/complete-stacks.md
  proof [rows|agreement|recalled]
                                 our rows beside readelf's, our stacks beside libdw's, what the sampler
                                 remembers beside what it finds
  lint                           formatting, clippy, licences and sources of dependencies
  dist [--profile PROFILE] [--revision N] [--out FOLDER]
                                 Debian and RPM packages of everything, into target/dist
  stage                          build and install agent and plugins for development, print where

What a command needs and is missing it installs with apt-get.";

fn main() -> ExitCode {
    run::forget_cargos_libraries();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match arguments.first().map(String::as_str) {
        Some("profile") => profile::run(rest),
        Some("test") => test::run(rest),
        Some("bench") => bench::run(rest),
        Some("dist") => dist::run(rest),
        Some("lint") => lint::run(),
        Some("stage") => stage::run(),
        Some("proof") => proof::run(rest),
        Some("stacks") => stacks::run(rest),
        Some("vm") => vm::run(rest),
        Some("systemd") => vm::service::run(rest),
        Some("-h" | "--help") | None => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(anyhow::anyhow!("no command `{other}`\n{USAGE}")),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}
