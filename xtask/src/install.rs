//! Installs what is missing, from Debian's packages.

use crate::run::{as_root, is_installed};
use anyhow::{Context, bail};
use std::process::Stdio;

/// A program, and the package that has it.
pub(crate) struct Tool(&'static str, &'static str);

/// Tools for building.
pub(crate) const BUILD: &[Tool] = &[Tool("clang", "clang"), Tool("cc", "gcc")];

/// Tools for making packages: the distributions' own.
pub(crate) const DIST: &[Tool] = &[
    Tool("dpkg-buildpackage", "dpkg-dev"),
    Tool("dh_installsysusers", "debhelper"),
    Tool("rpmbuild", "rpm"),
];

/// Tools for the tests of packages: a Debian to install them in, and judges of packages and manual pages.
pub(crate) const PACKAGES: &[Tool] = &[
    Tool("mmdebstrap", "mmdebstrap"),
    Tool("lintian", "lintian"),
    Tool("rpmlint", "rpmlint"),
    Tool("mandoc", "mandoc"),
    Tool("man", "man-db"),
    Tool("unshare", "util-linux"),
    Tool("pkg-config", "pkgconf"),
];

/// Tools that are compared with our samples of periodic programs.
pub(crate) const PERIODS: &[Tool] =
    &[Tool("cc", "gcc"), Tool("perf", "linux-perf"), Tool("bpftrace", "bpftrace")];

/// Tools for the tests: bpftool as an independent witness of what is in the kernel and its BTF, Go for the pprof that
/// reads our files, util-linux for namespaces and privileges, libdw as another unwinder, musl for programs with another
/// C library, tmux as a terminal, bindfs as a file system that can be made to hang.
pub(crate) const TEST: &[Tool] = &[
    Tool("bpftool", "bpftool"),
    Tool("/usr/include/elfutils/libdwfl.h", "libdw-dev"),
    Tool("musl-gcc", "musl-tools"),
    Tool("openssl", "openssl"),
    Tool("/usr/bin/python3", "python3"),
    Tool("c++", "g++"),
    Tool("go", "golang-go"),
    Tool("unshare", "util-linux"),
    Tool("setpriv", "util-linux"),
    Tool("tmux", "tmux"),
    Tool("bindfs", "bindfs"),
];

/// Tools for the suite: a browser for the page of a flame graph.
pub(crate) const SUITE: &[Tool] = &[Tool("chromium-headless-shell", "chromium-headless-shell")];

/// The tool that fetches speedscope for the suite.
pub(crate) const NPM: &[Tool] = &[Tool("npm", "npm")];

/// A second compiler, for the test that a plugin need not be built by the one that built the agent. Not every
/// release of Debian has one that is new enough.
const OTHER_COMPILER: &[Tool] = &[Tool("/usr/bin/rustc", "rustc-web")];

/// Installs the second compiler if it can be had; the test that wants it says so if not.
pub(crate) fn try_other_compiler() {
    if let Err(error) = ensure(OTHER_COMPILER) {
        eprintln!("no second Rust compiler: {error:#}");
    }
}

/// Tools for the cost table: the load, the witness of what is in the kernel, and the profiler to compare with.
pub(crate) const COST: &[Tool] = &[
    Tool("stress-ng", "stress-ng"),
    Tool("/usr/bin/python3", "python3-minimal"),
    Tool("bpftool", "bpftool"),
    Tool("perf", "linux-perf"),
    Tool("unshare", "util-linux"),
];

/// Tools for the measurement of many processes.
pub(crate) const SCALE: &[Tool] = &[Tool("bpftool", "bpftool"), Tool("strace", "strace")];

/// Programs that unpack runtimes, and give them a file system of their own.
pub(crate) const RUNTIMES: &[Tool] = &[
    Tool("mmdebstrap", "mmdebstrap"),
    Tool("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    Tool("npm", "npm"),
    Tool("unshare", "util-linux"),
];

/// Tools for booting other kernels, and building them. A path is of a file that is not a program.
pub(crate) const VM: &[Tool] = &[
    Tool("qemu-system-x86_64", "qemu-system-x86"),
    Tool("busybox", "busybox-static"),
    Tool("cpio", "cpio"),
    Tool("mmdebstrap", "mmdebstrap"),
    Tool("make", "make"),
    Tool("flex", "flex"),
    Tool("bison", "bison"),
    Tool("bc", "bc"),
    Tool("xz", "xz-utils"),
    Tool("perl", "perl"),
    Tool("pahole", "dwarves"),
    Tool("/usr/include/libelf.h", "libelf-dev"),
    Tool("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
];

/// Real programs to profile, and what gives them something to do.
pub(crate) const STACKS: &[Tool] = &[
    Tool("openssl", "openssl"),
    Tool("/usr/bin/python3", "python3"),
    Tool("/usr/lib/postgresql", "postgresql"),
    Tool("psql", "postgresql-client"),
    Tool("redis-server", "redis-server"),
    Tool("redis-benchmark", "redis-tools"),
    Tool("nginx", "nginx-light"),
    Tool("wrk", "wrk"),
    Tool("go", "golang-go"),
    Tool("node", "nodejs"),
    Tool("setpriv", "util-linux"),
];

/// Installs the packages of those tools that are missing.
pub(crate) fn ensure<'a>(tools: impl IntoIterator<Item = &'a Tool>) -> anyhow::Result<()> {
    let mut missing: Vec<_> =
        tools.into_iter().filter(|tool| !is_installed(tool.0)).map(|tool| tool.1).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_installed("apt-get") {
        bail!("missing here: {packages}; install them (these are Debian's names of the packages)");
    }
    println!("installing {packages}");
    apt(&["update"], &packages)?;
    apt(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat(), &packages)
}

/// Runs apt-get. Its remarks are shown only if it fails: those of a machine without a terminal for dpkg's questions are
/// nothing that the reader could act on.
fn apt(arguments: &[&str], packages: &str) -> anyhow::Result<()> {
    let mut command = as_root("env")?;
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"])
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().context("cannot run apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!(
        "installing {packages} failed; install them by hand and try again; apt-get {} said:\n{}",
        arguments[0],
        String::from_utf8_lossy(&said).trim_end()
    )
}
