//! Excluded processes cause no samples, no rows and no reading of their mappings; they are counted, and the accounting
//! adds up.

use stacksonde::bpf::online_cpus;
use stacksonde::filter::parse_mounts;
use stacksonde_tests::agent::{Installed, config_in, record_until};
use stacksonde_tests::cpu_time::used;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::{Running, Spinners, compile, descendant};
use stacksonde_tests::wait::eventually;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A recording, and what the agent counted.
struct Recording {
    output: Output,
    stacks: Stacks,
}

impl Recording {
    /// Until each of these programs has used a second of CPU time.
    fn new(toml: &str, arguments: &[&str], programs: &[&Running]) -> Self {
        let pids: Vec<_> = programs.iter().map(|program| program.0.id()).collect();
        Self::until(toml, arguments, used(&pids, Duration::from_secs(1)))
    }

    fn until(toml: &str, arguments: &[&str], until: impl FnMut(u32) -> bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config_in(folder.path(), toml);
        let log =
            ["--log", "warn,stacksonde::agent=debug", "-F", "199", "--config", config.to_str().unwrap()];
        let arguments = [&log, arguments].concat();
        let installed = Installed::from_environment().unwrap();
        let (output, stacks) = installed.record_until(folder.path(), &arguments, until);
        let recording = Self { output, stacks };
        recording.check_books();
        recording
    }

