//! A stack that is called complete is the program's own, and its functions have their names, whatever made the program.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags for a program that keeps its frame pointer register for other things.
const NO_FRAME_POINTERS: &[&str] =
    &["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread", "-Wl,-z,lazy", "-fno-builtin"];

fn program(folder: &Path, flags: &[&str]) -> PathBuf {
    compile("exact.c", folder, &[NO_FRAME_POINTERS, flags].concat())
}

/// The stacks of a program, from shortly after its start on, for a second of its CPU time.
pub(super) fn stacks_of(folder: &Path, command: &mut Command) -> Stacks {
    let running = Running::start(command);
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) =
        installed.record_until(folder, &["-F", "199", "-p", &running.pid()], running.used(1000));
    assert!(stacks.samples() > 30, "{command:?}: {} samples", stacks.samples());
    stacks
}

/// Checks that nearly all samples have `chain`, and that all but a few in a hundred are complete.
fn check(what: &str, stacks: &Stacks, chain: &[&str]) {
    let found = stacks.with_chain(chain).samples();
    assert!(found * 100 >= stacks.samples() * 95, "{what}: {found} of {}: {stacks:?}", stacks.samples());
    let incomplete = stacks.incomplete();
    assert!(incomplete.samples() * 100 <= stacks.samples() * 2, "{what}: {incomplete:?}");
}

#[test]
fn frames_are_found_whatever_makes_them() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), &["-Wl,--section-start=.hot=0x7f0000"]);
    for (what, chain) in [
        ("plain", &["main", "plain_top", "plain_mid", "plain_leaf", "spin"][..]),
        ("hot", &["main", "hot_outer", "hot_inner"]),
        ("zero", &["main", "zero_outer", "zero_hash", "spin"]),
        ("leaf", &["main", "leaf_outer", "leaf_inner", "bare_leaf"]),
        ("mark", &["main", "mark_outer", "marked", "spin"]),
        ("above", &["above", "above_outer", "on_stack", "above_inner", "spin"]),
        ("expression", &["main", "expression_outer", "call_in", "spin"]),
        ("coroutine", &["exact", "coroutine", "yield_deep", "yield_deep"]),
        ("moved", &["main", "plain_top", "plain_mid", "plain_leaf", "spin"]),
    ] {
        check(what, &stacks_of(folder.path(), Command::new(&program).arg(what)), chain);
    }
}

#[test]
fn below_frame_pointers_a_leaf_without_a_frame_hides_nobody() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program =
        compile("exact.c", folder.path(), &["-pthread", "-fno-builtin", "-Wl,--section-start=.hot=0x7f0000"]);
    let chain = ["main", "leaf_outer", "leaf_inner", "bare_leaf"];
    check("leaf", &stacks_of(folder.path(), Command::new(&program).arg("leaf")), &chain);
}

#[test]
fn in_code_made_at_run_time_a_function_without_a_frame_hides_nobody() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("made.c", folder.path(), &[]);
    for (what, made) in [("leaf", 1), ("saves", 1), ("begins", 1), ("framed", 2), ("frames", 1)] {
        let stacks = stacks_of(folder.path(), Command::new(&program).arg(what));
        check(what, &stacks, &["main", "outer", "inner"]);
        // Nobody is there twice either.
        let below = |frames: &[String]| {
            let inner = frames.iter().rposition(|frame| frame == "inner");
            let user = frames.iter().filter(|frame| !frame.ends_with("_[k]")).count();
            inner.is_some_and(|inner| user - inner - 1 == made)
        };
        let right = stacks.matching(below);
        assert!(right.samples() * 100 >= stacks.samples() * 95, "{what}: {stacks:?}");
    }
}

#[test]
fn an_interrupted_function_is_named_by_where_it_stood() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), &[]);
    let stacks = stacks_of(folder.path(), Command::new(&program).arg("fault"));
    let below = stacks.with_chain(&["main", "faults", "faulter"]).with_chain(&["on_fault", "spin"]);
    assert!(below.samples() * 100 >= stacks.samples() * 95, "{stacks:?}");
    assert_eq!(stacks.with_frame(|frame| frame == "before_faulter").samples(), 0, "{stacks:?}");
}

