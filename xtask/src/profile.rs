//! `cargo xtask profile`: a flame graph of this machine, now.

use crate::build::{self, QUICK};
use crate::load::{self, Load};
use crate::run::{Steps, as_root, must, workspace};
use crate::{install, stage};
use anyhow::{Context, bail};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

const FILES: [&str; 3] = ["profile.html", "profile.svg", "profile.pb.gz"];
/// The exporter that writes them; no other is loaded.
const EXPORTER: &str = "file-export";

/// Builds, records and writes the files into the current folder of the workspace.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (seconds, hz) = parse(arguments)?;
    let mut steps = Steps::of(4);
    steps.next("installing what is missing of clang and gcc");
    install::ensure(install::BUILD)?;
    steps.next("building the agent and the plugins that it loads here (some minutes the first time)");
    let mut plugins = build::plugins()?;
    plugins.retain(|plugin| plugin == EXPORTER || !plugin.ends_with("-export"));
    let built = build::product(QUICK, &plugins)?;
    steps.next("installing the plugins where only root can change them");
    let stage = stage::put(QUICK, &built)?;
    steps.next(&format!("profiling this machine for {seconds} s"));
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
    println!("\nIn {}: {}", workspace().display(), FILES.join(", "));
    println!(
        "Next: open profile.html in a browser (Ctrl-F searches, a click zooms), here or after copying it;"
    );
    println!("      {} top --config {}  shows the same live", stage.agent.display(), stage.config.display());
    println!(
        "      cargo xtask profile -d 60 -F 199  takes longer and looks closer; cargo xtask dist  makes packages"
    );
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

/// Gives a file that root wrote to the owner of the checkout.
fn give_back(file: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(workspace())?;
    if std::fs::metadata(file)?.uid() == owner.uid() {
        return Ok(());
    }
    must(as_root("chown")?.arg(format!("{}:{}", owner.uid(), owner.gid())).arg(file))
}
