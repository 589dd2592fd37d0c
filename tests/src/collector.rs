//! An OpenTelemetry Collector, built from `tests/collector` by `cargo xtask test`, and what it received.

use crate::target::Running;
use crate::wait::eventually;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variable that names the program.
pub const COLLECTOR: &str = "STACKSONDE_TEST_COLLECTOR";

/// The program; the error says what is missing.
pub fn program() -> Result<PathBuf, String> {
    let path = std::env::var_os(COLLECTOR).map(PathBuf::from);
    path.filter(|path| path.exists()).ok_or_else(|| {
        format!("{COLLECTOR} names no file; run `cargo xtask test`, which builds the Collector")
    })
}

/// A port of this machine that is free now.
///
/// # Panics
///
/// If there is none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A certificate authority, and certificates for both sides, in `folder`.
///
/// # Panics
///
/// If they cannot be made.
pub fn certificates(folder: &Path) {
    let status = Command::new(program().unwrap()).arg("certificates").arg(folder).status().unwrap();
    assert!(status.success());
}

/// A receiver of the Collector, with a pipeline of its own into `<name>.otlp`.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its name.
    pub name: &'static str,
    /// `grpc` or `http`.
    pub protocol: &'static str,
    /// The port on which it listens.
    pub port: u16,
    /// The token that requests must carry, if any; then TLS is required, too, with certificates on both sides.
    pub token: Option<&'static str>,
    /// The largest message that it takes, in MiB; `None` for its default.
    pub most_mib: Option<u32>,
}

impl Receiver {
    /// Without TLS and tokens, on a free port.
    pub fn new(name: &'static str, protocol: &'static str) -> Self {
        Self { name, protocol, port: free_port(), token: None, most_mib: None }
    }

    /// One of each protocol without TLS and one with, which asks for the token.
    pub fn of_each_kind(token: &'static str) -> [Self; 4] {
        let secured = |name, protocol| Self { token: Some(token), ..Self::new(name, protocol) };
        [
            Self::new("grpc", "grpc"),
            Self::new("http", "http"),
            secured("grpc-tls", "grpc"),
            secured("http-tls", "http"),
        ]
    }
}

/// Starts a Collector with its files in `folder`, and waits until it listens.
///
/// # Panics
///
/// If it does not come up.
pub fn start(folder: &Path, receivers: &[Receiver]) -> Running {
    let config = folder.join("collector.yaml");
    std::fs::write(&config, yaml(folder, receivers)).unwrap();
    let log = std::fs::File::options().create(true).append(true).open(folder.join("collector.log")).unwrap();
    let mut serve = Command::new(program().unwrap());
    serve.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(log);
    let mut running = Running::start(&mut serve);
    for receiver in receivers {
        listens(receiver.port, || {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(folder.join("collector.log")).unwrap());
        });
    }
    running
}

/// Starts a receiver that does what `mode` says (`tests/collector/misbehave.go`), what it takes into
/// `<folder>/<name>.otlp`, what it says into `<folder>/<name>.log`, and waits until it listens.
///
/// # Panics
///
/// If it does not come up.
pub fn misbehaving(folder: &Path, name: &str, mode: &str, port: u16) -> Running {
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut program = Command::new(program().unwrap());
    program.args(["misbehave", mode, &format!("127.0.0.1:{port}")]);
    program.arg(folder.join(format!("{name}.otlp"))).stdout(log);
    let running = Running::start(&mut program);
    listens(port, || {});
    running
}

/// Starts a server that stores messages and answers at `/KIND` in the way that KIND names (`tests/collector/answer.go`),
/// what it says into `<folder>/answers.log`, and waits until it listens.
///
/// # Panics
///
/// If it does not come up.
pub fn answering(folder: &Path, port: u16) -> Running {
    start_logging(folder, "answers", port, &["answer", &format!("127.0.0.1:{port}")])
}

/// Starts a proxy, to which hosts below `.test` are this machine, for `user` (`name:password`) or for everybody; what it
/// was asked for goes into `<folder>/proxy.log`. Waits until it listens.
///
/// # Panics
///
/// If it does not come up.
pub fn proxy(folder: &Path, port: u16, user: Option<&str>) -> Running {
    let address = format!("127.0.0.1:{port}");
    let arguments: Vec<&str> = ["proxy", address.as_str()].into_iter().chain(user).collect();
    start_logging(folder, "proxy", port, &arguments)
}

fn start_logging(folder: &Path, name: &str, port: u16, arguments: &[&str]) -> Running {
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let running = Running::start(Command::new(program().unwrap()).args(arguments).stdout(log));
    listens(port, || {});
    running
}

/// Ends a Collector as a service manager does, so that it writes what it has.
///
/// # Panics
///
/// If it cannot be told.
pub fn end(mut collector: Running) {
    // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(collector.0.id().cast_signed(), libc::SIGTERM) }, 0);
    collector.0.wait().unwrap();
}

