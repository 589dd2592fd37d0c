//! No program hides between the samples: what works in step with a clock is seen for as much as it works.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Periods and the work in each, in microseconds: from once a second to a hundred times.
const PROGRAMS: [(u32, u32); 8] = [
    (1_000_000, 20_000),
    (500_000, 10_000),
    (250_000, 5_000),
    (100_000, 2_000),
    (50_000, 1_000),
    (20_000, 800),
    (16_667, 800),
    (10_000, 400),
];

/// Rates, of which whole numbers repeat each second and 100 is in step with most.
const RATES: [u32; 5] = [19, 97, 99, 100, 199];

/// The time of sampling.
const SAMPLED: Duration = Duration::from_secs(45);

/// Standard deviations by which an estimate may be off.
const SIGMAS: f64 = 4.0;
/// The variance of estimates in units of that of samples at random, by the model of `host/src/bpf/period.rs`.
const VARIANCE: f64 = 1.2;

/// A recording under way.
struct Recording {
    hz: u32,
    spread: u32,
    /// The file for speedscope, and the page.
    files: [PathBuf; 2],
    agent: Running,
}

impl Recording {
    fn start(installed: &Installed, folder: &Path, hz: u32, spread: u32) -> Self {
        let files = ["speedscope.json", "html"].map(|format| folder.join(format!("{hz}-{spread}.{format}")));
        let mut command = installed.command("record");
        command.args(["-q", "--comm", "every-*", "-F", &hz.to_string()]);
        command.args(["--period-spread", &spread.to_string(), "-o"]).args(&files);
        Self { hz, spread, files, agent: Running::start(&mut command) }
    }

    /// Ends it; returns its length and the CPU time of each program by its samples, in seconds.
    fn end(&mut self) -> (f64, Vec<f64>) {
        // SAFETY: a plain system call; the process is our child and not waited for.
        unsafe { libc::kill(self.agent.0.id().cast_signed(), libc::SIGINT) };
        assert!(self.agent.0.wait().unwrap().success());
        let [profile, page] = self.files.each_ref().map(|file| std::fs::read_to_string(file).unwrap());
        let length = page.split_once("\"duration_ns\":").unwrap().1.split_once(',').unwrap().0;
        let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
        let cpu_time = |name: String| {
            let of_all = profile["profiles"].as_array().unwrap().iter();
            let of_one = of_all.filter(|profile| profile["name"].as_str().unwrap().starts_with(&name));
            of_one.map(|profile| profile["endValue"].as_f64().unwrap()).sum::<f64>() / 1e9
        };
        let cpu_times = PROGRAMS.iter().map(|(period, _)| cpu_time(format!("every-{period} ")));
        (length.parse::<f64>().unwrap() / 1e9, cpu_times.collect())
    }

    /// Ends it, and finds the programs whose CPU time is not their share of a CPU; each is a sentence.
    fn wrong(mut self, shares: &[f64]) -> Vec<String> {
        let (length, estimates) = self.end();
        let mut wrong = Vec::new();
        for ((estimate, share), (period, _)) in estimates.into_iter().zip(shares).zip(PROGRAMS) {
            let truth = share * length;
            let off = (estimate - truth) / (VARIANCE * truth / f64::from(self.hz)).sqrt();
            let said = format!(
                "{} Hz, spread {}: every {period} us {estimate:.3} s of {truth:.3}, {off:+.1} sigma",
                self.hz, self.spread
            );
            println!("{said}");
            wrong.extend((off.abs() > SIGMAS).then_some(said));
        }
        wrong
    }
}

/// CPU time of a process in seconds, to the nanosecond (Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`).
fn cpu_seconds(program: &Running) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", program.0.id())).unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Samples the programs at every rate at once, and at 100 Hz with a fixed period, too. Returns what is wrong with periods
/// at random, and at a fixed one.
fn sample(installed: &Installed, programs: &[Running], folder: &Path) -> [Vec<String>; 2] {
    let start = |hz: u32, spread| Recording::start(installed, folder, hz, spread);
    let random: Vec<Recording> = RATES.map(|hz| start(hz, 50)).into();
    let fixed = start(100, 0);
    // A recording begins and ends when it is ready to; meanwhile the programs' shares are the same.
    let (began, before) = (Instant::now(), programs.iter().map(cpu_seconds).collect::<Vec<_>>());
    std::thread::sleep(SAMPLED);
    let seconds = began.elapsed().as_secs_f64();
    let shares: Vec<f64> = programs
        .iter()
        .zip(before)
        .map(|(program, before)| (cpu_seconds(program) - before) / seconds)
        .collect();
    [random.into_iter().flat_map(|recording| recording.wrong(&shares)).collect(), fixed.wrong(&shares)]
}

#[test]
fn programs_in_step_with_a_clock_are_seen_for_as_much_as_they_work() {
    kernel_tier!();
    let (folder, installed) = (tempfile::tempdir().unwrap(), Installed::from_environment().unwrap());
    let program = compile("periodic.c", folder.path(), &[]);
    let start = |(period, busy): (u32, u32)| {
        let name = folder.path().join(format!("every-{period}"));
        std::fs::copy(&program, &name).unwrap();
        Running::start(Command::new(name).args([period, busy].map(|number| number.to_string())))
    };
    let programs = PROGRAMS.map(start);
    // They begin at the next whole second.
    std::thread::sleep(Duration::from_secs(1));
    let [random, fixed] = sample(&installed, &programs, folder.path());
    assert!(!fixed.is_empty(), "at a fixed period nothing is wrong: what does this test show?");
    if !random.is_empty() {
        // Once in some hundred times that is chance. Twice in a row it is not.
        let [again, _] = sample(&installed, &programs, folder.path());
        assert!(again.is_empty(), "{random:#?}\n{again:#?}");
    }
}