#[test]
fn call_frame_information_for_debuggers_serves_packed_or_not() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let only_for_debuggers = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    for packed in ["-gz=none", "-gz=zlib"] {
        let program = program(folder.path(), &[&only_for_debuggers[..], &[packed]].concat());
        let chain = ["main", "plain_top", "plain_mid", "plain_leaf", "spin"];
        check(packed, &stacks_of(folder.path(), Command::new(&program).arg("plain")), &chain);
    }
}

#[test]
fn a_libc_without_call_frame_information_is_left_by_its_code() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/libc_time.c");
    for link in ["-static", "-fPIE"] {
        let program = folder.path().join(format!("musl{link}"));
        let status =
            Command::new("musl-gcc").args(["-O2", link, "-o"]).args([&program, &source]).status().unwrap();
        assert!(status.success());
        let stacks = stacks_of(folder.path(), &mut Command::new(&program));
        let incomplete = stacks.incomplete();
        assert!(incomplete.samples() * 100 <= stacks.samples(), "{link}: {incomplete:?}");
        for function in ["sorts", "copies", "allocates"] {
            assert!(
                stacks.with_chain(&["main", function]).samples() > 0,
                "{link}: no {function}: {stacks:?}"
            );
        }
        let below_main = stacks.with_frame(|frame| frame == "main").samples();
        assert!(
            below_main * 100 >= stacks.samples() * 98,
            "{link}: {below_main} of {}: {stacks:?}",
            stacks.samples()
        );
        let stacks = stacks_of(folder.path(), Command::new(&program).arg("signal"));
        let handled = stacks.with_frame(|frame| frame == "in_handler");
        let whole = handled.with_chain(&["main", "interrupted"]).samples();
        assert!(whole > 20 && whole * 100 >= handled.samples() * 95, "{link}: {whole} of {handled:?}");
        assert!(stacks.incomplete().samples() * 100 <= stacks.samples(), "{link}: {:?}", stacks.incomplete());
    }
}

#[test]
fn a_thousand_frames_are_whole_and_of_more_the_innermost_are_kept() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), &[]);
    let stacks = stacks_of(folder.path(), Command::new(&program).args(["deep", "990"]));
    check("deep 990", &stacks, &[&["main"][..], &["deep"; 991], &["spin"]].concat());
    let stacks = stacks_of(folder.path(), Command::new(&program).args(["deep", "3000"]));
    let marked = stacks.with_frame(|frame| frame == "[incomplete: too_deep]");
    let kept = marked.with_chain(&[&["deep"; 1000][..], &["spin"]].concat());
    assert!(kept.samples() * 100 >= stacks.samples() * 95, "{} of {}", kept.samples(), stacks.samples());
}

#[test]
fn stubs_have_the_names_of_what_they_lead_to_and_labels_do_not_name_their_neighbours() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), &[]);
    let stacks = stacks_of(folder.path(), Command::new(&program).arg("stubs"));
    let stub = |frame: &str| ["labs@plt", "abs@plt", "ffsl@plt"].contains(&frame);
    assert!(stacks.with_frame(stub).with_chain(&["main", "stubs"]).samples() > 0, "{stacks:?}");
    let wrong = stacks.with_frame(|frame| ["_init", "_fini", "frame_dummy"].contains(&frame));
    assert_eq!(wrong.samples(), 0, "{wrong:?}");

    let stripped = Command::new("strip").arg("-x").arg(&program).status().unwrap();
    assert!(stripped.success());
    let stacks = stacks_of(folder.path(), Command::new(&program).arg("label"));
    assert_eq!(stacks.with_frame(|frame| frame == "sizeless").samples(), 0, "{stacks:?}");
    // All of one function is one function.
    let nameless = stacks.with_frame(|frame| frame.starts_with("exact+0x"));
    assert!(nameless.samples() * 100 >= stacks.samples() * 95, "{stacks:?}");
}

