//! A row's program, profiled for a stretch of its own CPU time.

use super::row::Row;
use stacksonde_tests::agent::Installed;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::target::Running;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Samples a second.
const HZ: u64 = 499;
/// CPU time of the program that is recorded, in its clock's ticks.
const RECORDED: u64 = 200;
/// Ticks a second of the clock in `/proc/PID/stat`: the same on every Linux.
const TICKS: u64 = 100;
/// For how long something is waited for that must happen; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// A recording.
#[derive(Debug)]
pub(super) struct Profiled {
    pub(super) stacks: Stacks,
    /// Samples that the program's CPU time makes.
    pub(super) due: u64,
    /// Samples of the whole machine that the agent counted as lost meanwhile.
    pub(super) lost: u64,
}

impl Profiled {
    /// Profiles the row's program. It stands still until the agent samples, and again before that ends, so that what it
    /// used in between is what can have been sampled, however long that takes.
    pub(super) fn of(row: &Row) -> Result<Self, String> {
        let mut command = row.running();
        let mut program = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let said = line_with("ready", program.0.stdout.take().unwrap());
        said.map_err(|said| format!("the program did not start: {said}"))?;
        let pid = program.0.id();
        stop(pid)?;
        let before = cpu_ticks(pid)?;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile.folded");
        let mut record = Installed::from_environment().unwrap().command("record");
        record.arg("-o").arg(&file).args(["-F", &HZ.to_string(), "-p", &pid.to_string()]);
        let mut agent = Running::start(record.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let errors = line_with("recording at", agent.0.stderr.take().unwrap());
        let mut errors = errors.map_err(|said| format!("the agent did not start: {said}"))?;
        signal(pid, libc::SIGCONT);
        wait_for("CPU time", || Ok(cpu_ticks(pid)? >= before + RECORDED))?;
        stop(pid)?;
        let used = cpu_ticks(pid)? - before;
        signal(agent.0.id(), libc::SIGINT);
        let said = rest(&mut agent.0)?;
        let mut warned = String::new();
        let _end = errors.read_to_string(&mut warned);
        let status = agent.0.wait().unwrap();
        if !status.success() {
            return Err(format!("the agent ended with {status}: {warned}"));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self { stacks: Stacks::parse(&text), due: used * HZ / TICKS, lost: lost(&said) })
    }
}

/// Reads until a line with a text; the error is what was said instead.
fn line_with<R: Read>(text: &str, from: R) -> Result<BufReader<R>, String> {
    let mut from = BufReader::new(from);
    let mut said = String::new();
    loop {
        let start = said.len();
        match from.read_line(&mut said) {
            Ok(1..) if said[start..].contains(text) => return Ok(from),
            Ok(1..) => {}
            _ => return Err(said),
        }
    }
}

fn rest(agent: &mut Child) -> Result<String, String> {
    let mut said = String::new();
    agent.stdout.take().unwrap().read_to_string(&mut said).map_err(|error| error.to_string())?;
    Ok(said)
}

/// Samples that were lost, by the agent's summary: `lost  3 samples`, or `nothing`.
fn lost(summary: &str) -> u64 {
    let line = summary.lines().find_map(|line| line.strip_prefix("lost "));
    let line = line.unwrap_or_else(|| panic!("no word of what was lost: {summary}"));
    line.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: a number and a signal, no memory; the process is a child that was not waited for.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Stops a process, and waits until all its threads stand still.
fn stop(pid: u32) -> Result<(), String> {
    signal(pid, libc::SIGSTOP);
    wait_for("a stop", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
        let files = threads.flatten().map(|thread| thread.path().join("stat"));
        // A thread that is gone runs no more.
        let mut states = files.filter_map(|file| Some(fields(&std::fs::read_to_string(file).ok()?)?.0));
        Ok(states.all(|state| matches!(state, 'T' | 'Z' | 'X')))
    })
}

/// CPU time of all threads of a process, also of those that ended.
fn cpu_ticks(pid: u32) -> Result<u64, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    match fields(&stat) {
        Some(('Z' | 'X', _)) | None => Err(format!("the program ended: {stat}")),
        Some((_, ticks)) => Ok(ticks),
    }
}

/// State and CPU time, from the text of `/proc/PID/stat` (proc(5)).
fn fields(stat: &str) -> Option<(char, u64)> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((fields.first()?.chars().next()?, ticks(11)? + ticks(12)?))
}

fn wait_for(what: &str, mut condition: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn state_and_time_are_found_behind_any_name() {
    let stat = "7 (a) R 1) T 1 7 7 0 -1 4194304 9 0 0 0 12 30 0 0 20 0 1 0 5";
    assert_eq!(fields(stat), Some(('T', 42)));
    assert_eq!(fields("7 (a"), None);
}

#[test]
fn losses_are_read_from_the_summary() {
    assert_eq!(lost("samples      9 of 2\nlost         3 samples\n             3 samples_lost_stolen\n"), 3);
    assert_eq!(lost("lost         nothing\n"), 0);
}
