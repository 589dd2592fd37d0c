//! Answers of receivers, and servers that are not receivers of what was sent.

use super::limits::exporter;
use super::{LONG, collector_tier, eventually};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::profile;
use std::time::Instant;

const HTTP: &str = ", \"protocol\": \"http/protobuf\"";
/// Nothing is tried again because the machine is busy.
const PATIENT: &str = ", \"timeout_ms\": 600000";

#[test]
fn a_message_that_was_stored_is_delivered_however_that_is_said() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let port = collector::free_port();
    let _server = collector::answering(folder.path(), port);
    let delivered =
        ["json", "rejected", "empty", "none", "accepted", "gzip", "protobuf-gzip", "cut", "endless"];
    for kind in delivered {
        let exporter = exporter(&format!("127.0.0.1:{port}/{kind}"), &format!("{HTTP}{PATIENT}"));
        exporter.submit(profile::batch(1).into());
        eventually(kind, || exporter.counters().delivered == 1);
        let counters = exporter.shutdown(Instant::now() + LONG);
        assert_eq!((counters.retries, counters.dropped.total()), (0, 0), "{kind}: {counters:?}");
    }
    let refused = [
        ("page", "is it an OTLP receiver?"),
        ("login", "the receiver answered 302 to https://login.test/"),
        ("invalid", "the receiver answered 400: no such profiles here"),
    ];
    for (kind, why) in refused {
        let exporter = exporter(&format!("127.0.0.1:{port}/{kind}"), &format!("{HTTP}{PATIENT}"));
        exporter.submit(profile::batch(1).into());
        eventually(kind, || exporter.counters().dropped.refused == 1);
        let error = exporter.shutdown(Instant::now() + LONG).last_error.unwrap();
        assert!(error.contains(why), "{kind}: {error}");
    }
    let log = std::fs::read_to_string(folder.path().join("answers.log")).unwrap();
    for kind in delivered.into_iter().chain(refused.map(|(kind, _)| kind)) {
        assert_eq!(
            log.lines().filter(|line| line.split(' ').next() == Some(kind)).count(),
            1,
            "{kind}: {log}"
        );
    }
}

#[test]
fn what_is_sent_by_the_wrong_protocol_is_kept_and_told_with_the_right_one() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    collector::certificates(folder);
    let receivers = Receiver::of_each_kind("token");
    let collector = collector::start(folder, &receivers);
    let [grpc, http, grpc_tls, http_tls] = receivers.each_ref().map(|receiver| receiver.port);
    let tls = format!(", \"tls\": {{ \"ca_file\": {:?} }}", folder.join("authority.pem"));
    let over_http = format!("{HTTP}{tls}");
    for (endpoint, keys, hint) in [
        (format!("http://127.0.0.1:{http}"), "", "`protocol` = \"http/protobuf\""),
        (format!("http://127.0.0.1:{grpc}"), HTTP, "`protocol` = \"grpc\""),
        (format!("http://127.0.0.1:{grpc_tls}"), "", "https://"),
        (format!("http://127.0.0.1:{http_tls}"), HTTP, "https://"),
        (format!("https://localhost:{grpc}"), &tls, "http://"),
        (format!("https://localhost:{http}"), &over_http, "http://"),
    ] {
        let exporter = exporter(&endpoint, keys);
        exporter.submit(profile::batch(1).into());
        let said = || exporter.counters().last_error;
        eventually(&endpoint, || said().is_some());
        let error = said().unwrap();
        assert!(error.contains(hint), "{endpoint}{keys}: {error}");
        assert_eq!(exporter.shutdown(Instant::now()).delivered, 0);
    }
    collector::end(collector);
}
