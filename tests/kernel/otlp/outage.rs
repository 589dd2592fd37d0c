//! Collectors that are down, slow, strict or nowhere: what arrives, what is told, and that sampling loses nothing.

use super::{Agent, collector_tier, counter, eventually, sampled};
use stacksonde_tests::collector::{self, Receiver};
use stacksonde_tests::health::{dropped, get, metric};
use stacksonde_tests::target::Spinners;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};

#[test]
fn in_an_outage_nothing_is_lost_with_a_spool_and_without_one_what_the_bounds_say_and_that_is_told() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let receivers = [Receiver::new("spooled", "grpc"), Receiver::new("bounded", "http")];
    let collector = collector::start(folder, &receivers);
    let [silent, later] = [collector::free_port(), collector::free_port()];
    let _silent = collector::misbehaving(folder, "silent", "silent", silent);
    let _later = collector::misbehaving(folder, "later", "unavailable:2:2", later);
    let nobody = collector::free_port();
    let socket = folder.join("health");
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    // The kernel keeps a few datagrams for who does not read them.
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    let manager = std::thread::spawn({
        let (told, mut buffer) = (told.clone(), [0; 1024]);
        move || {
            while told.lock().unwrap().last().is_none_or(|last| last != "STOPPING=1") {
                let count = manager.recv(&mut buffer).unwrap();
                told.lock().unwrap().push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            }
        }
    });
    // Something to sample: on an idle machine batches are empty.
    let busy = Spinners::new();
    let _busy = busy.spin("busy", 0);

    let exporter = |name: &str, keys: &str, endpoint: &str, config: &str| {
        format!(
            "[exporters.{name}]\nplugin = \"otlp-export\"\n{keys}\n[exporters.{name}.config]\nendpoint = \"http://{endpoint}\"\n{config}\n"
        )
    };
    let at = |port: u16| format!("127.0.0.1:{port}");
    let spool = |place: &str| format!("spool_directory = {:?}", folder.join(place));
    let config = [
        format!("[health]\nlisten = \"unix:{}\"\n", socket.display()),
        exporter("spooled", &format!("required = true\n{}", spool("spool")), &at(receivers[0].port), ""),
        exporter("bounded", "queue_batches = 3", &at(receivers[1].port), "protocol = \"http/protobuf\""),
        exporter("silent", "queue_batches = 3", &at(silent), "timeout_ms = 700"),
        exporter("later", "", &at(later), ""),
        exporter("full", &format!("queue_batches = 3\n{}", spool("small")), &at(nobody), ""),
        exporter("nowhere", "queue_batches = 3", "no-such-host.invalid:4317", "timeout_ms = 2000"),
    ];
    // A disk of 32 KiB, which is gone with the agent.
    let small = folder.join("small");
    fs::create_dir(&small).unwrap();
    let mount = format!("mount -t tmpfs -o size=32k tmpfs {} && exec \"$@\"", small.display());
    let variables = [("NOTIFY_SOCKET", folder.join("notify")), ("WATCHDOG_USEC", "1000000".into())];
    let agent =
        Agent::start_by(folder, &config.concat(), &["unshare", "-m", "sh", "-c", &mount, "sh"], &variables);

    eventually("delivery", || metric(&socket, "batches_delivered_total", "spooled") >= Some(2));
    eventually("health", || get(&socket, "/healthz").starts_with("HTTP/1.1 200"));
    eventually("word of it", || get(&socket, "/healthz").contains("exporter `nowhere` fails: "));
    collector::end(collector);
    eventually("trouble", || {
        let health = get(&socket, "/healthz");
        health.starts_with("HTTP/1.1 503") && health.contains("exporter `spooled` fails: ")
    });
    // The Collector is away until everything has happened that happens then.
    let at_least = |count: u64, name: &str, exporter: &str| {
        let what = format!("{count} {name} of {exporter}");
        eventually(&what, || metric(&socket, name, exporter) >= Some(count));
    };
    at_least(10, "spool_batches", "spooled");
    for (exporter, reason) in [("bounded", "queue_full"), ("full", "spool_full")] {
        eventually(reason, || dropped(&socket, exporter, reason) >= Some(5));
    }
    for exporter in ["silent", "nowhere", "full"] {
        at_least(3, "retries_total", exporter);
    }
    at_least(2, "retries_total", "later");
    let petted = |lines: &[String]| lines.iter().filter(|line| *line == "WATCHDOG=1").count();
    eventually("the watchdog's word", || petted(&told.lock().unwrap()) >= 10);
    let collector = collector::start(folder, &receivers);
    eventually("what waited", || {
        metric(&socket, "spool_batches", "spooled").is_some_and(|waiting| waiting <= 1)
    });
    let before = metric(&socket, "batches_delivered_total", "bounded");
    eventually("what comes after", || {
        metric(&socket, "batches_delivered_total", "bounded") >= before.map(|it| it + 3)
    });
    eventually("health again", || get(&socket, "/healthz").starts_with("HTTP/1.1 200"));
    let said = agent.end(folder);
    let samples = sampled(&said);
    assert!(!socket.exists(), "the socket is gone");
    collector::end(collector);

    let spooled = collector::received(folder, "spooled");
    assert!(spooled.problems().is_empty(), "{:?}", spooled.problems());
    assert_eq!((spooled.samples(), spooled.stated("stacksonde.samples")), (samples, samples));
    assert_eq!(counter(&said, "spooled", "dropped_samples"), 0);

    let bounded = collector::received(folder, "bounded");
    assert!(bounded.problems().is_empty(), "{:?}", bounded.problems());
    let dropped = counter(&said, "bounded", "dropped_samples");
    assert!(dropped > 0 && counter(&said, "bounded", "queue_full") >= 5, "{said}");
    assert_eq!(bounded.samples() + dropped, samples);
    assert_eq!(bounded.stated("stacksonde.samples_lost_exporter_queue_full"), dropped, "it is told");

    let later = collector::received(folder, "later");
    assert_eq!((later.samples(), later.problems()), (samples, vec![]));
    let log = fs::read_to_string(folder.join("later.log")).unwrap();
    let calls: Vec<Vec<&str>> = log.lines().skip(1).map(|line| line.split(' ').collect()).collect();
    let kinds: Vec<&str> = calls.iter().take(3).map(|call| call[0]).collect();
    assert_eq!(kinds, ["refused", "refused", "took"]);
    // What a receiver asks for is kept: not before two seconds, twice.
    assert!(calls[2][1].parse::<u64>().unwrap() >= 4000, "{log}");

    for name in ["silent", "nowhere", "full"] {
        assert_eq!(counter(&said, name, "delivered"), 0, "{name}");
        assert!(counter(&said, name, "retries") >= 3, "{name}: {said}");
    }
    for name in ["silent", "nowhere"] {
        assert_eq!(counter(&said, name, "dropped_samples"), samples, "{name}");
    }
    assert!(counter(&said, "full", "spool_full") >= 5, "{said}");
    assert!(said.contains("no answer within 700 ms"), "{said}");

    manager.join().unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.first().map(String::as_str), Some("READY=1\nSTATUS=sampling"));
    assert!(told.iter().any(|line| line.starts_with("STATUS=exporter `spooled` fails")), "{told:?}");
}

