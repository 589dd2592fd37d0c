//! The cost of otlp-export: bytes on the wire for a sample, CPU time for a thousand. Run by `cargo xtask bench export`.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use flate2::{Compression, write::GzEncoder};
use stacksonde::config;
use stacksonde::plugins::{self, ExporterInstance, ExporterSettings, FileRules, Plugin};
use stacksonde_batch::Batch;
use stacksonde_otlp_export::Messages;
use stacksonde_plugin::Offer;
use stacksonde_tests::agent::Installed;
use stacksonde_tests::{collector, profile};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 30;

fn main() {
    let plugin = plugin();
    for (samples, stacks, functions) in [(380, 150, 1_500), (10_000, 8_000, 20_000)] {
        let batch = profile::batch_of(samples, stacks, functions);
        // Each with a number of its own: of one that was taken the plugin sends nothing again.
        let batches: Vec<Arc<[u8]>> = (0..=u64::from(ROUNDS))
            .map(|number| profile::batch_numbered(number, samples, stacks, functions).into())
            .collect();
        println!(
            "{samples} samples over {stacks} stacks of 30 frames in {functions} functions, with names and times; {ROUNDS} rounds"
        );
        sizes(&batch, samples);
        let made = cpu(|| {
            for _ in 0..ROUNDS {
                make(&batch);
            }
        });
        row("CPU, made into messages", &per_thousand(made, samples));
        for (protocol, compression) in
            [("grpc", "none"), ("grpc", "gzip"), ("grpc", "zstd"), ("http/protobuf", "gzip")]
        {
            let spent = send(&plugin, &batches, protocol, compression);
            row(&format!("CPU, made and sent, {protocol}, {compression}"), &per_thousand(spent, samples));
        }
    }
}

fn row(what: &str, value: &str) {
    println!("  {what:<44} {value}");
}

fn make(batch: &[u8]) -> Vec<Vec<u8>> {
    let batch = Batch::parse(batch).unwrap();
    let messages = Messages::new(&batch, true);
    let (mut item, mut all) = (0, Vec::new());
    while let Some(message) = messages.next(item, 4 << 20) {
        item = message.end;
        all.push(message.bytes);
    }
    all
}

fn sizes(batch: &[u8], samples: u32) {
    let messages = make(batch);
    let gzip = |message: &Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap().len()
    };
    let zstd = |message: &Vec<u8>| zstd::encode_all(message.as_slice(), 0).unwrap().len();
    let per_sample = |bytes: usize| format!("{:.1} bytes a sample", bytes as f64 / f64::from(samples));
    row("on the wire, as it is", &per_sample(messages.iter().map(Vec::len).sum()));
    row("on the wire, gzip", &per_sample(messages.iter().map(gzip).sum()));
    row("on the wire, zstd", &per_sample(messages.iter().map(zstd).sum()));
}

/// CPU time of this process, user and system, of all its threads.
fn cpu(body: impl FnOnce()) -> Duration {
    let used = || {
        // SAFETY: plain numbers, for which zeros are valid; it outlives the call.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
        let time = |it: libc::timeval| {
            Duration::from_secs(it.tv_sec.unsigned_abs()) + Duration::from_micros(it.tv_usec.unsigned_abs())
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    let before = used();
    body();
    used() - before
}

fn per_thousand(spent: Duration, samples: u32) -> String {
    format!("{:.3} ms for 1,000 samples", spent.as_secs_f64() * 1e6 / f64::from(samples) / f64::from(ROUNDS))
}

fn plugin() -> Plugin {
    let installed = Installed::from_environment().unwrap();
    let sources = config::Sources { files: vec![installed.config], ..config::Sources::default() };
    let plugins = config::load(&sources).unwrap().plugins;
    plugins::load(plugins::find("otlp-export", &plugins, &FileRules::new(&plugins, false)).unwrap()).unwrap()
}

/// To a real Collector, in another process.
fn send(plugin: &Plugin, batches: &[Arc<[u8]>], protocol: &str, compression: &str) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let listens = if protocol == "grpc" { "grpc" } else { "http" };
    let receiver = collector::Receiver::new("bench", listens);
    let _collector = collector::start(folder.path(), std::slice::from_ref(&receiver));
    let mut section = config::Exporter::of("otlp-export");
    let keys = serde_json::json!({
        "endpoint": format!("http://127.0.0.1:{}", receiver.port), "protocol": protocol, "compression": compression
    });
    section.config = keys.as_object().unwrap().clone();
    let offer = Offer {
        formats: vec!["1".into()],
        max_bytes: u64::from(u32::MAX),
        value_types: vec!["samples".into()],
        names_available: true,
        interval_ms: 1000,
    };
    let exporter = ExporterInstance::start(plugin, ExporterSettings::new("bench", &section), &offer).unwrap();
    let deliver = |batch: &Arc<[u8]>| {
        let delivered = exporter.counters().delivered;
        exporter.submit(Arc::clone(batch));
        while exporter.counters().delivered == delivered {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // The first one connects.
    deliver(&batches[0]);
    let spent = cpu(|| batches[1..].iter().for_each(deliver));
    exporter.shutdown(Instant::now() + Duration::from_secs(60));
    spent
}
