//! Samples arrive, over every transport.

use super::{Agent, collector_tier, counter, eventually, folded, sampled};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::target::{Running, compile};
use std::fs;
use std::process::Command;

const TOKEN: &str = "a-token-that-is-nobody-elses";

#[test]
fn what_was_sampled_arrives_over_grpc_and_http_with_tls_and_headers_too() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    collector::certificates(folder);
    let receivers = Receiver::of_each_kind(TOKEN);
    let collector = collector::start(folder, &receivers);
    fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    fs::create_dir(folder.join("folded")).unwrap();
    let program = compile("busy.c", folder, &[]);
    let mut target = Command::new(&program);
    target
        .args(["0", "600"])
        .env("OTEL_SERVICE_NAME", "shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=blue%20team,service.name=no");
    let target = Running::start(&mut target);

    let mut toml = format!(
        "[exporters.files]\nplugin = \"file-export\"\nconfig = {{ directory = {:?}, formats = [\"folded\"] }}\n",
        folder.join("folded")
    );
    let file = |name: &str| folder.join(name);
    for Receiver { name, protocol, port, token, .. } in &receivers {
        let protocol = if *protocol == "grpc" { "grpc" } else { "http/protobuf" };
        let (scheme, compression) = match token {
            Some(_) => ("https", "zstd"),
            None => ("http", "gzip"),
        };
        toml += &format!(
            "[exporters.{name}]\nplugin = \"otlp-export\"\nrequired = true\n[exporters.{name}.config]\n\
             endpoint = \"{scheme}://localhost:{port}\"\nprotocol = \"{protocol}\"\ncompression = \"{compression}\"\n"
        );
        if token.is_some() {
            toml += &format!(
                "headers.authorization = {{ file = {:?}, prefix = \"Bearer \" }}\ntls = {{ ca_file = {:?}, \
                 certificate_file = {:?}, key_file = {:?} }}\n",
                file("token"),
                file("authority.pem"),
                file("client.pem"),
                file("client-key.pem")
            );
        }
    }
    // Without the token nothing is taken; without a certificate nobody answers.
    let port = receivers[2].port;
    toml += &format!(
        "[exporters.stranger]\nplugin = \"otlp-export\"\n[exporters.stranger.config]\nendpoint = \"https://localhost:{port}\"\n\
         headers.authorization = {{ value = \"Bearer wrong-secret\" }}\ntls = {{ ca_file = {:?}, certificate_file = {:?}, key_file = {:?} }}\n",
        file("authority.pem"),
        file("client.pem"),
        file("client-key.pem")
    );
    let agent = Agent::start(folder, &toml);
    eventually("the fourth profile", || {
        folder.join("folded").read_dir().is_ok_and(|files| files.count() >= 4)
    });
    let said = agent.end(folder);
    let samples = sampled(&said);
    let expected = folded(&folder.join("folded"));
    assert_eq!(expected.values().sum::<u64>(), samples);

    collector::end(collector);
    for receiver in &receivers {
        let received = collector::received(folder, receiver.name);
        assert!(received.problems().is_empty(), "{}: {:?}", receiver.name, received.problems());
        assert_eq!(counter(&said, receiver.name, "delivered"), counter(&said, "files", "delivered"));
        assert_eq!((received.samples(), received.stated("stacksonde.samples")), (samples, samples));
        assert_eq!(received.folded(), expected, "{}", receiver.name);
    }
    assert_eq!(counter(&said, "stranger", "delivered"), 0);
    assert!(said.contains("the receiver answered Unauthenticated"), "{said}");
    assert!(!said.contains("wrong-secret") && !said.contains(TOKEN), "{said}");

    let received = collector::received(folder, "http");
    let pid = u64::from(target.0.id());
    let profiles = received.profiles();
    let found = profiles.iter().find(|it| it["resource"]["process.pid"] == pid);
    let resources: Vec<_> = profiles.iter().map(|it| it["resource"].to_string()).collect();
    let profile = *found.unwrap_or_else(|| panic!("no process {pid} among {resources:?}"));
    let is = |key: &str, value: &str| {
        assert_eq!(profile["resource"][key], value, "{key}: {}", profile["resource"])
    };
    is("process.executable.name", "busy");
    is("process.executable.path", program.to_str().unwrap());
    is("service.name", "shop");
    is("team", "blue team");
    is("os.type", "linux");
    is("host.name", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!(
        (profile["sample_type"].as_str(), profile["period_type"].as_str()),
        (Some("cpu/nanoseconds"), Some("cpu/nanoseconds"))
    );
    assert_eq!(profile["period"], 1_000_000_000 / 99);
    let stack = &profile["stacks"][0];
    assert_eq!(stack["count"], stack["times"], "each sample has its time");
    // From half of the period to twice as much, and what was left of the one before.
    let (count, cpu_time) = (stack["count"].as_u64().unwrap(), stack["cpu_time"].as_u64().unwrap());
    let period = 1_000_000_000 / 99;
    assert!((count * period / 2..=count * period * 4).contains(&cpu_time), "{stack}");
    assert_eq!(stack["attributes"]["thread.id"], pid);
    let frames =
        profile["stacks"].as_array().unwrap().iter().flat_map(|stack| stack["frames"].as_array().unwrap());
    let own = frames.clone().find(|frame| frame["file"] == program.to_str().unwrap()).unwrap();
    assert_eq!(own["type"], "native");
    assert_eq!(own["mapping"]["process.executable.build_id.htlhash"], htlhash(&program), "{own}");
    assert!(
        own["mapping"]["process.executable.build_id.gnu"].as_str().is_some_and(|id| id.len() >= 16),
        "{own}"
    );
}

/// By other programs than ours.
fn htlhash(program: &std::path::Path) -> String {
    let script = "f=$1; (head -c 4096 \"$f\"; tail -c 4096 \"$f\"; printf '%016x' $(stat -c %s \"$f\") | \
                  sed 's/../\\\\x&/g' | xargs -0 printf '%b') | sha256sum | head -c 32";
    let output = Command::new("bash").args(["-c", script, "bash"]).arg(program).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