    /// A counter of the one interval, as the log has it.
    fn counter(&self, name: &str) -> u64 {
        let log = String::from_utf8_lossy(&self.output.stderr);
        let line = log.lines().find(|line| line.contains("interval is over"));
        let key = format!("{name}: ");
        let value =
            line.and_then(|line| line.split_once(&key)).unwrap_or_else(|| panic!("{name} in {log}")).1;
        value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    /// Returns the number of excluded samples by the summary.
    fn excluded(&self) -> u64 {
        let said = String::from_utf8_lossy(&self.output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("excluded"));
        line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Every tick that was due is in the profile, idle, excluded, or lost.
    fn check_books(&self) {
        let sum = |names: &[&str]| names.iter().map(|name| self.counter(name)).sum::<u64>();
        let under_way = online_cpus().len() as u64;
        let ran = sum(&["idle", "excluded", "sent", "ring_full", "no_ring", "no_scratch"]);
        assert!(self.counter("ran").abs_diff(ran) <= under_way, "{}", self.text());
        assert_eq!(
            self.counter("sent"),
            self.stacks.samples() + sum(&["excluded_in_user_space", "malformed"]),
            "{}",
            self.text()
        );
        assert_eq!(self.excluded(), sum(&["excluded", "excluded_in_user_space"]), "{}", self.text());
    }

    fn text(&self) -> String {
        let [said, log] =
            [&self.output.stdout, &self.output.stderr].map(|text| String::from_utf8_lossy(text));
        format!("{said}{log}{:?}", self.stacks)
    }
}

#[test]
fn a_denied_name_is_left_out_and_all_else_is_there() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (decoy, busy) = (spinners.spin("decoy-1", 1), spinners.spin("busy", 0));
    let recording = Recording::new("", &["--deny-comm", "decoy-?"], &[&decoy, &busy]);
    assert_eq!(recording.stacks.of("decoy-1").samples(), 0, "{}", recording.text());
    assert!(recording.stacks.of("busy").with_chain(&["main"]).samples() > 20, "{}", recording.text());
    assert!(recording.excluded() > 100, "{}", recording.text());
}

/// A process is judged by what was sent of it until the verdict was there; how much that is depends on the machine.
#[test]
fn of_what_is_excluded_nothing_is_sent_once_the_verdict_is_there() {
    kernel_tier!();
    let spinners = Spinners::new();
    let decoy = spinners.spin("decoy", 1);
    for rule in ["deny_comm = [\"decoy\"]".to_owned(), format!("deny_pid = [{}]", decoy.pid())] {
        let log = "[log]\nfilter = \"warn,stacksonde::agent=debug\"\n";
        let daemon = Daemon::start(1, &format!("{log}[filter]\n{rule}\n"));
        let number = |line: &str, name: &str| -> u64 {
            let value = line.split_once(&format!("{name}: ")).unwrap_or_else(|| panic!("{name} in {line}")).1;
            value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
        };
        eventually("an interval in which all is excluded in the kernel", || {
            let said = daemon.said();
            let intervals: Vec<_> = said.lines().filter(|line| line.contains("interval is over")).collect();
            let sent: Vec<_> = intervals.iter().map(|line| number(line, "excluded_in_user_space")).collect();
            // What was sent is counted from the start on, what was kept back in each interval.
            (1..sent.len()).any(|at| sent[at] == sent[at - 1] && number(intervals[at], " excluded") > 5)
        });
    }
}

#[test]
fn only_allowed_names_cause_any_work() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (decoy, busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    let recording = Recording::new("[filter]\ncomm = [\"busy\"]\n", &[], &[&decoy, &busy]);
    assert_eq!(recording.stacks.processes(), ["busy"].into(), "{}", recording.text());
    assert!(recording.stacks.with_chain(&["main"]).samples() > 20, "{}", recording.text());
    // Of one process.
    assert!((1..=4).contains(&recording.counter("maps_read")), "{}", recording.text());
    let arguments = ["--comm", "nobody is called so"];
    let nobody = Recording::new("[filter]\ncomm = [\"busy\"]\n", &arguments, &[&decoy, &busy]);
    assert_eq!(nobody.stacks.samples(), 0, "{}", nobody.text());
    for counter in ["maps_read", "finished_in_user_space", "pages_read", "pages_added"] {
        assert_eq!(nobody.counter(counter), 0, "{counter}: {}", nobody.text());
    }
    assert!(nobody.excluded() > 200, "{}", nobody.text());
}

#[test]
fn a_tree_is_followed_into_children_that_are_forked_later() {
    kernel_tier!();
    let spinners = Spinners::new();
    let decoy = spinners.spin("decoy", 1);
    let (early, late) = (spinners.called("early"), spinners.called("late"));
    let (early, late) = (early.display(), late.display());
    // The second child is started when a line comes.
    let script = format!("{early} 0 600 & read -r line; (bash -c '{late} 0 600; true'); true");
    let mut shell = Command::new("setsid");
    let shell = shell.args(["bash", "-c", &script]).stdout(Stdio::null()).stdin(Stdio::piped());
    let mut shell = Running::start(shell);
    let pid = shell.0.id();
    let child = |name: &str| {
        let mut found = None;
        eventually(name, || {
            found = descendant(pid, name);
            found.is_some()
        });
        used(&[found.unwrap()], Duration::from_secs(1))
    };
    let mut of_early = child("early");
    let mut of_late = None;
    let recording = Recording::until("", &["-p", &shell.pid()], |agent| {
        if of_late.is_none() && of_early(agent) {
            shell.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            of_late = Some(child("late"));
        }
        of_late.as_mut().is_some_and(|used| used(agent))
    });
    let stacks = &recording.stacks;
    assert!(stacks.of("early").samples() > 20 && stacks.of("late").samples() > 20, "{}", recording.text());
    let family = ["bash", "early", "late"];
    assert!(stacks.processes().iter().all(|name| family.contains(name)), "{}", recording.text());
    // The same tree, denied.
    let recording = Recording::new("", &["--deny-pid", &shell.pid()], &[&decoy]);
    let stacks = &recording.stacks;
    assert!(stacks.of("decoy").samples() > 20, "{}", recording.text());
    assert_eq!(stacks.of("early").samples() + stacks.of("late").samples(), 0, "{}", recording.text());
    let group = format!("-{}", shell.pid());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
}

fn samples(profiles: &[Stacks], chain: &[&str]) -> u64 {
    profiles.iter().map(|profile| profile.with_chain(chain).samples()).sum()
}

#[test]
fn a_process_that_takes_another_name_is_judged_anew() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("renaming.c", folder.path(), &["-pthread"]);
    // By perf's side band, and where no event reports names.
    for deny in ["[]", "['perf.sideband']", "['perf.sideband', 'bpf.prog.raw_tracepoint']"] {
        for is_wanted in [true, false] {
            let programs =
                ["main", "thread"].map(|who| Running::start(Command::new(&program).args([who, "renamed"])));
            let pids = [programs[0].0.id(), programs[1].0.id()];
            let rule = if is_wanted { "comm" } else { "deny_comm" };
            let toml = format!("[capabilities]\ndeny = {deny}\n[filter]\n{rule} = [\"renamed\"]\n");
            let mut daemon = Daemon::start(1, &toml);
            // The threads that spin, by their outermost frame that is the program's own.
            let both = |profiles: &[Stacks], frame: &str| {
                ["main", "work"].map(|who| samples(profiles, &[who, frame]))
            };
            let seen =
                |profiles: &[Stacks], frame: &str| both(profiles, frame).iter().all(|count| *count > 20);
            daemon.wait_for(1);
            let mut have_spun = used(&pids, Duration::from_millis(300));
            eventually("CPU time", || have_spun(0));
            if !is_wanted {
                daemon.wait_until("the name before", |profiles| seen(profiles, "before"));
            }
            let so_far = daemon.profiles().len();
            for pid in pids {
                // SAFETY: plain numbers; the children are not yet waited for, so the ids are still their own.
                assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGUSR1) }, 0);
            }
            // Of another thread than the main one the new name may take a moment to be known, where no event reports it.
            let is_exact = deny == "[]";
            if is_wanted {
                let profiles = daemon.wait_until("the name after", |profiles| seen(profiles, "after"));
                let of_before = both(&profiles, "before");
                assert_eq!(of_before[0], 0, "{deny}: {profiles:?}");
                let judged = if is_exact { &profiles[..] } else { &profiles[..so_far] };
                assert_eq!(samples(judged, &["work", "before"]), 0, "{deny}: {profiles:?}");
            } else {
                let (mut have_spun, mut last) = (used(&pids, Duration::from_millis(300)), so_far + 1);
                let profiles = daemon.wait_until("the name after", |profiles| {
                    // From one profile to the next both have spun, and are in none of them.
                    if profiles.len() <= last || !have_spun(0) {
                        return false;
                    }
                    let is_gone = samples(&profiles[last..], &["work", "after"]) == 0;
                    (have_spun, last) = (used(&pids, Duration::from_millis(300)), profiles.len());
                    is_gone
                });
                let after = both(&profiles, "after");
                assert_eq!(after[0], 0, "{deny}: {profiles:?}");
                assert!(!is_exact || after[1] == 0, "{deny}: {profiles:?}");
            }
            daemon.terminate();
        }
    }
}

