//! Files of the programs: held as long as they are wanted, found by whichever thread still lives, and never waited for.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, Spinners, compile};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// So long nothing takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that is always in functions where it was not before: 200 of them, 50 ms each, in turns.
fn phases() -> String {
    let mut text = String::from(
        "#include <time.h>\n\
         static volatile unsigned long sink;\n\
         static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); \
         return t.tv_sec * 1000 + t.tv_nsec / 1000000; }\n",
    );
    for number in 0..200 {
        let factor = number + 1;
        writeln!(
            text,
            "__attribute__((noipa, aligned(64))) void phase{number}(void) {{ long end = now() + 50; \
             while (now() < end) for (long i = 0; i < 100000; i++) sink += i * {factor}; sink++; }}"
        )
        .unwrap();
    }
    let calls: String = (0..200).map(|number| format!("phase{number}(); sink++; ")).collect();
    writeln!(text, "int main(void) {{ for (;;) {{ {calls} }} }}").unwrap();
    text
}

/// A program whose debug information has some MB, so that looking up its names takes a while.
fn heavy() -> String {
    let mut text = String::from("static volatile unsigned long sink;\n");
    for n in 0..3000 {
        writeln!(
            text,
            "struct s{n} {{ int a{n}; long b{n}; struct s{n} *n{n}; }};\n\
             static inline __attribute__((always_inline)) void in{n}(struct s{n} *p) {{ p->a{n}++; sink += p->b{n}; }}\n\
             __attribute__((noinline)) void g{n}(void) {{ struct s{n} s = {{1, 2, 0}}; \
             for (int i = 0; i < 20000; i++) {{ in{n}(&s); sink += s.a{n}; }} }}"
        )
        .unwrap();
    }
    let calls: String = (0..3000).map(|n| format!("g{n}(); ")).collect();
    writeln!(text, "int main(void) {{ for (;;) {{ {calls} }} }}").unwrap();
    text
}

/// Compiles a text under a name.
fn made(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&source, text).unwrap();
    let status = Command::new("cc").args(["-O2", "-g", "-o"]).args([&program, &source]).status().unwrap();
    assert!(status.success(), "{name} does not compile");
    program
}

/// Stacks with a frame of a program of ours that has no name.
fn nameless_of_any(stacks: &Stacks) -> Stacks {
    stacks.with_frame(|frame| frame.starts_with("[spin"))
}

/// Stacks of a program with a frame that has no name.
fn nameless(stacks: &Stacks, program: &str) -> Stacks {
    stacks.of(program).with_frame(|frame| frame.starts_with(&format!("[{program}+")))
}

#[test]
fn every_profile_of_a_daemon_has_names_and_whole_stacks() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let phases = made(folder.path(), "phases", &phases());
    let heavy = made(folder.path(), "heavy", &heavy());
    let _running = [phases, heavy].map(|program| Running::start(&mut Command::new(program)));
    let mut daemon = Daemon::start(2, "");
    let profiles = daemon.wait_for(8);
    let said = daemon.terminate();
    for (number, profile) in profiles.iter().enumerate() {
        for program in ["phases", "heavy"] {
            let of_program = profile.of(program);
            assert!(of_program.samples() > 0, "{program} in profile {number}: {profile:?}");
            let nameless = nameless(profile, program);
            assert_eq!(nameless.samples(), 0, "{program} in profile {number}: {nameless:?}\n{said}");
            let incomplete = of_program.incomplete();
            assert_eq!(incomplete.samples(), 0, "{program} in profile {number}: {incomplete:?}\n{said}");
        }
    }
}

/// A folder that is seen through FUSE, where nothing is remembered of it.
struct Seen {
    server: Running,
    at: PathBuf,
}

