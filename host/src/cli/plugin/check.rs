//! `stacksonde plugin check`: runs a plugin in a process of its own, with everything that a host asks of it.

use crate::plugins::{self, Inspected, conformance};
use anyhow::Context;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Status of the child if it could not report: the plugin closed the descriptor.
const CANNOT_REPORT: i32 = 97;

/// The time for which the parent waits for a word; a step makes several calls, each with its own deadline.
const SILENCE: Duration = Duration::from_secs(3 * conformance::DEADLINE.as_secs() + 10);

/// Begins a line of the report: a step begins, passed, failed; nothing is left.
const BEGIN: &str = "begin ";
const PASSED: &str = "passed";
const FAILED: &str = "failed ";
const DONE: &str = "done";

/// One key of an instance: `path=/tmp/x`. What reads as a TOML value is one; everything else is text.
pub(super) fn key(text: &str) -> Result<(String, Value), String> {
    let (name, text) = text.split_once('=').ok_or("a key is set as KEY=VALUE")?;
    let parsed = format!("value = {text}\n").parse::<toml::Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("value")).and_then(|value| value.try_into().ok());
    Ok((name.to_owned(), value.unwrap_or_else(|| text.into())))
}

/// Runs this program again as the child that `child` makes of it, and tells what it reports. Returns the text for
/// the user, and whether everything passed.
pub(super) fn parent(plugin: &Inspected, config: &Map<String, Value>) -> anyhow::Result<(String, bool)> {
    if let Err(refusal) = plugins::check_config(&plugin.manifest, "config", config) {
        return Ok((format!("{refusal}; set a key with --set KEY=VALUE\n"), false));
    }
    let (report, theirs) = UnixStream::pair().context("cannot make a socket")?;
    report.set_read_timeout(Some(SILENCE)).context("cannot set up a socket")?;
    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .arg("--report")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("cannot start a process to run the plugin in")?;
    let mut told = Told::default();
    let mut silent = false;
    for line in BufReader::new(&report).lines() {
        match line {
            Ok(line) => told.line(&line),
            Err(_) => {
                silent = true;
                break;
            }
        }
    }
    if silent {
        child.kill().context("cannot end the plugin's process")?;
    }
    let status = child.wait().context("cannot wait for the plugin's process")?;
    Ok(told.end(status, silent))
}

/// The reports of the child so far.
#[derive(Default)]
struct Told {
    text: String,
    step: Option<String>,
    passed: u32,
    failed: u32,
    done: bool,
}

impl Told {
    fn line(&mut self, line: &str) {
        if let Some(step) = line.strip_prefix(BEGIN) {
            self.step = Some(step.into());
        } else if line == PASSED {
            self.outcome(None);
        } else if let Some(why) = line.strip_prefix(FAILED) {
            self.outcome(Some(why));
        } else if line == DONE {
            self.done = true;
        }
    }

    fn outcome(&mut self, failure: Option<&str>) {
        let step = self.step.take().unwrap_or_else(|| "the end".into());
        match failure {
            None => {
                self.passed += 1;
                self.text.push_str(&format!("ok      {step}\n"));
            }
            Some(why) => {
                self.failed += 1;
                self.text.push_str(&format!("FAILED  {step}: {why}\n"));
            }
        }
    }

    fn end(mut self, status: ExitStatus, silent: bool) -> (String, bool) {
        if !self.done {
            let why = match (silent, status.signal(), status.code()) {
                (true, ..) => "it did not return; the agent would leave it behind".into(),
                (_, Some(signal), _) => {
                    format!(
                        "it ended the process by signal {signal}; as part of the agent it would end the agent"
                    )
                }
                (_, _, Some(CANNOT_REPORT)) => {
                    "it closed a descriptor that is not its own; as part of the agent \
                                                it would end the agent"
                        .into()
                }
                (_, _, code) => format!(
                    "it called exit ({}); as part of the agent it would end the agent",
                    code.unwrap_or_default()
                ),
            };
            self.outcome(Some(&why));
        }
        self.text.push_str(&format!("{} passed, {} failed\n", self.passed, self.failed));
        (self.text, self.failed == 0)
    }
}

/// Loads `plugin`, runs everything, and reports on standard input, which the parent made a socket.
pub(super) fn child(plugin: Inspected, config: &Map<String, Value>) -> anyhow::Result<()> {
    let report = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("the parent that it should report to is gone")?;
    let report = std::cell::RefCell::new(File::from(report));
    let tell = |line: String| {
        let line = line.replace('\n', " ") + "\n";
        if report.borrow_mut().write_all(line.as_bytes()).is_err() {
            // SAFETY: takes a number and does not return. Nothing of ours is left to be written.
            unsafe { libc::_exit(CANNOT_REPORT) };
        }
    };
    let end = |outcome: Result<(), String>| match outcome {
        Ok(()) => tell(PASSED.into()),
        Err(why) => tell(format!("{FAILED}{why}")),
    };
    tell(format!("{BEGIN}load"));
    match plugins::load(plugin) {
        Ok(plugin) => {
            end(Ok(()));
            conformance::run(&plugin, config, |step| tell(format!("{BEGIN}{step}")), end);
        }
        Err(refusal) => end(Err(refusal.to_string())),
    }
    tell(DONE.into());
    // A plugin may have closed the descriptor, whose number is another file by now.
    std::mem::forget(report.into_inner());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_toml_reads_or_else_text() {
        let set = |text| key(text).unwrap();
        assert_eq!(set("path=/tmp/x"), ("path".into(), "/tmp/x".into()));
        assert_eq!(set("keep=3"), ("keep".into(), 3.into()));
        assert_eq!(set("on=true"), ("on".into(), true.into()));
        assert_eq!(set("files=[\"a\", \"b\"]"), ("files".into(), vec!["a", "b"].into()));
        assert_eq!(set("text=a=b"), ("text".into(), "a=b".into()));
        assert!(key("path").is_err());
    }

    #[test]
    fn a_child_that_ends_early_fails_in_the_step_that_it_was_in() {
        let status = |raw| ExitStatus::from_raw(raw);
        for (status, expected) in [
            (status(3 << 8), "it called exit (3)"),
            (status(libc::SIGSEGV), "by signal 11"),
            (status(CANNOT_REPORT << 8), "closed a descriptor"),
        ] {
            let mut told = Told::default();
            for line in ["begin load", "passed", "begin export"] {
                told.line(line);
            }
            let (text, passed) = told.end(status, false);
            assert!(!passed && text.starts_with("ok      load\nFAILED  export: "), "{text}");
            assert!(text.contains(expected) && text.ends_with("1 passed, 1 failed\n"), "{text}");
        }
    }
}
