//! A daemon that is told to read its configuration again: exporters are exchanged, a bad configuration changes nothing,
//! and sampling does not notice.

mod books;
mod handover;
mod refused;

use stacksonde_tests::agent::Installed;
use stacksonde_tests::plugin::Stage;
use stacksonde_tests::wait::LONG;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon at 99 Hz with an interval of a second, which finds plugins in a folder of its own.
struct Daemon {
    stage: Stage,
    child: Child,
}

impl Daemon {
    /// With the plugin `file-export`, and fixtures. `STAGE` in `toml` becomes the folder.
    fn start(fixtures: &[&str], toml: &str, variables: &[(&str, PathBuf)]) -> Self {
        let stage = Stage::new();
        for fixture in fixtures {
            stage.install(fixture);
        }
        let installed = Installed::from_environment().unwrap();
        for plugin in ["file-export", "otlp-export"] {
            stage.write(plugin, &fs::read(plugins(&installed).join(format!("{plugin}.so"))).unwrap());
        }
        for folder in ["a", "b"] {
            fs::create_dir(stage.path().join(folder)).unwrap();
        }
        write(&stage, toml);
        let log = fs::File::create(stage.path().join("daemon.log")).unwrap();
        let mut command = installed.command("run");
        command.arg("--config").arg(stage.path().join("daemon.toml"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let daemon = Self { stage, child };
        daemon.eventually("the control socket", |daemon| daemon.path("control.sock").exists());
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stage.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap()
    }

    /// The lines of a file in its folder; none if there is no such file.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn eventually(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < LONG, "{what} does not come about: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives it another configuration and runs `stacksonde reload`; its exit code, and what it said.
    fn reload(&self, toml: &str) -> (Option<i32>, String) {
        write(&self.stage, toml);
        let installed = Installed::from_environment().unwrap();
        let mut command = installed.command("reload");
        let output = command.arg("--config").arg(self.path("daemon.toml")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// As [`Daemon::reload`], which must succeed.
    fn renew(&self, toml: &str) -> String {
        let (code, said) = self.reload(toml);
        assert_eq!(code, Some(0), "{said}{}", self.said());
        said
    }

    /// Ends it as a service manager does; returns what it said.
    fn end(mut self) -> (Stage, String) {
        // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) }, 0);
        let status = self.child.wait().unwrap();
        let said = self.said();
        assert!(status.success(), "{status}: {said}");
        (std::mem::take(&mut self.stage), said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, or been waited for.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

fn write(stage: &Stage, toml: &str) {
    let text = format!(
        "[plugins]\ndirectories = [\"STAGE\"]\n\
         load = [\"file-export\", \"otlp-export\", \"misbehaves\", \"line-count\"]\n\
         [sampling]\nfrequency_hz = 99\ninterval_seconds = 1\n\
         [control]\nsocket = \"STAGE/control.sock\"\n{toml}"
    );
    let text = text.replace("STAGE", stage.path().to_str().unwrap());
    fs::write(stage.path().join("daemon.toml"), text).unwrap();
}

/// Returns the folder of the plugins of the agent under test.
fn plugins(installed: &Installed) -> PathBuf {
    let text = fs::read_to_string(&installed.config).unwrap();
    let path = text.split('"').nth(1).unwrap_or_else(|| panic!("no plugins.directories in: {text}"));
    Path::new(path).to_owned()
}

/// The section of an instance of the fixture `misbehaves`.
fn misbehaving(name: &str, does: &str) -> String {
    format!("[exporters.{name}]\nplugin = \"misbehaves\"\nconfig = {{ {does} }}\n")
}

/// The number after `key: ` in the last thing that was said of `exporter`.
fn counter(said: &str, exporter: &str, key: &str) -> u64 {
    let mut lines = said.lines().filter(|line| line.contains(&format!("exporter=\"{exporter}\"")));
    let line = lines.rfind(|line| line.contains("delivered: "));
    let line = line.unwrap_or_else(|| panic!("nothing of {exporter} in: {said}"));
    let value = line.split_once(&format!(" {key}: ")).unwrap_or_else(|| panic!("no {key} in: {line}")).1;
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Samples in all profiles, and those that were lost, as the agent says at its end.
fn sampled(said: &str) -> (u64, u64) {
    let end = said.lines().rfind(|line| line.contains("ended samples=")).unwrap_or_else(|| panic!("{said}"));
    let samples = end.split_once("samples=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let lost = end.split_once("lost=").unwrap().1.replace('\\', "");
    let lost =
        lost.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok()).sum();
    (samples, lost)
}

fn start(program: &Path, arguments: &[&str]) -> Child {
    Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}
