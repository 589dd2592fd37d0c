//! `stacksonde view`: files that we and others wrote, fetched as a browser fetches them.

use super::file_export::go;
use stacksonde_file_export::Format;
use stacksonde_plugin::batch::Batch;
use stacksonde_tests::browser::{self, Browser};
use stacksonde_tests::{agent, profile, skip::skip};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A viewer that is to end after the page was fetched once.
struct Viewer {
    child: Child,
    url: String,
}

impl Viewer {
    fn start(file: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(agent::built());
        command.arg("view").arg(file).args(arguments).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    /// The page, of the viewer that then ends by itself.
    fn page(mut self) -> String {
        let (host, path) = self.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(self.child.wait().unwrap().success());
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // One that was asked once has ended.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The data in a page.
fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"profile\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// A file with the batch of the tests.
fn file(format: Format, folder: &Path) -> std::path::PathBuf {
    let path = folder.join(format!("profile.{}", format.extension()));
    let bytes = profile::batch(1);
    std::fs::write(&path, format.encode(&Batch::parse(&bytes).unwrap()).unwrap()).unwrap();
    path
}

#[test]
fn a_pprof_file_shows_what_the_page_of_the_recording_shows() {
    let folder = tempfile::tempdir().unwrap();
    let ours = data(&std::fs::read_to_string(file(Format::Html, folder.path())).unwrap());
    let mut seen = data(&Viewer::start(&file(Format::Pprof, folder.path()), &["--once"]).page());
    assert_eq!(seen["title"], "profile.pb.gz");
    seen["title"] = ours["title"].clone();
    // The modules' numbers are of the order in which they were seen.
    let modules = |data: &serde_json::Value| -> Vec<serde_json::Value> {
        let of = data["of"].as_array().unwrap();
        of.iter()
            .map(|number| data["modules"][usize::try_from(number.as_u64().unwrap()).unwrap()].clone())
            .collect()
    };
    assert_eq!(modules(&seen), modules(&ours));
    for key in ["names", "kinds", "nodes", "losses", "notes", "start_ns", "duration_ns", "period_ns", "unit"]
    {
        assert_eq!(seen[key], ours[key], "{key}");
    }
    // The other type of values that is in it.
    let viewer = Viewer::start(&folder.path().join("profile.pb.gz"), &["--once", "--value", "cpu"]);
    let seen = data(&viewer.page());
    assert_eq!((&seen["unit"], &seen["period_ns"]), (&"nanoseconds".into(), &serde_json::Value::Null));
}

#[test]
fn folded_stacks_show_their_functions() {
    let folder = tempfile::tempdir().unwrap();
    let seen = data(&Viewer::start(&file(Format::Folded, folder.path()), &["--once"]).page());
    let names: Vec<_> = seen["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let kind = |name: &str| seen["kinds"][names.iter().position(|known| *known == name).unwrap()].clone();
    assert_eq!(
        (kind("vfs_read"), kind("parse"), kind("[incomplete: no_user_registers]")),
        (3.into(), 2.into(), 4.into())
    );
    let nodes = seen["nodes"].as_array().unwrap();
    let own: u64 = nodes.chunks(3).map(|node| node[2].as_u64().unwrap()).sum();
    assert_eq!(own, profile::SAMPLES);
}

#[test]
fn what_pprof_itself_wrote_is_read() {
    let Some(go) = go() else {
        return skip(
            "what_pprof_itself_wrote_is_read",
            "there is no Go toolchain (in PATH or /usr/local/go)",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs.pb.gz");
    let mut command = Command::new(go);
    command.args(["tool", "pprof", "-symbolize=none", "-proto", "-focus=parse", "-output"]).arg(&theirs);
    command.arg(file(Format::Pprof, folder.path())).envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = data(&Viewer::start(&theirs, &["--once"]).page());
    let names: Vec<_> = seen["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(
        names.contains(&"parse") && names.contains(&"vfs_read") && !names.contains(&"kthread"),
        "{names:?}"
    );
}

#[test]
fn a_page_that_somebody_made_is_served_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(Format::Html, folder.path());
    assert_eq!(Viewer::start(&path, &["--once"]).page(), std::fs::read_to_string(path).unwrap());
}

#[test]
fn what_cannot_be_shown_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (format, value, expected) in [
        (
            Format::Firefox,
            None,
            "is for https://profiler.firefox.com; `view` shows .pb.gz (pprof), .folded and .html",
        ),
        (
            Format::Pprof,
            Some("inuse_space"),
            "the profile has no values called `inuse_space`; it has: samples, cpu",
        ),
    ] {
        let mut command = Command::new(agent::built());
        command.arg("view").arg(file(format, folder.path()));
        command.args(value.map(|value| format!("--value={value}")));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_browser_shows_the_page_and_ctrl_c_ends_it() {
    let Some(program) = browser::program() else {
        return skip(
            "a_browser_shows_the_page_and_ctrl_c_ends_it",
            "there is no chromium-headless-shell or chromium in PATH",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let mut viewer = Viewer::start(&file(Format::Pprof, folder.path()), &[]);
    let mut browser = Browser::start(&program);
    for _ in 0..2 {
        browser.open(&viewer.url);
        assert_eq!(browser.text("document.title"), "profile.pb.gz");
        assert!(
            browser
                .text("facts.textContent")
                .contains("18 samples (180 ms) · 100 Hz · on attic · Linux 6.18.0")
        );
        browser.key("/");
        browser.write("vfs_read");
        assert!(browser.text("matched.textContent").starts_with("66.67 % of all"));
        assert_eq!(browser.complaints(), [""; 0]);
        assert_eq!(browser.requests(), [viewer.url.clone()]);
    }
    let interrupt = Command::new("kill").args(["-INT", &viewer.child.id().to_string()]).status().unwrap();
    assert!(interrupt.success() && viewer.child.wait().unwrap().success());
}