/// Waits until something listens there.
fn listens(port: u16, mut meanwhile: impl FnMut()) {
    eventually(&format!("who listens at port {port}"), || {
        meanwhile();
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

fn yaml(folder: &Path, receivers: &[Receiver]) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let (mut listening, mut files, mut pipelines, mut tokens) =
        (String::new(), String::new(), String::new(), String::new());
    let mut extensions = Vec::new();
    for Receiver { name, protocol, port, token, most_mib } in receivers {
        listening += &format!(
            "  otlp/{name}:\n    protocols:\n      {protocol}:\n        endpoint: 127.0.0.1:{port}\n"
        );
        if let Some(most) = most_mib {
            listening += &format!("        max_recv_msg_size_mib: {most}\n");
        }
        if let Some(token) = token {
            extensions.push(format!("bearertokenauth/{name}"));
            tokens += &format!("  bearertokenauth/{name}:\n    token: {token}\n");
            listening += &format!(
                "        auth:\n          authenticator: bearertokenauth/{name}\n        tls:\n          \
                 cert_file: {}\n          key_file: {}\n          client_ca_file: {}\n",
                file("server.pem"),
                file("server-key.pem"),
                file("authority.pem")
            );
        }
        files += &format!(
            "  file/{name}:\n    path: {}\n    format: proto\n    append: true\n    flush_interval: 50ms\n",
            file(&format!("{name}.otlp"))
        );
        pipelines += &format!(
            "    profiles/{name}:\n      receivers: [otlp/{name}]\n      exporters: [file/{name}, debug]\n"
        );
    }
    let extensions_section = if tokens.is_empty() { String::new() } else { format!("extensions:\n{tokens}") };
    format!(
        "{extensions_section}receivers:\n{listening}exporters:\n  debug: {{}}\n{files}service:\n  extensions: [{}]\n  telemetry:\n    \
         metrics:\n      level: none\n  pipelines:\n{pipelines}",
        extensions.join(", ")
    )
}

/// Reads the messages that a receiver wrote to `<folder>/<name>.otlp`, decoded by code that protoc made, and checked.
///
/// # Panics
///
/// If it cannot be decoded.
pub fn received(folder: &Path, name: &str) -> Received {
    let file = folder.join(format!("{name}.otlp"));
    let output = Command::new(program().unwrap()).arg("read").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Received(serde_json::from_slice(&output.stdout).unwrap())
}

/// The findings of `collector read` in a file of messages (`tests/collector/read.go`).
#[derive(Clone, Debug)]
pub struct Received(pub Value);

impl Received {
    /// Returns violations of OTLP's rules.
    pub fn problems(&self) -> Vec<&str> {
        self.0["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Number of messages.
    pub fn messages(&self) -> u64 {
        self.0["messages"].as_u64().unwrap()
    }

    /// Every profile once: by its id, whatever was sent twice.
    ///
    /// # Panics
    ///
    /// If two profiles have one id and came in messages that differ.
    pub fn profiles(&self) -> Vec<&Value> {
        let mut by_id = BTreeMap::<&str, &Value>::new();
        let mut profiles = Vec::new();
        for profile in self.0["profiles"].as_array().into_iter().flatten() {
            match by_id.insert(profile["id"].as_str().unwrap(), profile) {
                Some(before) => assert_eq!(before["message"], profile["message"], "one id, two contents"),
                None => profiles.push(profile),
            }
        }
        profiles
    }

    /// Samples in all of them.
    pub fn samples(&self) -> u64 {
        self.profiles().iter().map(|profile| profile["samples"].as_u64().unwrap()).sum()
    }

    /// Returns the sum of the values that the host's profiles state under a name such as `stacksonde.samples`.
    pub fn stated(&self, name: &str) -> u64 {
        self.profiles().iter().filter_map(|profile| profile["attributes"][name].as_u64()).sum()
    }

    /// Samples by stack, in the way of folded files.
    pub fn folded(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for profile in self.profiles() {
            let process = profile["resource"]["process.title"].as_str().unwrap_or_default();
            for stack in profile["stacks"].as_array().unwrap() {
                let mut text = process.to_owned();
                if let Some(why) = stack["attributes"]["stacksonde.stack.incomplete"].as_str() {
                    text += &format!(";[incomplete: {why}]");
                }
                for frame in stack["frames"].as_array().unwrap() {
                    text += &format!(";{}", folded_frame(frame));
                }
                *counts.entry(text).or_default() += stack["count"].as_u64().unwrap();
            }
        }
        counts
    }
}

fn folded_frame(frame: &Value) -> String {
    let suffix = if frame["type"] == "kernel" { "_[k]" } else { "" };
    let file = frame["file"].as_str().unwrap().rsplit('/').next().unwrap().trim_matches(['[', ']']);
    match (frame["name"].as_str().unwrap(), file) {
        ("", "") => format!("[{:#x}]{suffix}", frame["address"].as_u64().unwrap()),
        ("", file) => format!("[{file}+{:#x}]{suffix}", frame["address"].as_u64().unwrap()),
        (name, _) => format!("{}{suffix}", name.replace(';', ":")),
    }
}
