//! What plugins cost: loading ten, and handing over a batch of 10,000 samples. Run by `cargo xtask bench plugins`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a benchmark may panic; its numbers are small"
)]

use stacksonde::plugins::{self, ExporterInstance, ExporterSettings, FileRules, Plugin};
use stacksonde_batch::tables::{
    Frame, Function, Line, Location, Mapping, Process, Sample, Stack, Thread, ValueType,
};
use stacksonde_batch::{Batch, Header, Writer};
use stacksonde_plugin::Offer;
use stacksonde_tests::plugin::{self, Stage};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PLUGINS: usize = 10;
const ROUNDS: usize = 9;
const SAMPLES: u32 = 10_000;
const STACKS: u32 = 8_000;
const DEPTH: u32 = 30;

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
    let batch: Arc<[u8]> = batch().into();
    println!(
        "a batch of {SAMPLES} samples over {STACKS} stacks of {DEPTH} frames, {} kB; {} rounds",
        batch.len() / 1000,
        ROUNDS * 10
    );
    let parse = (0..ROUNDS * 10).map(|_| {
        let start = Instant::now();
        assert_eq!(Batch::parse(&batch).unwrap().samples().len(), SAMPLES);
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

fn batch() -> Vec<u8> {
    let mut w = Writer::new(Header { end_ns: 10_000_000_000, ..Header::default() });
    let (kind, unit) = (w.string("samples"), w.string("count"));
    w.value_type(ValueType { kind, unit, per_sample: 1 });
    let (comm, path) = (w.string("program"), w.string("/usr/bin/program"));
    let process = w.process(Process { pid: 100, comm, executable: path, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 100, comm });
    let mapping = w.mapping(Mapping { path, limit: 1 << 30, ..Mapping::default() });
    let locations: Vec<u32> = (0..20_000)
        .map(|number: u32| {
            let name = w.string(&format!("program::module_{}::function_{number}", number % 100));
            let function = w.function(Function { name, ..Function::default() });
            let lines_start = w.line(Line { function, line: number, column: 0 });
            let address = u64::from(number) * 16;
            w.location(Location { kind: 0, mapping, address, lines_start, lines_count: 1 })
        })
        .collect();
    let outcome = w.string("complete");
    for stack in 0..STACKS {
        let mut frames_start = 0;
        for depth in 0..DEPTH {
            let location = locations[((stack * 31 + depth * 977) % 20_000) as usize];
            let frame = w.frame(Frame { location });
            if depth == 0 {
                frames_start = frame;
            }
        }
        w.stack(Stack { frames_start, frames_count: DEPTH, kernel_frames: 0, outcome, complete: 1 });
    }
    for sample in 0..SAMPLES {
        w.sample(Sample { thread, stack: sample % STACKS, count: 1, ..Sample::default() });
    }
    w.finish().unwrap()
}