#[test]
fn a_32_bit_program_is_marked_once_and_has_no_frames_of_others() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program =
        compile("bits32.c", folder.path(), &["-m32", "-static", "-nostdlib", "-fno-pie", "-no-pie"]);
    let stacks = stacks_of(folder.path(), &mut Command::new(&program));
    let marked = stacks.with_frame(|frame| frame == "[incomplete: is_32_bit]");
    assert_eq!(marked.samples(), stacks.samples(), "{stacks:?}");
    let alone = stacks.matching(|frames| {
        let own = |frame: &&String| ["leaf", "middle", "_start"].contains(&frame.as_str());
        let user = frames.iter().filter(|frame| !frame.ends_with("_[k]"));
        // Its name, and the mark, one function, or one that is inlined into none.
        user.clone().filter(own).count() == 1 && user.count() == 3
    });
    assert_eq!(alone.samples(), stacks.samples(), "{stacks:?}");
    let leaf = stacks.with_frame(|frame| frame == "leaf");
    assert!(leaf.samples() * 100 >= stacks.samples() * 95, "{stacks:?}");
}

#[test]
fn a_process_that_ends_has_lost_its_callers_and_says_so() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), &[]);
    let stacks = stacks_of_descendants(folder.path(), Command::new(&program).arg("dying"));
    let short = stacks.with_frame(|frame| frame == "_exit" || frame.starts_with("exit_mmap"));
    let callers = short.with_frame(|frame| frame == "main").samples();
    assert!(short.samples() > 0, "{stacks:?}");
    assert_eq!(short.incomplete().samples() + callers, short.samples(), "{short:?}");
}

/// The stacks of a program and its descendants, for three seconds.
fn stacks_of_descendants(folder: &Path, command: &mut Command) -> Stacks {
    let running = Running::start(command);
    let installed = Installed::from_environment().unwrap();
    let (output, stacks) = installed.record(folder, &["-d", "3", "-F", "199", "-p", &running.pid()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stacks
}

#[test]
fn what_is_written_over_a_program_does_not_name_it() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    for build_id in ["none", "0x1234567890abcdef1234"] {
        let id = format!("-Wl,--build-id={build_id}");
        let made = |name: &str, flags: &[&str]| {
            let program = compile("over_written.c", folder.path(), &[&[id.as_str()], flags].concat());
            std::fs::rename(program, folder.path().join(name)).unwrap();
        };
        made("first", &[]);
        made("second", &["-DSECOND"]);
        let script = "cp first written; ./written; cp second written; ./written; \
                      cp first renamed; ./renamed; cp second other; mv other renamed; ./renamed";
        let mut daemon = Daemon::start(1, "");
        daemon.wait_for(1);
        let status = Command::new("sh").args(["-c", script]).current_dir(folder.path()).status().unwrap();
        assert!(status.success());
        daemon.terminate();
        let profiles = daemon.profiles();
        let of = |name: &str, chain: &[&str]| -> u64 {
            profiles.iter().map(|profile| profile.of(name).with_chain(chain).samples()).sum()
        };
        for name in ["written", "renamed"] {
            let right = of(name, &["main", "first_top", "first_leaf"])
                + of(name, &["main", "second_top", "second_leaf"]);
            assert!(of(name, &["second_top", "second_leaf"]) > 0, "{build_id}, {name}: {profiles:?}");
            // What was written over before its names were looked up has none.
            let nameless: u64 = profiles
                .iter()
                .map(|profile| {
                    profile.of(name).with_frame(|frame| frame.starts_with(&format!("[{name}+"))).samples()
                })
                .sum();
            let all: u64 = profiles.iter().map(|profile| profile.of(name).samples()).sum();
            let other = all - right - nameless;
            assert!(other * 10 <= all, "{build_id}, {name}: {other} of {all} are neither: {profiles:?}");
        }
    }
}

/// Runs a tool, which must succeed.
fn run(folder: &Path, tool: &str, arguments: &[&str]) {
    let status = Command::new(tool).args(arguments).current_dir(folder).status().unwrap();
    assert!(status.success(), "{tool} {arguments:?}");
}

#[test]
fn names_are_found_where_stripping_has_left_or_put_them() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let chain = ["main", "plain_top", "plain_mid", "plain_leaf", "spin"];
    let fresh = || program(at, &["-Wl,--build-id=none"]);
    let plain = |program: &Path| stacks_of(at, Command::new(program).arg("plain"));

    // MiniDebugInfo: symbols in a packed section of the stripped file.
    let stripped = fresh();
    run(at, "objcopy", &["--only-keep-debug", "exact", "mini"]);
    run(at, "strip", &["-g", "mini"]);
    run(at, "xz", &["-f", "mini"]);
    run(at, "strip", &["exact"]);
    run(at, "objcopy", &["--add-section", ".gnu_debugdata=mini.xz", "exact"]);
    check("MiniDebugInfo", &plain(&stripped), &chain);

    // A link to another file, by its name and checksum, in two places; and one that is not the right one.
    for place in ["exact.debug", ".debug/exact.debug"] {
        let stripped = fresh();
        std::fs::create_dir_all(at.join(".debug")).unwrap();
        run(at, "objcopy", &["--only-keep-debug", "exact", place]);
        run(at, "strip", &["exact"]);
        run(at, "objcopy", &[&format!("--add-gnu-debuglink={place}"), "exact"]);
        check(place, &plain(&stripped), &chain);
        run(at, "objcopy", &["--add-section", ".more=exact", place]);
        let named = plain(&stripped).with_frame(|frame| frame == "plain_top").samples();
        assert_eq!(named, 0, "{place} is another file by now");
        std::fs::remove_file(at.join(place)).unwrap();
    }

    // Packed debug information has inlined functions and names as any other.
    let packed = program(at, &[]);
    run(at, "objcopy", &["--compress-debug-sections=zstd", "exact"]);
    run(at, "strip", &["--strip-symbol=plain_top", "exact"]);
    check("zstd", &plain(&packed), &chain);
}

