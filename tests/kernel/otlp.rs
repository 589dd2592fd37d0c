//! Profiles that arrive: the real agent, and a real OpenTelemetry Collector.

mod answers;
mod arrival;
mod limits;
mod outage;
mod proxies;

use stacksonde_tests::agent::{Installed, ended_without_loss};
use stacksonde_tests::wait::{LONG, eventually};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Leaves a test out where there is no kernel tier, or no Collector.
macro_rules! collector_tier {
    () => {
        stacksonde_tests::kernel_tier!();
        if let Err(why) = stacksonde_tests::collector::program() {
            stacksonde_tests::skip::skip(concat!(module_path!(), ":", line!()), &why);
            return;
        }
    };
}
use collector_tier;

/// A running `stacksonde run` at 99 Hz with an interval of a second.
struct Agent {
    child: Child,
}

impl Agent {
    /// With `toml` besides, and its files in `folder`. What it says goes to `agent.log` there.
    fn start(folder: &Path, toml: &str) -> Self {
        Self::start_by(folder, toml, &[], &[])
    }

    /// By a command in front of the agent's, with these variables.
    fn start_by(folder: &Path, toml: &str, wrapper: &[&str], variables: &[(&str, PathBuf)]) -> Self {
        // Time to deliver what is left, on any machine.
        let budget = "[shutdown]\nbudget_ms = 10000\n";
        let config = format!("[sampling]\nfrequency_hz = 99\ninterval_seconds = 1\n{budget}{toml}");
        let file = folder.join("agent.toml");
        fs::write(&file, config).unwrap();
        let log = fs::File::options().create(true).append(true).open(folder.join("agent.log")).unwrap();
        let installed = Installed::from_environment().unwrap();
        let words = wrapper.iter().map(OsStr::new).chain([installed.agent.as_os_str(), OsStr::new("run")]);
        let words: Vec<&OsStr> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--config").arg(&installed.config).arg("--config").arg(file);
        // Cargo sets it for the tests; the agent warns of it.
        command.env_remove("LD_LIBRARY_PATH").envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap() }
    }

    /// Ends it as a service manager does; returns what it said.
    fn end(mut self, folder: &Path) -> String {
        // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) }, 0);
        let status = self.child.wait().unwrap();
        let said = fs::read_to_string(folder.join("agent.log")).unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself, or been waited for.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The number after `key: ` in what was said of `exporter` at the end.
fn counter(said: &str, exporter: &str, key: &str) -> u64 {
    let line = said.lines().rfind(|line| line.contains(&format!("exporter ended exporter=\"{exporter}\"")));
    let line = line.unwrap_or_else(|| panic!("nothing of {exporter} in: {said}"));
    let value = line.split_once(&format!(" {key}: ")).unwrap_or_else(|| panic!("no {key} in: {line}")).1;
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// All samples, as the agent says at its end, after it says that nothing was lost within the agent.
fn sampled(said: &str) -> u64 {
    let samples = ended_without_loss(said).split_once("samples=").unwrap().1;
    samples.split(' ').next().unwrap().parse().unwrap()
}

/// Samples by stack in all folded files of a directory.
fn folded(directory: &Path) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            *counts.entry(stack.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    counts
}
