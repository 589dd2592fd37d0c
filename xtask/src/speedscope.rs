//! The real speedscope, for the test that it opens our files: fetched once from npm, and kept outside of the checkout.

use crate::install;
use crate::run::{cache, must};
use anyhow::Context;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PACKAGE: &str = "speedscope";
const VERSION: &str = "1.25.0";
/// Of npm's archive of that version.
const SHA512: &str = "7297fd1d64d97f58a32d7049ae4f3b55eff9e2d9d8c7aae57f48144e1be7de8a24ea1eb784b5d539088c7f8e0f4fe5e8579d3770f7ef7e24f980fe6fa23a7a02";

/// Fetches it, if that was not done yet, and returns the folder with its page.
pub(crate) fn fetch() -> anyhow::Result<PathBuf> {
    let folder = cache()?.join(format!("{PACKAGE}-{VERSION}"));
    let page = folder.join("package/dist/release");
    if page.join("index.html").exists() {
        return Ok(page);
    }
    install::ensure(install::NPM)?;
    println!("fetching {PACKAGE} {VERSION} for the tests, once");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let archive = format!("{PACKAGE}-{VERSION}.tgz");
    must(
        Command::new("npm")
            .current_dir(&folder)
            .args(["pack", "--silent", &format!("{PACKAGE}@{VERSION}")])
            .stdout(Stdio::null()),
    )?;
    let mut check = Command::new("sha512sum");
    check.current_dir(&folder).args(["--check", "--quiet"]).stdin(Stdio::piped());
    let mut child = check.spawn().context("cannot run sha512sum")?;
    if let Some(to) = &mut child.stdin {
        writeln!(to, "{SHA512}  {archive}")?;
    }
    anyhow::ensure!(
        child.wait()?.success(),
        "{archive} of npm is another one than was looked at: {}",
        folder.display()
    );
    must(Command::new("tar").current_dir(&folder).args(["-xzf", &archive]))?;
    Ok(page)
}