/// A cgroup of the default hierarchy that is there until this ends.
struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    fn new(name: &str) -> Result<Self, String> {
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap();
        let Some((root, point)) = parse_mounts(&mounts) else { return Err("no cgroup2 is mounted".into()) };
        if root != b"/" {
            let root = String::from_utf8_lossy(&root);
            return Err(format!("of the default hierarchy only {root} is mounted"));
        }
        let path = format!("/stacksonde-test-{}-{name}", std::process::id());
        let folder = point.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { folder, path })
    }

    fn take(&self, process: &Running) {
        std::fs::write(self.folder.join("cgroup.procs"), process.pid()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A cgroup can be removed when those in it have really gone.
        for _ in 0..1000 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn cgroups_are_allowed_and_denied_by_path_and_a_move_is_seen() {
    kernel_tier!();
    let (outer, other) = match (Cgroup::new("outer"), Cgroup::new("other")) {
        (Ok(outer), Ok(other)) => (outer, other),
        (Err(why), _) | (_, Err(why)) => return skip("cgroups_are_allowed", &why),
    };
    let inner = Cgroup::new("outer/inner").unwrap();
    let spinners = Spinners::new();
    let (decoy, busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    inner.take(&decoy);

    let denied = Recording::new("", &["--deny-cgroup", &outer.path], &[&decoy, &busy]);
    assert_eq!(denied.stacks.of("decoy").samples(), 0, "{}", denied.text());
    assert!(denied.stacks.of("busy").samples() > 20 && denied.excluded() > 100, "{}", denied.text());

    let pattern = outer.path.replace("outer", "*/inner");
    let allowed = Recording::new("", &["--cgroup", &pattern], &[&decoy, &busy]);
    assert_eq!(allowed.stacks.processes(), ["decoy"].into(), "{}", allowed.text());
    assert!(allowed.stacks.samples() > 20, "{}", allowed.text());
    assert!((1..=4).contains(&allowed.counter("maps_read")), "{}", allowed.text());

    let (mut before, mut after) = (decoy.used(1000), None);
    let moved = Recording::until("", &["--cgroup", &other.path], |agent| {
        if after.is_none() && before(agent) {
            other.take(&decoy);
            after = Some(decoy.used(1000));
        }
        after.as_mut().is_some_and(|used| used(agent))
    });
    assert_eq!(moved.stacks.processes(), ["decoy"].into(), "{}", moved.text());
    assert!(moved.stacks.samples() > 20, "{}", moved.text());
    drop(decoy);
}

#[test]
fn rules_are_changed_without_a_restart_and_bad_ones_are_refused() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (_decoy, _busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    let mut daemon = Daemon::start(1, "[filter]\ndeny_comm = [\"decoy\"]\n");
    let seen = |profiles: &[Stacks], name: &str| profiles.iter().map(|p| p.of(name).samples()).sum::<u64>();
    let first = daemon.wait_until("the one that is not denied", |profiles| seen(profiles, "busy") > 30);
    assert_eq!(seen(&first, "decoy"), 0, "{first:?}");

    daemon.reload("[filter]\ndeny_comm = [\"busy\"]\ncgroup = [\"not a path\"]\n");
    eventually("a refusal", || daemon.said().contains("the configuration before stays"));
    let so_far = daemon.profiles().len();
    let refused = daemon.wait_until("the same", |profiles| seen(&profiles[so_far..], "busy") > 30);
    assert_eq!(seen(&refused, "decoy"), 0, "the rules before stay: {refused:?}");

    daemon.reload("[filter]\ndeny_comm = [\"busy\"]\n[memory]\nring_bytes = 2097152\n");
    // One interval is of both.
    let changes = |profiles: &[Stacks]| profiles.iter().position(|profile| profile.of("decoy").samples() > 0);
    let profiles = daemon.wait_until("the other one", |profiles| {
        changes(profiles).is_some_and(|at| seen(&profiles[at + 1..], "decoy") > 30)
    });
    let changed = &profiles[changes(&profiles).unwrap() + 1..];
    assert_eq!(seen(changed, "busy"), 0, "{profiles:?}");

    let said = daemon.terminate();
    let line = |what: &str| said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("the configuration before stays").contains("`filter.cgroup` is [\"not a path\"]"));
    assert!(line("configuration reloaded").ends_with("applied: filter"));
    assert!(line("waits until stacksonde is restarted").ends_with(": memory"));
}

#[test]
fn what_is_excluded_is_in_every_output() {
    kernel_tier!();
    let spinners = Spinners::new();
    let decoy = spinners.spin("decoy", 1);
    let folder = tempfile::tempdir().unwrap();
    let [svg, pprof] = ["profile.svg", "profile.pb.gz"].map(|name| folder.path().join(name));
    let mut record = Installed::from_environment().unwrap().command("record");
    record.args(["--deny-comm", "decoy", "-o"]).args([&svg, &pprof]);
    let output = record_until(&mut record, decoy.used(1000));
    let said = String::from_utf8_lossy(&output.stdout);
    let excluded =
        said.lines().find_map(|line| line.strip_prefix("excluded")).unwrap_or_else(|| panic!("{said}"));
    let excluded = excluded.split_whitespace().next().unwrap();
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.contains(&format!(" lost, {excluded} excluded;")), "{said}");
    let text = Command::new("gzip").arg("-dc").arg(pprof).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("samples_excluded: {excluded}")), "{said}");
}