impl Seen {
    fn new(folder: &Path) -> Self {
        let (there, at) = (folder.join("there"), folder.join("seen"));
        std::fs::create_dir(&there).unwrap();
        std::fs::create_dir(&at).unwrap();
        std::fs::write(there.join("is_mounted"), "").unwrap();
        let mut server = Command::new("bindfs");
        server.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]).args([&there, &at]);
        let server = Running::start(&mut server);
        let since = Instant::now();
        while !at.join("is_mounted").exists() {
            assert!(since.elapsed() < PATIENCE, "bindfs does not mount");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { server, at }
    }

    /// From now on it does not answer.
    fn hang(&self) {
        self.signal(libc::SIGSTOP);
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: plain numbers; the child is not yet waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(self.server.0.id().cast_signed(), signal) }, 0);
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
        let _unmounted = Command::new("umount").args(["--lazy".as_ref(), self.at.as_os_str()]).status();
    }
}

/// Waits for the end of an agent, and for what it said.
fn ended(mut agent: Child) -> Output {
    let since = Instant::now();
    while agent.try_wait().unwrap().is_none() {
        if since.elapsed() > PATIENCE {
            let _killed = agent.kill();
            panic!("the agent does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    agent.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    agent.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status: agent.wait().unwrap(), stdout, stderr }
}

/// Starts a copy of `busy` there and waits until it runs.
fn start_in(seen: &Seen, spinners: &Spinners) -> Running {
    let program = seen.at.join("hung");
    std::fs::copy(spinners.folder().join("busy"), &program).unwrap();
    let running = Running::start(Command::new(program).args(["0", "600"]).stdout(Stdio::null()));
    let since = Instant::now();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap_or_default();
        let fields: Vec<_> =
            stat.rsplit(')').next().unwrap_or("").split_whitespace().map(str::to_owned).collect();
        fields.get(11).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0)
    };
    while ticks() < 5 {
        assert!(since.elapsed() < PATIENCE, "it does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

#[test]
fn a_file_system_that_hangs_holds_up_nothing_but_its_own_files() {
    kernel_tier!();
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let seen = Seen::new(folder.path());
    let _hung = start_in(&seen, &spinners);
    let _sound = spinners.spin("sound", 1);
    seen.hang();
    let out = folder.path().join("out.folded");
    let mut agent = Installed::from_environment().unwrap().command("record");
    agent.args(["-d", "4", "-F", "99", "-o"]).arg(&out);
    let output = ended(agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let stacks = Stacks::parse(&std::fs::read_to_string(out).unwrap());
    let sound = stacks.of("sound");
    assert!(sound.samples() > 0 && stacks.of("hung").samples() > 0, "{stacks:?}");
    assert_eq!(sound.with_chain(&["main"]).samples(), sound.samples(), "{sound:?}");
    assert!(!said.contains("ring_full"), "{said}");
    let path = seen.at.join("hung");
    assert!(said.contains(&format!("cannot read {path:?}")), "the file is named: {said}");
    assert!(said.contains("timed_out"), "and counted: {said}");
}

#[test]
fn a_file_system_that_hangs_later_holds_up_no_daemon() {
    kernel_tier!();
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let seen = Seen::new(folder.path());
    let _hung = start_in(&seen, &spinners);
    let _sound = spinners.spin("sound", 1);
    let mut daemon = Daemon::start(1, "");
    let before = daemon.wait_for(2).len();
    seen.hang();
    let profiles = daemon.wait_for(before + 4);
    for profile in profiles.iter().skip(before) {
        assert!(profile.of("sound").with_chain(&["main"]).samples() > 0, "{profile:?}");
        assert!(profile.of("hung").samples() > 0, "{profile:?}");
    }
    daemon.terminate();
}

#[test]
fn memory_that_hangs_holds_up_nothing() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let seen = Seen::new(folder.path());
    let paged = seen.at.join("paged");
    std::fs::write(&paged, vec![b'x'; 64 << 10]).unwrap();
    let program = compile("hung_environment.c", folder.path(), &[]);
    let mut command = Command::new(program);
    command.arg(&paged).env_clear().env("LARGE", "x".repeat(60 << 10)).stdout(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut ready = [0; 5];
    running.0.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    seen.hang();
    let out = folder.path().join("out.folded");
    let mut agent = Installed::from_environment().unwrap().command("record");
    agent.args(["-d", "3", "-F", "99", "-o"]).arg(&out);
    let output = ended(agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let stacks = Stacks::parse(&std::fs::read_to_string(out).unwrap());
    assert!(stacks.with_chain(&["main", "spin"]).samples() > 0, "{stacks:?}\n{said}");
}

#[test]
fn a_file_system_that_answers_again_is_asked_again() {
    kernel_tier!();
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let seen = Seen::new(folder.path());
    let _hung = start_in(&seen, &spinners);
    seen.hang();
    let mut daemon = Daemon::start(1, "");
    daemon.wait_for(2);
    seen.signal(libc::SIGCONT);
    let since = Instant::now();
    let is_named = |profile: &Stacks| profile.of("hung").with_chain(&["main"]).samples() > 0;
    while !daemon.profiles().last().is_some_and(is_named) {
        assert!(since.elapsed() < PATIENCE, "{:?}", daemon.profiles().last());
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.terminate();
}

#[test]
fn a_process_whose_main_thread_ended_is_looked_at_by_another() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread"];
    let program = compile("main_thread_gone.c", folder.path(), &flags);
    let hidden = folder.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    // Nobody else sees the file at its path.
    let script = "mount -t tmpfs none \"$1\" && cp \"$0\" \"$1\" && exec \"$1/main_thread_gone\"";
    let mut command = Command::new("unshare");
    let running = Running::start(command.args(["-m", "sh", "-c", script]).args([&program, &hidden]));
    let since = Instant::now();
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap_or_default();
        stat.contains("(main_thread_gon) Z")
    };
    while !is_gone() {
        assert!(since.elapsed() < PATIENCE, "its main thread goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let installed = Installed::from_environment().unwrap();
    let (output, stacks) = installed.record(folder.path(), &["-d", "4", "-F", "99", "-p", &running.pid()]);
    let stacks = stacks.of("main_thread_gon");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stacks.samples() > 0, "{said}");
    assert_eq!(nameless(&stacks, "main_thread_gone").samples(), 0, "{stacks:?}\n{said}");
    assert!(stacks.with_chain(&["run", "middle", "spin"]).samples() > 0, "{stacks:?}\n{said}");
    assert!(stacks.with_chain(&["run", "wide", "middle", "spin"]).samples() > 0, "{stacks:?}\n{said}");
    assert_eq!(stacks.incomplete().samples(), 0, "{:?}\n{said}", stacks.incomplete());
}

/// Sixty programs, each a file of its own.
fn sixty(spinners: &Spinners) -> Vec<Running> {
    (0..60).map(|number| spinners.spin(&format!("spin{number}"), number % 2)).collect()
}

/// Records them by an agent that is started with a limit of open files.
fn record_with_limit(folder: &Path, limit: &str) -> (String, Stacks) {
    let out = folder.join("out.folded");
    let agent = Installed::from_environment().unwrap().command("record");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
    shell.arg(agent.get_program()).args(agent.get_args()).args(["-d", "4", "-F", "199", "-o"]).arg(&out);
    let output = shell.env_remove("LD_LIBRARY_PATH").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    (said, Stacks::parse(&std::fs::read_to_string(out).unwrap()))
}

#[test]
fn the_soft_limit_of_open_files_is_not_ours() {
    kernel_tier!();
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let _running = sixty(&spinners);
    let (said, stacks) = record_with_limit(folder.path(), "-Sn 48");
    let spins = stacks.matching(|frames| frames[0].starts_with("spin"));
    assert!(spins.processes().len() > 40, "{said}");
    assert_eq!(nameless_of_any(&spins).samples(), 0, "{spins:?}\n{said}");
    assert!(!said.contains("no_resource"), "{said}");
}

#[test]
fn what_the_hard_limit_of_open_files_leaves_out_is_told() {
    kernel_tier!();
    let (folder, spinners) = (tempfile::tempdir().unwrap(), Spinners::new());
    let _running = sixty(&spinners);
    let (said, stacks) = record_with_limit(folder.path(), "-n 64");
    let spins = stacks.matching(|frames| frames[0].starts_with("spin"));
    assert!(spins.with_chain(&["main"]).samples() > 0, "some have names: {said}");
    assert!(said.contains("no_resource"), "what has none is counted: {said}");
    assert!(said.contains("LimitNOFILE"), "and what to do is said: {said}");
}
