//! `config check` refuses what `run` refuses when it starts, with the same words.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use std::fs;
use std::process::{Command, Output};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Answers of `config check` and of `run`.
fn asked(toml: &str) -> (Output, Output) {
    let installed = Installed::from_environment().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, toml).unwrap();
    let mut check = Command::new(&installed.agent);
    let check = check.args(["config", "check"]).arg(&installed.config).arg(&file).output().unwrap();
    // One that is not refused would go on.
    let mut run = Command::new("timeout");
    run.arg("120").arg(&installed.agent).args(["run", "--config"]).arg(&installed.config);
    (check, run.arg("--config").arg(&file).output().unwrap())
}

/// A required exporter.
fn exporter(plugin: &str, keys: &str) -> String {
    format!("[exporters.x]\nplugin = \"{plugin}\"\nrequired = true\n{keys}\n")
}

#[test]
fn what_run_refuses_config_check_refuses_with_the_same_words() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("file"), "not a certificate").unwrap();
    let files = |config: &str| exporter("file-export", &format!("config = {{ {config} }}"));
    let otlp = |config: &str| exporter("otlp-export", &format!("config = {{ {config} }}"));
    let tls = |keys: &str| otlp(&format!("endpoint = \"https://collector:4317\", tls = {{ {keys} }}"));
    for (toml, why) in [
        (files(&format!("directory = {:?}", path("absent"))), "is not a directory; create it: mkdir -p"),
        (files(&format!("directory = {:?}", path("file"))), "is not a directory"),
        (files("directory = \"/proc/self\""), "`directory`: no file can be made in /proc/self: "),
        (files("files = [\"/proc/self/x.svg\"]"), "`files`: no file can be made in /proc/self: "),
        (files("files = [\"/tmp/x.png\"]"), "has no extension that names a format"),
        (files("directory = 7"), "exporters.x.config.directory` is 7"),
        (files(""), "neither `files` nor `directory` is set"),
        (otlp("endpoint = \"collector:4317\""), "`collector:4317` is not an endpoint"),
        (tls(&format!("ca_file = {:?}", path("absent"))), "No such file or directory"),
        (tls(&format!("ca_file = {:?}", path("file"))), "certificate"),
        (tls("key_file = \"/k\""), "belong together"),
        (otlp(&format!("headers.a.file = {:?}", path("absent"))), "header `a`: cannot read"),
        (otlp("headers.te.value = \"x\""), "`te` cannot be a header here"),
        (exporter("absent", ""), "names the plugin `absent`"),
        ("[plugins]\nload = [\"absent\"]\nrequired = [\"absent\"]\n".into(), "no plugin `absent` in "),
        (format!("[plugins]\nload = [\"absent\"]\n{}", exporter("absent", "")), "no plugin `absent` in "),
        (exporter("tracepoint-offsets", ""), "exporter"),
        ("[capabilities]\ndeny = [\"bpf.map.ringbuff\"]\n".into(), "the nearest is `bpf.map.ringbuf`"),
        ("[capabilities]\ndeny = [\"bpf.map.ringbuf\"]\n".into(), "cannot run on this system: "),
        ("[capabilities]\ndeny = [\"bpf.prog.perf_event\"]\n".into(), "cannot run on this system: "),
        ("[log]\nfilter = \"loud=[\"\n".into(), "log.filter"),
        (format!("[health]\nlisten = \"unix:{}\"\n", path("file")), "cannot be listened at: "),
        (format!("[health]\nlisten = \"unix:{}/x/y\"\n", path("absent")), "cannot be listened at: "),
        ("[health]\nlisten = \"127.0.0.1\"\n".into(), "health.listen"),
    ] {
        let (check, run) = asked(&toml);
        for (command, output) in [("config check", check), ("run", run)] {
            let text = said(&output);
            assert_eq!(output.status.code(), Some(2), "{command} of {toml}: {text}");
            assert!(text.contains(why), "{command} of {toml} does not say {why}: {text}");
        }
    }
}

#[test]
fn what_run_takes_config_check_takes_without_leaving_anything() {
    kernel_tier!();
    let installed = Installed::from_environment().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("profiles");
    fs::create_dir(&directory).unwrap();
    let file = folder.path().join("agent.toml");
    let toml = format!(
        "{}spool_directory = {:?}\n[exporters.x.config]\ndirectory = {directory:?}\n[health]\nlisten = \"unix:{}\"\n",
        exporter("file-export", ""),
        folder.path().join("spool/deep"),
        folder.path().join("run/health.sock").display()
    );
    fs::write(&file, toml).unwrap();
    let check = Command::new(&installed.agent)
        .args(["config", "check"])
        .arg(&installed.config)
        .arg(&file)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", said(&check));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
