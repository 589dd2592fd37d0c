//! Resources that a process and its descendants use.

use anyhow::{Context, bail};
use std::process::Child;
use std::time::{Duration, Instant};

/// A process that was started, and what it and its descendants used.
#[derive(Debug)]
pub(super) struct Tree {
    child: Child,
    /// The largest sum seen of the processes' own peaks, in bytes.
    peak_rss: u64,
}

/// The resources that a process tree used from its start to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Peak of resident memory, in bytes.
    pub(super) peak_rss: u64,
}

impl Tree {
    /// Takes over a child that leads a process group of its own.
    pub(super) fn new(child: Child) -> Self {
        Self { child, peak_rss: 0 }
    }

    /// The processes: the child and its descendants.
    pub(super) fn pids(&self) -> Vec<u32> {
        let (mut todo, mut all) = (vec![self.child.id()], Vec::new());
        while let Some(pid) = todo.pop() {
            all.push(pid);
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                todo.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        all
    }

    /// User and system time so far of the processes that live.
    pub(super) fn cpu(&self) -> Duration {
        self.pids().into_iter().filter_map(cpu_of).sum()
    }

    /// Returns the part of the resident memory that is pages of BPF maps which the processes have mapped, in bytes.
    pub(super) fn mapped_map_bytes(&self) -> u64 {
        self.pids().into_iter().map(mapped_map_bytes_of).sum()
    }

    /// Takes a look at the processes' memory. Each keeps its own peak, so looks may be rare.
    pub(super) fn look(&mut self) {
        let sum = self.pids().into_iter().filter_map(peak_rss_of).sum();
        self.peak_rss = self.peak_rss.max(sum);
    }

    /// Tells whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the whole group to end, as Ctrl-C does, and waits; what it used in all.
    pub(super) fn end(mut self, patience: Duration) -> anyhow::Result<Whole> {
        let pid = self.child.id().cast_signed();
        // SAFETY: plain numbers; the child was not waited for, so the group is its.
        unsafe { libc::kill(-pid, libc::SIGINT) };
        let asked = Instant::now();
        let mut killed = false;
        loop {
            self.look();
            let (mut status, mut usage) = (0, empty_usage());
            // SAFETY: the places for status and usage outlive the call.
            let ended = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
            if ended == pid {
                let maximum = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
                let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
                return Ok(Whole { cpu, peak_rss: self.peak_rss.max(maximum) });
            }
            if ended < 0 {
                bail!("waiting for the profiler failed: {}", std::io::Error::last_os_error());
            }
            if asked.elapsed() > patience && !killed {
                // SAFETY: as above.
                unsafe { libc::kill(-pid, libc::SIGKILL) };
                killed = true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Ends a child and its process group at once.
pub(super) fn kill_group(child: &Child) {
    // SAFETY: plain numbers; the child was not waited for, so the group is its.
    unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
}

fn empty_usage() -> libc::rusage {
    // SAFETY: a structure of numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
}

/// The clock of a process's CPU time: of all its threads, those that ended too, to the nanosecond.
fn cpu_of(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both places outlive the calls.
    let read = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    let nanoseconds = Duration::from_nanos(time.tv_nsec.cast_unsigned());
    read.then_some(Duration::from_secs(time.tv_sec.cast_unsigned()) + nanoseconds)
}

/// The most that was ever resident of a process, in bytes.
pub(super) fn peak_rss_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Sum of `Rss` of the mappings that proc_pid_smaps(5) calls after BPF maps.
fn mapped_map_bytes_of(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut is_map, mut kib) = (false, 0);
    for line in smaps.lines() {
        match line.strip_prefix("Rss:") {
            Some(rest) if is_map => {
                kib += rest.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            }
            Some(_) => {}
            // The line that begins a mapping begins with its addresses.
            None if line.starts_with(|first: char| first.is_ascii_digit() || first.is_ascii_lowercase()) => {
                is_map = line.ends_with("anon_inode:bpf-map");
            }
            None => {}
        }
    }
    kib * 1024
}

/// Waits, looking at the memory now and then; an error if the process ended meanwhile.
pub(super) fn watch(tree: &mut Tree, time: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        std::thread::sleep(left.min(Duration::from_secs(1)));
        tree.look();
        if tree.has_ended() {
            return Err(anyhow::anyhow!("it ended by itself")).context("while it was measured");
        }
    }
    Ok(())
}

/// CPU time of all children that were waited for.
pub(super) fn of_children() -> Duration {
    let mut usage = empty_usage();
    // SAFETY: the place outlives the call.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// CLOCK_MONOTONIC.
pub(super) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
