//! Every tick that was due is told, whatever keeps the kernel from sampling: throttling, lists of CPUs that are not the
//! kernel's, a `/proc` without anything but processes.

use stacksonde_tests::agent::{FIXED, Installed};
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, Spinners, compile};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

const HZ: u64 = 999;
const SECONDS: u64 = 4;
const MAX_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

/// The accounts of a recording.
struct Told {
    /// Ticks of all CPUs by the agent's log: due, lost, throttled.
    due: u64,
    lost: u64,
    throttled: u64,
    /// CPUs in that log.
    cpus: usize,
    /// Samples, by the summary.
    samples: u64,
    /// Start and length of the profile, by the file.
    start: Duration,
    length: Duration,
    summary: String,
    log: String,
}

/// Records the machine in a mount namespace of its own, after `mounts` was run there by a shell. At a fixed period, so that
/// it is known how many ticks are due.
fn record(mounts: &str) -> Told {
    record_with(mounts, FIXED)
}

fn record_with(mounts: &str, flag: &str) -> Told {
    let installed = Installed::from_environment().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.pb.gz");
    let script = format!(
        "{mounts}\nexec {} record --config {} --log warn,stacksonde::bpf::accounting=debug -F {HZ} {flag} -d {SECONDS} -o {}",
        installed.agent.display(),
        installed.config.display(),
        file.display()
    );
    let output = in_own_mounts(&script).output().unwrap();
    told(&output, &file)
}

/// A command that runs `script` in a mount namespace of its own.
fn in_own_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script]).env_remove("LD_LIBRARY_PATH");
    command
}

fn told(output: &Output, file: &Path) -> Told {
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{summary}{log}");
    let accounts: Vec<&str> = log.lines().filter(|line| line.contains("CPU accounting cpu=")).collect();
    let sum = |name: &str| accounts.iter().map(|line| number_after::<u64>(line, name)).sum();
    let (start, length) = times_of(file);
    Told {
        due: sum(" due="),
        lost: sum(" lost="),
        throttled: sum(" throttled="),
        cpus: accounts.len(),
        samples: number_after(&summary, "samples "),
        start,
        length,
        summary,
        log,
    }
}

fn number_after<N: FromStr>(text: &str, name: &str) -> N {
    let word = text.split(name).nth(1).and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// `time_nanos` and `duration_nanos` of pprof's `message Profile`: the varints of its fields 9 and 10.
fn times_of(file: &Path) -> (Duration, Duration) {
    let unpacked = Command::new("zcat").arg(file).output().unwrap().stdout;
    let mut bytes = unpacked.iter().copied();
    let mut times = [0; 2];
    let varint = |first: Option<u8>, bytes: &mut dyn Iterator<Item = u8>| {
        let (mut value, mut shift, mut byte) = (0, 0, first.or_else(|| bytes.next()).unwrap());
        loop {
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
            byte = bytes.next().unwrap();
        }
    };
    while let Some(first) = bytes.next() {
        let key = varint(Some(first), &mut bytes);
        let value = varint(None, &mut bytes);
        match (key >> 3, key & 7) {
            (9, 0) => times[0] = value,
            (10, 0) => times[1] = value,
            (_, 2) => drop(bytes.by_ref().take(usize::try_from(value).unwrap()).count()),
            (_, 0) => {}
            other => panic!("{other:?}"),
        }
    }
    (Duration::from_nanos(times[0]), Duration::from_nanos(times[1]))
}

/// Keeps every CPU busy.
fn all_busy(spinners: &Spinners) -> Vec<Running> {
    stacksonde::bpf::online_cpus().into_iter().map(|cpu| spinners.spin("busy", cpu)).collect()
}

/// Checks that the ticks that were told are as many as the time has room for.
fn check_time(told: &Told) {
    let cpus = stacksonde::bpf::online_cpus().len();
    assert_eq!(told.cpus, cpus, "{}", told.log);
    let expected = HZ as f64 * cpus as f64 * told.length.as_secs_f64();
    let due = told.due as f64;
    assert!((due - expected).abs() <= 0.01 * expected, "{due} told, {expected} due: {}", told.log);
}

/// Sets the machine's limit for as long as this lives.
struct MaxRate(String);

impl MaxRate {
    fn set(rate: &str) -> Self {
        let before = std::fs::read_to_string(MAX_RATE).unwrap();
        std::fs::write(MAX_RATE, rate).unwrap();
        Self(before)
    }
}

impl Drop for MaxRate {
    fn drop(&mut self) {
        std::fs::write(MAX_RATE, self.0.trim()).unwrap();
    }
}

#[test]
fn throttled_ticks_are_told_as_lost_and_by_which_setting() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _busy = all_busy(&spinners);
    let limit = MaxRate::set("200");
    let told = record("");
    drop(limit);
    check_time(&told);
    assert!(told.throttled * 2 > told.due, "{}", told.log);
    let both = (told.samples + told.lost) as f64;
    assert!((both - told.due as f64).abs() <= 0.02 * told.due as f64, "{} {}", told.summary, told.log);
    let line = told.summary.lines().find(|line| line.contains("samples_lost_throttled"));
    assert!(line.is_some_and(|line| line.contains("kernel.perf_event_max_sample_rate")), "{}", told.summary);
    assert!(told.log.contains("kernel.perf_event_max_sample_rate is 200"), "{}", told.log);
}

