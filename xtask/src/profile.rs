//! `cargo xtask profile`: a flame graph of this machine, now.

use crate::load::{self, Load};
use crate::run::{as_root, must, workspace};
use crate::stage;
use anyhow::{Context, bail};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

const FILES: [&str; 3] = ["profile.html", "profile.svg", "profile.pb.gz"];

/// Builds, records and writes the files into the current folder of the workspace.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (seconds, hz) = parse(arguments)?;
    let stage = stage::build("release")?;
    let load = if load::is_idle()? { Some(Load::start()?) } else { None };
    let mut record = as_root(&stage.agent)?;
    record.current_dir(workspace()).arg("record").arg("--config").arg(&stage.config);
    record.args(["-d", &seconds.to_string(), "-F", &hz.to_string()]);
    for file in FILES {
        record.args(["-o", file]);
    }
    let recorded = must(&mut record);
    drop(load);
    recorded?;
    FILES.iter().try_for_each(|file| give_back(&workspace().join(file)))?;
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: &[String]) -> anyhow::Result<(u32, u32)> {
    let (mut seconds, mut hz) = (10, 99);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let place = match flag.as_str() {
            "-d" => &mut seconds,
            "-F" => &mut hz,
            other => bail!("`{other}` is not an argument of profile; it takes -d SECONDS and -F HZ"),
        };
        let value = rest.next().with_context(|| format!("{flag} takes a number"))?;
        *place = value.parse().with_context(|| format!("{flag} takes a number, not `{value}`"))?;
    }
    Ok((seconds, hz))
}

/// What root wrote belongs to who owns the checkout.
fn give_back(file: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(workspace())?;
    if std::fs::metadata(file)?.uid() == owner.uid() {
        return Ok(());
    }
    must(as_root("chown")?.arg(format!("{}:{}", owner.uid(), owner.gid())).arg(file))
}
