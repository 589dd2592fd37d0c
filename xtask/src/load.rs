//! Something to see on an idle machine: a small mixed load of what every Debian has.

use anyhow::Context;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Computing, system calls, short-lived processes, files.
const PROGRAMS: [&str; 3] = [
    "while :; do head -c 20000000 /dev/urandom | gzip -6 > /dev/null; done",
    "while :; do find /usr/share /usr/lib -type f -name '*a*' > /dev/null 2>&1; done",
    "while :; do for i in 1 2 3 4 5 6 7 8 9; do echo $i | sha256sum; done > /dev/null; sort -R /etc/services > /dev/null; done",
];

/// Share of CPU time under which a machine counts as idle.
const IDLE_BELOW: f64 = 0.10;

/// The programs while they run. They end with this value.
pub(crate) struct Load(Vec<Child>);

impl Load {
    pub(crate) fn start() -> anyhow::Result<Self> {
        println!(
            "the machine is idle: starting gzip, find, sha256sum and sort in the background for something to see"
        );
        Self::of(&PROGRAMS)
    }

    /// These lines of shell, each for itself.
    pub(crate) fn of(programs: &[&str]) -> anyhow::Result<Self> {
        let mut load = Self(Vec::new());
        for program in programs {
            let mut shell = Command::new("sh");
            shell.args(["-c", program]).stdin(Stdio::null()).process_group(0);
            load.0.push(shell.spawn().context("cannot run sh")?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The shell and what it started are one process group.
            let group = format!("-{}", child.id());
            let _killed = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _status = child.wait();
        }
    }
}

/// Tells whether hardly any CPU time was used in half a second.
pub(crate) fn is_idle() -> anyhow::Result<bool> {
    let (busy_before, all_before) = cpu_times()?;
    std::thread::sleep(Duration::from_millis(500));
    let (busy, all) = cpu_times()?;
    let share = (busy - busy_before) / (all - all_before).max(1.0);
    Ok(share < IDLE_BELOW)
}

/// Busy and all ticks since boot, of all CPUs: the first line of `/proc/stat`.
fn cpu_times() -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_whitespace().skip(1).filter_map(|time| time.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are within user.
    let all: f64 = times.iter().take(8).sum();
    let idle: f64 = times.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}
