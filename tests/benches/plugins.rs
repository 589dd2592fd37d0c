//! The cost of plugins: loading ten, and handing over a batch of 10,000 samples. Run by `cargo xtask bench plugins`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a benchmark may panic; its numbers are small"
)]

use stacksonde::plugins::{self, ExporterInstance, ExporterSettings, FileRules, Plugin};
use stacksonde_batch::Batch;
use stacksonde_plugin::Offer;
use stacksonde_tests::plugin::{self, Stage};
use stacksonde_tests::profile;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PLUGINS: usize = 10;
const ROUNDS: usize = 9;

fn main() {
    let stage = Stage::new();
    let library = std::fs::read(built()).unwrap();
    println!(
        "ten plugins of {} kB, each a file of its own; {ROUNDS} rounds, least and middle",
        library.len() / 1000
    );
    let sum = sha256(&stage.write("sum", &library));
    let mut last = None;
    for (name, is_pinned) in [("load ten", false), ("load ten, pinned", true)] {
        let mut rounds: [Vec<Duration>; 2] = Default::default();
        for round in 0..ROUNDS {
            let paths: Vec<_> = (0..PLUGINS)
                .map(|number| stage.write(&format!("p-{is_pinned}-{round}-{number}"), &library))
                .collect();
            let pins = |path: &PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), sum.clone());
            let pins = if is_pinned { paths.iter().map(pins).collect() } else { Default::default() };
            let rules = FileRules { trust_any_owner: true, pins, ..FileRules::default() };
            let start = Instant::now();
            let inspected: Vec<_> =
                paths.iter().map(|path| plugins::inspect(path, &rules).unwrap()).collect();
            let judged = start.elapsed();
            let loaded: Vec<Plugin> = inspected.into_iter().map(|it| plugins::load(it).unwrap()).collect();
            rounds[0].push(judged);
            rounds[1].push(start.elapsed());
            last = loaded.into_iter().last();
        }
        let [judged, all] = rounds;
        println!("  {name:<32} {}", shown(all));
        println!("  {:<32} {}", "  of that before dlopen", shown(judged));
    }
    hand_over(&last.unwrap(), &stage);
}

fn hand_over(plugin: &Plugin, stage: &Stage) {
    let batch: Arc<[u8]> = profile::large_batch().into();
    println!(
        "a batch of {} samples over 8000 stacks of 30 frames, {} kB; {} rounds",
        profile::LARGE_SAMPLES,
        batch.len() / 1000,
        ROUNDS * 10
    );
    let parse = (0..ROUNDS * 10).map(|_| {
        let start = Instant::now();
        assert_eq!(Batch::parse(&batch).unwrap().samples().len(), 10_000);
        start.elapsed()
    });
    println!("  {:<32} {}", "check and read it", shown(parse.collect()));
    let settings = ExporterSettings {
        name: "bench".into(),
        required: true,
        queue_batches: 16,
        queue_bytes: 1 << 30,
        spool: None,
        deadline: Duration::from_secs(60),
        keep_capabilities: true,
        config: serde_json::json!({ "path": stage.path().join("lines") }).as_object().unwrap().clone(),
    };
    let offer = Offer {
        formats: vec!["1".into()],
        max_bytes: 1 << 32,
        value_types: vec!["samples".into()],
        names_available: true,
        interval_ms: 1000,
    };
    let exporter = ExporterInstance::start(plugin, settings, &offer).unwrap();
    let (mut submit, mut whole) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS as u64 * 10 {
        let start = Instant::now();
        exporter.submit(Arc::clone(&batch));
        submit.push(start.elapsed());
        while exporter.counters().delivered < round {
            std::thread::yield_now();
        }
        whole.push(start.elapsed());
    }
    println!("  {:<32} {}", "hand over, for the agent", shown(submit));
    println!("  {:<32} {}", "until the exporter has taken it", shown(whole));
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
    format!("{:>12} {:>12}", ms(times[0]), ms(times[times.len() / 2]))
}

/// The fixture of the guide, as its author would release it.
fn built() -> PathBuf {
    let output = plugin::cargo(&plugin::fixture("line-count"), &["build", "--release"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    plugin::target().join("fixtures/release/libline_count.so")
}

fn sha256(path: &PathBuf) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