#[test]
fn where_nothing_is_throttled_all_time_is_told_and_none_as_throttled() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _busy = all_busy(&spinners);
    let told = record("");
    check_time(&told);
    assert_eq!(told.throttled, 0, "{}", told.log);
    assert!(!told.summary.contains("throttled"), "{}", told.summary);
}

#[test]
fn at_random_times_the_books_hold_and_samples_stand_for_all_of_the_time() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _busy = all_busy(&spinners);
    for limit in [None, Some("200")] {
        let limit = limit.map(MaxRate::set);
        let told = record_with("", "--period-spread=50");
        let due = told.due as f64;
        assert!(
            ((told.samples + told.lost) as f64 - due).abs() <= 0.02 * due,
            "{} {}",
            told.summary,
            told.log
        );
        if limit.is_none() {
            let cpus = stacksonde::bpf::online_cpus().len() as f64;
            let (all, lost) = (cpus * told.length.as_secs_f64(), told.lost as f64 / HZ as f64);
            let seconds: f64 = number_after(&told.summary, "processes (");
            assert!((seconds + lost - all).abs() <= 0.02 * all, "{} {}", told.summary, told.log);
        }
    }
}

#[test]
fn lists_of_cpus_that_are_not_the_kernels_are_named_and_not_believed() {
    kernel_tier!();
    let system = "/sys/devices/system/cpu";
    for (mounts, named) in [
        (format!("echo 0 > list; mount --bind list {system}/online"), "cpu/online"),
        (format!("echo 0-9 > list; mount --bind list {system}/online"), "cpu/online"),
        (format!("echo 0 > list; mount --bind list {system}/possible"), "cpu/possible"),
        ("mount -t tmpfs none /sys".into(), "cpu/online"),
    ] {
        let told = record(&format!("mount -t tmpfs none /mnt; cd /mnt; {mounts}"));
        check_time(&told);
        let warnings: Vec<&str> = told.log.lines().filter(|line| line.contains(named)).collect();
        assert_eq!(warnings.len(), 1, "{mounts}: {}", told.log);
        let last = stacksonde::bpf::online_cpus().len() - 1;
        assert!(warnings[0].contains(&format!("CPUs 0-{last}")) || last == 0, "{}", warnings[0]);
    }
}

#[test]
fn where_proc_shows_nothing_but_processes_idle_time_and_kernel_names_are_read_elsewhere() {
    kernel_tier!();
    let told = record("mount -t proc -o subset=pid proc /proc; test ! -e /proc/stat");
    check_time(&told);
    assert!(told.lost * 20 <= told.due, "{}", told.log);
    assert!(!told.log.contains("kernel_names"), "{}", told.log);
}

#[test]
fn a_profile_begins_when_it_did_though_the_clock_is_set_meanwhile() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("clock_jump");
    compile("clock_jump.c", folder.path(), &["-shared", "-fPIC"]);
    let (jump, file) = (folder.path().join("jump"), folder.path().join("out.pb.gz"));
    let began = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let mut command = Installed::from_environment().unwrap().command("record");
    command.args(["-F", "99", "-o"]).arg(&file).env("LD_PRELOAD", &library).env("CLOCK_JUMP", &jump);
    // The command that is recorded sets the clock.
    let set = format!("sleep 1; touch {}; sleep 1", jump.display());
    let output = command.args(["--log", "warn,stacksonde::bpf::accounting=debug", "--", "sh", "-c", &set]);
    let told = told(&output.stdin(Stdio::null()).output().unwrap(), &file);
    let late = told.start.saturating_sub(began);
    assert!(late < Duration::from_secs(1800), "{late:?} late");
}
