//! The backlog of an exporter that is replaced is not lost: in memory, on disk, elsewhere on disk, or in a call.

use super::{Daemon, counter, misbehaving, sampled};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::{kernel_tier, skip};
use std::fs;

#[test]
fn what_waits_for_an_exporter_goes_to_the_one_that_comes_after_it() {
    kernel_tier!();
    if let Err(why) = collector::program() {
        return skip::skip("reload::handover", &why);
    }
    let names = ["memory", "same-spool", "other-spool", "to-memory", "to-disk"];
    let receivers = names.map(|name| Receiver::new(name, "grpc"));
    // Where the batches wait before and after.
    let spools = [["", ""], ["one", "one"], ["one", "two"], ["one", ""], ["", "two"]];
    let nobody = collector::free_port();
    let config = |after: bool| {
        let otel = |(receiver, spool): (&Receiver, &[&str; 2])| {
            let directory = match spool[usize::from(after)] {
                "" => String::new(),
                name => format!("STAGE/{name}"),
            };
            let port = if after { receiver.port } else { nobody };
            format!(
                "[exporters.{}]\nplugin = \"otlp-export\"\nspool_directory = \"{directory}\"\n\
                 config = {{ endpoint = \"http://127.0.0.1:{port}\", timeout_ms = 5000 }}\n",
                receiver.name
            )
        };
        let stuck = if after { "" } else { "hang = \"export\", " };
        let all: String = receivers.iter().zip(&spools).map(otel).collect();
        // Time to deliver what is left, on any machine.
        "[shutdown]\nbudget_ms = 10000\n".to_owned()
            + &all
            + &misbehaving(
                "stuck",
                &format!("{stuck}sequence = \"STAGE/stuck.seq\", file = \"STAGE/stuck.log\""),
            )
    };
    let daemon = Daemon::start(&["misbehaves"], &config(false), &[]);
    let waiting = |daemon: &Daemon, folder: &str| {
        let files = fs::read_dir(daemon.path(folder)).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|it| it == "batch")).count()
    };
    daemon.eventually("a spool", |daemon| waiting(daemon, "one/to-memory") >= 4);
    let collected = tempfile::tempdir().unwrap();
    let running = collector::start(collected.path(), &receivers);
    let said = daemon.renew(&config(true));
    assert!(
        said.contains("memory replaced, other-spool replaced, same-spool replaced, stuck replaced"),
        "{said}"
    );
    for folder in ["one/same-spool", "one/other-spool", "one/to-memory", "two/other-spool"] {
        daemon.eventually(folder, |daemon| waiting(daemon, folder) <= 1);
    }
    assert_eq!(waiting(&daemon, "one/other-spool"), 0, "they moved");
    let profiles = daemon.lines("stuck.seq").len();
    daemon.eventually("what comes after", |daemon| daemon.lines("stuck.seq").len() > profiles + 1);
    let (stage, said) = daemon.end();
    collector::end(running);
    let (samples, _) = sampled(&said);
    for name in names {
        let received = collector::received(collected.path(), name);
        assert!(received.problems().is_empty(), "{name}: {:?}", received.problems());
        assert_eq!(received.samples(), samples, "{name}: {said}");
        assert_eq!(counter(&said, name, "dropped_samples"), 0, "{name}");
    }
    // The batch of the call that never returned came again, to an instance that gives it back: `hang` is in its
    // config no more, the number of the batch is written twice.
    let text = fs::read_to_string(stage.path().join("stuck.seq")).unwrap();
    let sequence: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    let expected: Vec<usize> = std::iter::once(0).chain(0..sequence.len() - 1).collect();
    assert_eq!(sequence, expected, "{said}");
    assert!(said.contains("stopped waiting for export of the instance before"), "{said}");
}