#[test]
fn debug_information_in_files_that_are_not_read_is_told_by_the_summary() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let installed = Installed::from_environment().unwrap();
    let told = |flags: &[&str]| {
        let program = program(folder.path(), flags);
        let running = Running::start(Command::new(&program).arg("plain"));
        let arguments = ["-F", "199", "-p", &running.pid()];
        let (output, stacks) = installed.record_until(folder.path(), &arguments, running.used(500));
        let chain = ["main", "plain_top", "plain_mid", "plain_leaf", "spin"];
        check(&format!("{flags:?}"), &stacks, &chain);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains(".dwo")).map(str::to_owned)
    };
    assert_eq!(told(&[]), None);
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let line = told(&["-gsplit-dwarf", version]).unwrap_or_else(|| panic!("{version}: nothing is said"));
        assert!(line.contains(" in 1 programs and libraries") && line.ends_with(": exact"), "{line}");
    }
}

#[test]
fn a_container_s_split_debug_information_is_found_inside() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for part in ["bin", "usr/lib/debug/bin"] {
        std::fs::create_dir_all(root.join(part)).unwrap();
    }
    let made = program(folder.path(), &["-static", "-Wl,--build-id=none"]);
    let debug = root.join("usr/lib/debug/bin/exact.debug");
    let [made_at, debug_at] = [&made, &debug].map(|path| path.to_str().unwrap());
    run(folder.path(), "objcopy", &["--only-keep-debug", made_at, debug_at]);
    run(folder.path(), "strip", &[made_at]);
    run(folder.path(), "objcopy", &[&format!("--add-gnu-debuglink={debug_at}"), made_at]);
    std::fs::rename(&made, root.join("bin/exact")).unwrap();
    let stacks = stacks_of(folder.path(), Command::new("chroot").arg(&root).args(["/bin/exact", "plain"]));
    check("inside", &stacks, &["main", "plain_top", "plain_mid", "plain_leaf", "spin"]);
}
