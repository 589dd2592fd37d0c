//! Exporters that misbehave in a running agent: sampling loses nothing, and the others get every batch.

use stacksonde_tests::agent::{Installed, ended_without_loss};
use stacksonde_tests::health::metric;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::plugin::Stage;
use stacksonde_tests::wait::eventually;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// An agent with a good exporter and others of the fixture `misbehaves`.
struct Agent {
    stage: Stage,
    child: Child,
}

impl Agent {
    /// Besides one with keys that its plugin does not take. `bad`: name, other keys of the instance, and what the fixture's config says.
    fn start(bad: &[(&str, &str, &str)]) -> Self {
        let stage = Stage::new();
        stage.install("line-count");
        stage.install("misbehaves");
        let mut config = format!(
            "[plugins]\ndirectories = [{:?}]\nload = [\"line-count\", \"misbehaves\"]\n\
             [health]\nlisten = \"unix:STAGE/health\"\n[shutdown]\nbudget_ms = 5000\n[sampling]\nfrequency_hz = 99\ninterval_seconds = 1\n\
             [exporters.wrong]\nplugin = \"line-count\"\nconfig.path = 7\n\
             [exporters.good]\nplugin = \"line-count\"\nconfig.path = {:?}\n",
            stage.path(),
            stage.path().join("lines"),
        );
        for (name, keys, does) in bad {
            config +=
                &format!("[exporters.{name}]\nplugin = \"misbehaves\"\n{keys}\nconfig = {{ {does} }}\n");
        }
        let config = config.replace("STAGE", stage.path().to_str().unwrap());
        let file = stage.path().join("agent.toml");
        fs::write(&file, config).unwrap();
        let mut command = Installed::from_environment().unwrap().command("run");
        command.arg("--config").arg(file);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Self { stage, child }
    }

    /// Waits until a metric of an exporter has reached so much.
    fn wait_for(&self, count: u64, name: &str, exporter: &str) {
        let socket = self.stage.path().join("health");
        eventually(&format!("{count} {name} of {exporter}"), || {
            metric(&socket, name, exporter) >= Some(count)
        });
    }

    /// Waits for the end; returns its output and its exit code.
    fn end(self) -> (Stage, String, Option<i32>) {
        let output = self.child.wait_with_output().unwrap();
        (self.stage, String::from_utf8(output.stderr).unwrap(), output.status.code())
    }
}

/// The number after `key: ` in what was said of `exporter` at the end.
fn counter(said: &str, exporter: &str, key: &str) -> u64 {
    let line = said.lines().find(|line| line.contains(&format!("exporter ended exporter=\"{exporter}\"")));
    let line = line.unwrap_or_else(|| panic!("nothing of {exporter} in: {said}"));
    let value = line.split_once(&format!("{key}: ")).unwrap_or_else(|| panic!("no {key} in: {line}")).1;
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn exporters_that_misbehave_cost_neither_samples_nor_the_batches_of_others() {
    kernel_tier!();
    let agent = Agent::start(&[
        ("create", "", "panic = \"create\""),
        ("export", "", "panic = \"export\""),
        ("drop", "", "panic = \"drop\""),
        ("local", "", "panic = \"thread-local\""),
        ("hang", "deadline_seconds = 1", "hang = \"export\""),
        ("late", "deadline_seconds = 2", "until = \"STAGE/release\""),
        ("retry", "", "retry = \"1000\""),
        ("the-last", "", "file = \"STAGE/log\""),
    ]);
    agent.wait_for(6, "batches_delivered_total", "good");
    let socket = agent.stage.path().join("health");
    for late in ["hang", "late"] {
        eventually("a deadline", || metric(&socket, "healthy", late) == Some(0));
    }
    fs::write(agent.stage.path().join("release"), "").unwrap();
    agent.wait_for(2, "batches_delivered_total", "late");
    agent.wait_for(2, "panics_total", "export");
    agent.wait_for(2, "retries_total", "retry");
    // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(agent.child.id().cast_signed(), libc::SIGTERM) }, 0);
    let asked = Instant::now();
    let (stage, said, code) = agent.end();
    let took = asked.elapsed();
    assert_eq!(code, Some(0), "{said}");
    // One of them never returns: the others have the budget, and then it ends.
    assert!(took < Duration::from_secs(60), "took {took:?}: {said}");

    let batches = fs::read_to_string(stage.path().join("lines")).unwrap().lines().count() as u64;
    assert_eq!(counter(&said, "good", "delivered"), batches);
    for reason in ["queue_full", "refused", "panicked", "disabled", "shutdown"] {
        assert_eq!(counter(&said, "good", reason), 0, "{reason}");
    }
    ended_without_loss(&said);

    let wrong = "exporter `wrong` is not started: plugin `line-count`: `exporters.wrong.config.path` is 7; allowed: text";
    assert!(said.contains(wrong), "{said}");
    assert!(said.contains("`create`: create panicked at src/lib.rs"), "{said}");
    assert!(said.contains("stuck: export has not returned within 1 s; other exporters go on"), "{said}");
    assert!(said.contains("past its deadline"), "{said}");
    assert!(counter(&said, "export", "panics") >= 2, "it was created again: {said}");
    assert_eq!(counter(&said, "drop", "panics"), 1);
    assert_eq!(counter(&said, "local", "delivered"), batches, "{said}");
    assert_eq!(counter(&said, "hang", "delivered"), 0);
    // One that hangs to the end takes no time to finish from those that are ended after it.
    assert_eq!(counter(&said, "the-last", "delivered"), batches);
    assert!(fs::read_to_string(stage.path().join("log")).unwrap().ends_with("drop\n"), "{said}");
    assert!(counter(&said, "late", "overruns") >= 1, "{said}");
    assert!(counter(&said, "late", "delivered") >= 2, "{said}");
    assert!(counter(&said, "retry", "retries") >= 2, "{said}");
}

#[test]
fn an_exporter_that_calls_exit_ends_the_agent_with_its_status() {
    kernel_tier!();
    let agent = Agent::start(&[("exit", "", "exit = \"export\"")]);
    let (_stage, said, code) = agent.end();
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn an_exporter_that_closes_descriptors_of_others_ends_the_agent_which_does_not_go_on_blindly() {
    kernel_tier!();
    let agent = Agent::start(&[("close", "", "close = \"export\"")]);
    let (_stage, said, code) = agent.end();
    // Which of its threads notices first, and how, is chance: an error, or an abort of the standard library's.
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("ad file descriptor") || said.contains("descriptor already closed"), "{said}");
}