#[test]
fn an_agent_that_is_killed_leaves_its_spool_to_the_next_one_and_what_is_damaged_there_costs_itself_alone() {
    collector_tier!();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let receiver = Receiver::new("otel", "grpc");
    let toml = format!(
        "[exporters.otel]\nplugin = \"otlp-export\"\nspool_directory = {:?}\nconfig.endpoint = \"http://127.0.0.1:{}\"\n",
        folder.join("spool"),
        receiver.port
    );
    let spool = folder.join("spool/otel");
    let files = || {
        let entries = fs::read_dir(&spool).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|it| it == "batch")).collect();
        files.sort();
        files
    };
    // Something to sample: on an idle machine batches are empty.
    let busy = Spinners::new();
    let _busy = busy.spin("busy", 0);
    let mut agent = Agent::start(folder, &toml);
    eventually("the spool", || files().len() >= 4);
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    let left = files();
    // As a crash of the machine may leave the last ones.
    let last = left.last().unwrap();
    let whole = fs::read(last).unwrap();
    fs::write(last, &whole[..whole.len() / 2]).unwrap();
    fs::write(spool.join("00000000000000009999.draft"), b"half").unwrap();

    let collector = collector::start(folder, std::slice::from_ref(&receiver));
    let agent = Agent::start(folder, &toml);
    eventually("what was left", || files().iter().all(|file| !left.contains(file)));
    let said = agent.end(folder);
    assert!(said.contains("an earlier run left batches in the spool"), "{said}");
    assert!(said.contains("a batch in the spool is lost: it was changed or cut"), "{said}");
    assert_eq!(counter(&said, "otel", "spool_damaged"), 1);
    assert!(!spool.join("00000000000000009999.draft").exists());

    collector::end(collector);
    let received = collector::received(folder, "otel");
    assert!(received.problems().is_empty(), "{:?}", received.problems());
    assert_eq!(received.samples(), received.stated("stacksonde.samples"), "each batch is whole");
    let batches =
        received.profiles().iter().filter(|it| it["attributes"]["stacksonde.samples"].is_u64()).count();
    let delivered = counter(&said, "otel", "delivered");
    assert_eq!(batches as u64, delivered, "{said}");
    let own = received.samples() - sampled(&said);
    assert!(
        own > 0 && delivered > left.len() as u64 - 1,
        "{} batches of the first run, {own} samples",
        left.len() - 1
    );
}
