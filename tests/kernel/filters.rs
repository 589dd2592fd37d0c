//! What is excluded causes no samples, no rows and no reading of its mappings; it is counted, and the books add up.

use stacksonde::bpf::online_cpus;
use stacksonde::filter::parse_mounts;
use stacksonde_tests::agent::{Installed, config_in};
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::{Running, Spinners, compile};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A recording, and what the agent counted.
struct Recording {
    output: Output,
    stacks: Stacks,
}

impl Recording {
    fn new(toml: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config_in(folder.path(), toml);
        let log =
            ["--log", "warn,stacksonde::agent=debug", "-F", "199", "--config", config.to_str().unwrap()];
        let arguments = [&log, arguments].concat();
        let (output, stacks) = Installed::from_environment().unwrap().record(folder.path(), &arguments);
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

    /// What the summary says was excluded.
    fn excluded(&self) -> u64 {
        let said = String::from_utf8_lossy(&self.output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("excluded"));
        line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Every tick that was due is in the profile, idle, excluded, or lost.
    fn check_books(&self) {
        let sum = |names: &[&str]| names.iter().map(|name| self.counter(name)).sum::<u64>();
        let under_way = online_cpus().unwrap().len() as u64;
        let ran = sum(&["idle", "excluded", "sent", "ring_full", "no_ring", "no_scratch"]);
        assert!(self.counter("ran").abs_diff(ran) <= under_way, "{}", self.text());
        assert_eq!(
            self.counter("sent"),
            self.stacks.samples() + sum(&["excluded_in_user_space", "malformed"]),
            "{}",
            self.text()
        );
        assert_eq!(self.excluded(), sum(&["excluded", "excluded_in_user_space"]), "{}", self.text());
        // A process is judged by what was sent of it until the verdict was there.
        assert!(sum(&["excluded_in_user_space"]) <= 40 + sum(&["excluded"]) / 5, "{}", self.text());
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
    let (_decoy, _busy) = (spinners.spin("decoy-1", 1), spinners.spin("busy", 0));
    let recording = Recording::new("", &["-d", "3", "--deny-comm", "decoy-?"]);
    assert_eq!(recording.stacks.of("decoy-1").samples(), 0, "{}", recording.text());
    assert!(recording.stacks.of("busy").with_chain(&["main"]).samples() > 100, "{}", recording.text());
    assert!(recording.excluded() > 100, "{}", recording.text());
}

#[test]
fn only_allowed_names_cause_any_work() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (_decoy, _busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    let recording = Recording::new("[filter]\ncomm = [\"busy\"]\n", &["-d", "3"]);
    assert_eq!(recording.stacks.processes(), ["busy"].into(), "{}", recording.text());
    assert!(recording.stacks.with_chain(&["main"]).samples() > 100, "{}", recording.text());
    // Of one process.
    assert!((1..=4).contains(&recording.counter("maps_read")), "{}", recording.text());
    let nobody =
        Recording::new("[filter]\ncomm = [\"busy\"]\n", &["-d", "2", "--comm", "nobody is called so"]);
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
    let _decoy = spinners.spin("decoy", 1);
    let (early, late) = (spinners.called("early"), spinners.called("late"));
    let (early, late) = (early.display(), late.display());
    let script = format!("{early} 0 60 & sleep 3; (bash -c '{late} 0 60; true'); true");
    let mut shell = Command::new("setsid");
    let shell = Running::start(shell.args(["bash", "-c", &script]).stdout(Stdio::null()));
    std::thread::sleep(Duration::from_millis(500));
    let recording = Recording::new("", &["-d", "6", "-p", &shell.pid()]);
    let stacks = &recording.stacks;
    assert!(stacks.of("early").samples() > 100 && stacks.of("late").samples() > 100, "{}", recording.text());
    let family = ["bash", "early", "late", "sleep"];
    assert!(stacks.processes().iter().all(|name| family.contains(name)), "{}", recording.text());
    // The same tree, denied.
    let recording = Recording::new("", &["-d", "2", "--deny-pid", &shell.pid()]);
    let stacks = &recording.stacks;
    assert!(stacks.of("decoy").samples() > 100, "{}", recording.text());
    assert_eq!(stacks.of("early").samples() + stacks.of("late").samples(), 0, "{}", recording.text());
    let group = format!("-{}", shell.pid());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
}

fn renaming(folder: &Path, who: &str) -> Running {
    let program = compile("renaming.c", folder, &["-pthread"]);
    Running::start(Command::new(program).args([who, "renamed", "2.5"]))
}

#[test]
fn a_process_that_takes_another_name_is_judged_anew() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let wanted = ["--comm", "renamed"];
    let denied = ["--deny-comm", "renamed"];
    // By perf's side-band, and where nobody gives notice of names.
    for deny in ["[]", "['perf.sideband']", "['perf.sideband', 'bpf.prog.raw_tracepoint']"] {
        let toml = format!("[capabilities]\ndeny = {deny}\n");
        for who in ["main", "thread"] {
            for (flags, seen, unseen) in [(wanted, "after", "before"), (denied, "before", "after")] {
                let _running = renaming(folder.path(), who);
                let recording = Recording::new(&toml, &[&["-d", "5"], &flags[..]].concat());
                let stacks = &recording.stacks;
                let of = |name: &str| stacks.with_frame(|frame| frame == name).samples();
                assert!(of(seen) > 100, "{deny} {who} {flags:?}: {}", recording.text());
                // Of another thread than the main one, the new name may take a moment to be known.
                let late = if who == "main" {
                    2
                } else if deny == "[]" {
                    60
                } else {
                    300
                };
                assert!(of(unseen) <= late, "{deny} {who} {flags:?}: {}", recording.text());
            }
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
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some((root, point)) = parse_mounts(&mounts) else { return Err("no cgroup2 is mounted".into()) };
        if root != "/" {
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
        for _ in 0..100 {
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
    let (decoy, _busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    inner.take(&decoy);

    let denied = Recording::new("", &["-d", "2", "--deny-cgroup", &outer.path]);
    assert_eq!(denied.stacks.of("decoy").samples(), 0, "{}", denied.text());
    assert!(denied.stacks.of("busy").samples() > 60 && denied.excluded() > 60, "{}", denied.text());

    let pattern = outer.path.replace("outer", "*/inner");
    let allowed = Recording::new("", &["-d", "2", "--cgroup", &pattern]);
    assert_eq!(allowed.stacks.processes(), ["decoy"].into(), "{}", allowed.text());
    assert!(allowed.stacks.samples() > 60, "{}", allowed.text());
    assert!((1..=4).contains(&allowed.counter("maps_read")), "{}", allowed.text());

    let recorder = std::thread::spawn({
        let path = other.path.clone();
        move || Recording::new("", &["-d", "4", "--cgroup", &path])
    });
    std::thread::sleep(Duration::from_secs(2));
    other.take(&decoy);
    let moved = recorder.join().unwrap();
    assert_eq!(moved.stacks.processes(), ["decoy"].into(), "{}", moved.text());
    assert!(moved.stacks.samples() > 60, "{}", moved.text());
    drop(decoy);
}

#[test]
fn rules_are_changed_without_a_restart_and_bad_ones_are_refused() {
    kernel_tier!();
    let spinners = Spinners::new();
    let (_decoy, _busy) = (spinners.spin("decoy", 1), spinners.spin("busy", 0));
    let mut daemon = Daemon::start(1, "[filter]\ndeny_comm = [\"decoy\"]\n");
    let seen = |profiles: &[Stacks], name: &str| profiles.iter().map(|p| p.of(name).samples()).sum::<u64>();
    let first = daemon.wait_for(3);
    assert_eq!(seen(&first, "decoy"), 0, "{first:?}");
    assert!(seen(&first, "busy") > 30, "{first:?}");

    daemon.reload("[filter]\ndeny_comm = [\"busy\"]\ncgroup = [\"not a path\"]\n");
    let refused = daemon.wait_for(first.len() + 3).split_off(first.len());
    assert_eq!(seen(&refused, "decoy"), 0, "the rules before stay: {refused:?}");
    assert!(seen(&refused, "busy") > 30, "{refused:?}");

    let so_far = daemon.profiles().len();
    daemon.reload("[filter]\ndeny_comm = [\"busy\"]\n[memory]\nring_bytes = 2097152\n");
    // One interval is of both.
    let changed = daemon.wait_for(so_far + 5).split_off(so_far + 2);
    assert_eq!(seen(&changed, "busy"), 0, "{changed:?}");
    assert!(seen(&changed, "decoy") > 30, "{changed:?}");

    let (_, said) = daemon.terminate();
    let line = |what: &str| said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("the configuration before stays").contains("`filter.cgroup` is [\"not a path\"]"));
    assert!(line("configuration read anew").ends_with("applied: filter"));
    assert!(line("waits until stacksonde is started again").ends_with(": memory"));
}

#[test]
fn what_is_excluded_is_in_every_output() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _decoy = spinners.spin("decoy", 1);
    let folder = tempfile::tempdir().unwrap();
    let [svg, pprof] = ["profile.svg", "profile.pb.gz"].map(|name| folder.path().join(name));
    let output = Installed::from_environment()
        .unwrap()
        .command("record")
        .args(["-d", "2", "--deny-comm", "decoy", "-o"])
        .args([&svg, &pprof])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let excluded =
        said.lines().find_map(|line| line.strip_prefix("excluded")).unwrap_or_else(|| panic!("{said}"));
    let excluded = excluded.split_whitespace().next().unwrap();
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.contains(&format!(" lost, {excluded} excluded;")), "{said}");
    let text = Command::new("gzip").arg("-dc").arg(pprof).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("samples_excluded: {excluded}")), "{said}");
}
