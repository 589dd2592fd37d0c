//! Proxies that the environment names.

use super::{Agent, collector_tier, counter, eventually, sampled};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::target::Spinners;
use std::fs;

#[test]
fn every_protocol_goes_through_the_proxy_of_the_environment_and_exceptions_do_not() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    collector::certificates(folder);
    let mut receivers = Vec::from(Receiver::of_each_kind("token"));
    receivers.push(Receiver::new("direct", "http"));
    let collector = collector::start(folder, &receivers);
    let port = collector::free_port();
    let _proxy = collector::proxy(folder, port, Some("user:p@ss"));

    let mut toml = String::new();
    for Receiver { name, protocol, port, token, .. } in &receivers {
        let protocol = if *protocol == "grpc" { "grpc" } else { "http/protobuf" };
        let scheme = if token.is_some() { "https" } else { "http" };
        // Only the proxy knows where that is.
        let host = if *name == "direct" { "localhost" } else { "collector.test" };
        toml += &format!(
            "[exporters.{name}]\nplugin = \"otlp-export\"\n[exporters.{name}.config]\nprotocol = \"{protocol}\"\n\
             endpoint = \"{scheme}://{host}:{port}\"\n"
        );
        if token.is_some() {
            let file = |name: &str| folder.join(name);
            toml += &format!(
                "headers.authorization = {{ value = \"Bearer token\" }}\ntls = {{ server_name = \"localhost\", ca_file = \
                 {:?}, certificate_file = {:?}, key_file = {:?} }}\n",
                file("authority.pem"),
                file("client.pem"),
                file("client-key.pem")
            );
        }
    }
    toml += "[exporters.exempt]\nplugin = \"otlp-export\"\nconfig.endpoint = \"http://far.exempt.test:1\"\n";
    let address = |user: &str| format!("http://{user}127.0.0.1:{port}").into();
    let variables = [
        ("HTTP_PROXY", address("user:p%40ss@")),
        ("https_proxy", address("user:p%40ss@")),
        ("NO_PROXY", "10.0.0.0/8, .exempt.test".into()),
    ];
    let busy = Spinners::new();
    let _busy = busy.spin("busy", 0);
    let agent = Agent::start_by(folder, &toml, &[], &variables);
    let log = folder.join("proxy.log");
    eventually("the proxy", || {
        let log = fs::read_to_string(&log).unwrap();
        ["CONNECT", "POST"]
            .iter()
            .all(|method| log.lines().filter(|line| line.starts_with(method)).count() >= 2)
    });
    eventually("delivery", || collector::received(folder, "direct").messages() >= 2);
    let said = agent.end(folder);
    let samples = sampled(&said);
    collector::end(collector);

    let log = fs::read_to_string(log).unwrap();
    for Receiver { name, port, .. } in &receivers {
        let received = collector::received(folder, name);
        assert_eq!((received.samples(), received.problems()), (samples, vec![]), "{name}");
        assert_eq!(counter(&said, name, "dropped_samples"), 0, "{name}");
        let asked = match *name {
            "http" => format!("POST http://collector.test:{port}/v1development/profiles"),
            _ => format!("CONNECT collector.test:{port}"),
        };
        assert_eq!(log.lines().any(|line| line == asked), *name != "direct", "{name}: {log}");
    }
    assert!(!log.contains("localhost") && !log.contains("exempt") && !log.contains("refused"), "{log}");
    assert_eq!(counter(&said, "exempt", "delivered"), 0);
    assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
}

#[test]
fn a_proxy_that_does_not_know_us_is_named_without_the_password_and_what_was_sampled_waits() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let port = collector::free_port();
    let _proxy = collector::proxy(folder, port, Some("user:right"));
    let variables = [("ALL_PROXY", format!("http://user:wrong-secret@127.0.0.1:{port}").into())];
    let toml = "[exporters.grpc]\nplugin = \"otlp-export\"\nconfig.endpoint = \"http://collector.test:4317\"\n\
                [exporters.http]\nplugin = \"otlp-export\"\n\
                config = { endpoint = \"http://collector.test:4318\", protocol = \"http/protobuf\" }\n";
    let agent = Agent::start_by(folder, toml, &[], &variables);
    eventually("two refusals", || {
        let log = fs::read_to_string(folder.join("proxy.log")).unwrap();
        ["refused CONNECT", "refused POST"].iter().all(|asked| log.contains(asked))
    });
    let said = agent.end(folder);
    for exporter in ["grpc", "http"] {
        assert_eq!(counter(&said, exporter, "refused"), 0, "{said}");
    }
    let named = format!("the proxy http://127.0.0.1:{port} (ALL_PROXY) wants a user and a password");
    assert!(said.contains(&named) && !said.contains("wrong-secret"), "{said}");
}
