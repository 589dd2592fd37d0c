//! `top` and `record` in a real terminal: what a person sees, and that the terminal is as before afterwards.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::Spinners;
use stacksonde_tests::tmux::Tmux;
use stacksonde_tests::wait::eventually;
use std::path::Path;

/// The agent's command line for a shell.
fn command(subcommand: &str) -> String {
    let installed = Installed::from_environment().unwrap();
    format!("{} {subcommand} --config {}", installed.agent.display(), installed.config.display())
}

/// The number before `name` in a line, of those that are separated by spaces the one at `place`.
fn number(screen: &str, name: &str, place: usize) -> f64 {
    let line =
        screen.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name}:\n{screen}"));
    let words: Vec<_> = line[..line.find(name).unwrap()].split_whitespace().collect();
    let word = words[words.len() - place];
    word.trim_start_matches('>').parse().unwrap_or_else(|_| panic!("{word} in {line}"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn top_shows_a_busy_program_and_leaves_the_terminal_as_it_was() {
    kernel_tier!();
    let spinners = Spinners::new();
    let busy = spinners.spin("hotspot", 0);
    let tmux = Tmux::start(80, 24);
    let [before, after, killed] = ["before", "after", "killed"].map(|name| tmux.folder().join(name));
    let (folder, top) = (tmux.folder().display().to_string(), command("top"));
    tmux.enter(&format!("cd {folder}; stty -a > before; {top} -i 0.5; echo ended $?; stty -a > after"));

    let small =
        tmux.wait_for("the program", |screen| screen.contains("hotspot") && screen.contains("complete"));
    assert!(small.starts_with("stacksonde top") && small.contains("99 Hz"), "{small}");
    assert!(small.contains("Flame graph") && small.contains("q quit"), "{small}");
    let cpu = number(&small, "hotspot", 2);
    assert!(cpu > 1.0 && cpu < 130.0, "one CPU at most: {cpu}\n{small}");
    assert_eq!(tmux.modes(), (true, false), "the alternate screen, without a cursor");

    // Only this process: the one that matches is the first.
    tmux.press(&["/"]);
    tmux.enter("hotspot");
    tmux.press(&["Tab", "Enter", "Escape"]);
    let only = format!("only hotspot ({})", busy.0.id());
    let narrowed = tmux.wait_for("one process", |screen| screen.contains(&only) && screen.contains("  main"));
    assert!(number(&narrowed, "  main", 1) > 50.0, "nearly all is below main: {narrowed}");

    tmux.resize(200, 60);
    let both = |screen: &str| {
        screen.lines().any(|line| line.contains("Functions by") && line.contains("Flame graph"))
    };
    let large = tmux.wait_for("a large screen", |screen| both(screen) && screen.contains("hotspot ("));
    let foot = large.lines().position(|line| line.contains("q quit"));
    assert_eq!(foot, Some(59), "{large}");
    tmux.resize(30, 8);
    tmux.wait_for("a small screen", |screen| !screen.contains("Flame") && screen.contains("Processes by"));

    tmux.resize(80, 24);
    tmux.wait_for("the first size", |screen| {
        screen.contains("Functions by") && screen.contains("Flame graph")
    });
    tmux.press(&["q"]);
    tmux.wait_for("the end", |screen| screen.contains("ended 0"));
    assert_eq!(tmux.modes(), (false, true), "the screen from before, with a cursor");

    // The same when it is told to end.
    tmux.enter(&format!("clear; {top} -i 0.5 & wait_for=$!; fg; echo told $?; stty -a > killed"));
    tmux.wait_for("the screen again", |screen| screen.contains("hotspot"));
    assert_eq!(pids_of(&folder, &top).into_iter().map(terminate).count(), 1);
    tmux.wait_for("the end", |screen| screen.contains("told 0"));
    assert_eq!(tmux.modes(), (false, true));
    tmux.wait_for("stty", |_| killed.metadata().is_ok_and(|file| file.len() > 0));
    assert_eq!(read(&before), read(&after));
    assert_eq!(read(&before), read(&killed));
}

/// Processes with this command line that stand in this folder.
fn pids_of(folder: &str, command: &str) -> Vec<i32> {
    let words = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let stands =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == Path::new(folder));
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| words(pid).starts_with(command) && stands(pid)).collect()
}

fn terminate(pid: i32) {
    // SAFETY: plain numbers; the process was just seen, and its shell has not waited for it.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
}

#[test]
fn top_ends_with_its_terminal() {
    kernel_tier!();
    // A shell that ignores the signal: then nobody tells top, and it has to see it.
    for shell in ["", "trap '' HUP; "] {
        let tmux = Tmux::start(80, 24);
        let (folder, top) = (tmux.folder().display().to_string(), command("top"));
        tmux.enter(&format!("cd {folder}; {shell}{top} -i 0.5"));
        tmux.wait_for("the screen", |screen| screen.contains("processes"));
        let pids = pids_of(&folder, &top);
        assert_eq!(pids.len(), 1, "{pids:?}");
        tmux.kill();
        let process = format!("/proc/{}", pids[0]);
        eventually("the end of top without a terminal", || !Path::new(&process).exists());
    }
}

#[test]
fn record_shows_progress_on_a_terminal_and_nothing_of_it_in_a_pipe() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _busy = spinners.spin("hotspot", 0);
    let tmux = Tmux::start(100, 50);
    tmux.enter(&format!(
        "cd {}; {} -d 3600 -o out.folded; echo ended $?",
        tmux.folder().display(),
        command("record")
    ));
    let line = |screen: &str| {
        screen.lines().find(|line| line.contains("s left")).map(str::to_owned).unwrap_or_default()
    };
    let running = tmux.wait_for("progress", |screen| {
        let line = line(screen);
        line.contains("complete") && line.contains("processes") && line.contains("hottest")
    });
    assert!(running.contains("recording at 99 Hz, for 3600 s"), "{running}");
    tmux.press(&["C-c"]);
    let ended = tmux.wait_for("the end", |screen| screen.contains("ended 0"));
    assert!(!ended.contains("s left"), "the line is taken away: {ended}");
    assert!(ended.contains("hottest processes") && ended.contains("hotspot"), "{ended}");
    assert!(ended.contains("hottest functions") && ended.contains("wrote        out.folded"), "{ended}");

    let folder = tempfile::tempdir().unwrap();
    let hostile = spinners.spin("evil\x1b[2J", 1);
    let installed = Installed::from_environment().unwrap();
    let (output, _) = installed.record_until(folder.path(), &["-p", &hostile.pid()], hostile.used(500));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(said[0].contains("hottest functions") && said[0].contains("evil"), "{}", said[0]);
    assert!(said.iter().all(|said| !said.contains(['\r', '\x1b']) && !said.contains("left")), "{said:?}");
}

#[test]
fn top_once_prints_one_table_into_a_pipe() {
    kernel_tier!();
    let spinners = Spinners::new();
    let _busy = spinners.spin("hotspot", 0);
    let installed = Installed::from_environment().unwrap();
    let output = installed.command("top").args(["--once", "--interval", "2"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(number(&said, "hotspot", 2) > 1.0, "{said}");
    assert!(said.contains("FUNCTION") && said.contains("main") && !said.contains('\x1b'), "{said}");
}
