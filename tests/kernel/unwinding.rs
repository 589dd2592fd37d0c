//! Programs without frame pointers are shown with their whole stacks.

use stacksonde_tests::agent::{FIXED, Installed, lost};
use stacksonde_tests::cpu_time::Used;
use stacksonde_tests::daemon::Daemon;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name, as the kernel keeps it: 15 bytes.
const TARGET: &str = "no_frame_pointe";

fn target(folder: &Path) -> PathBuf {
    compile(
        "no_frame_pointers.c",
        folder,
        &["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread", "-Wno-unused-result"],
    )
}

/// The stacks of the target doing `what`, all of them complete and from its root on.
fn stacks_of(what: &str) -> Stacks {
    let folder = tempfile::tempdir().unwrap();
    let program = target(folder.path());
    recorded(folder.path(), Command::new(program).arg(what))
}

/// The stacks of a program, from shortly after its start on, for two seconds of its CPU time.
fn recorded(folder: &Path, command: &mut Command) -> Stacks {
    let running = Running::start(command);
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) =
        installed.record_until(folder, &["-F", "199", "-p", &running.pid()], running.used(2000));
    assert!(stacks.samples() > 60, "{command:?}: {} samples", stacks.samples());
    stacks
}

/// Checks that nearly all samples have `chain`, and that all but a few in a hundred are complete.
fn expect(what: &str, chain: &[&str]) {
    check(what, &stacks_of(what), chain);
}

fn check(what: &str, stacks: &Stacks, chain: &[&str]) {
    let found = stacks.with_chain(chain).samples();
    assert!(found * 100 >= stacks.samples() * 97, "{what}: {found} of {}: {stacks:?}", stacks.samples());
    let incomplete = stacks.incomplete();
    assert!(incomplete.samples() * 200 <= stacks.samples(), "{what}: {incomplete:?}");
}

#[test]
fn a_chain_from_the_first_sample_on() {
    kernel_tier!();
    expect("chain", &["main", "outer", "middle", "inner"]);
}

#[test]
fn two_hundred_frames_deep() {
    kernel_tier!();
    let chain = [&["main", "outer"][..], &["deep"; 200], &["inner"]].concat();
    expect("deep", &chain);
}

#[test]
fn out_of_a_signal_handler_into_what_it_interrupted() {
    kernel_tier!();
    let stacks = stacks_of("signal");
    let handler = stacks.with_chain(&["handler", "inner"]);
    let interrupted = handler.with_chain(&["main", "outer", "interrupted"]);
    assert!(interrupted.samples() * 100 >= stacks.samples() * 97, "{stacks:?}");
    assert!(stacks.incomplete().samples() * 200 <= stacks.samples(), "{:?}", stacks.incomplete());
}

#[test]
fn out_of_the_vdso() {
    kernel_tier!();
    expect("vdso", &["main", "outer", "clock_often"]);
}

#[test]
fn over_a_frame_larger_than_any_copy_of_a_stack() {
    kernel_tier!();
    // Samples stop at the copy's end until the rows are in the tables; then the kernel walks on.
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(Command::new(target(folder.path())).arg("wide"));
    let daemon = Daemon::start(1, "");
    daemon.wait_until("a profile of whole stacks", |profiles| {
        profiles.iter().any(|profile| {
            let all = profile.of(TARGET);
            let found = all.with_chain(&["main", "outer", "wide", "inner"]).samples();
            found > 5 && found * 100 >= all.samples() * 97
        })
    });
}

#[test]
fn over_a_frame_whose_base_was_saved_in_it() {
    kernel_tier!();
    expect("aligned", &["main", "outer", "aligned", "inner"]);
}

#[test]
fn a_thread_down_to_its_clone() {
    kernel_tier!();
    let stacks = stacks_of("thread");
    let found = stacks.with_chain(&["start_thread", "thread", "outer", "middle", "inner"]);
    assert!(found.samples() * 100 >= stacks.samples() * 97, "{stacks:?}");
    assert!(stacks.incomplete().samples() * 200 <= stacks.samples(), "{:?}", stacks.incomplete());
}

#[test]
fn processes_of_fifty_milliseconds() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = target(folder.path());
    let installed = Installed::from_environment().unwrap();
    let (output, stacks) =
        installed.record(folder.path(), &["-F", "199", FIXED, "--", program.to_str().unwrap(), "brief"]);
    let stacks = stacks.of(TARGET);
    Used::said_in(&String::from_utf8_lossy(&output.stdout)).check(199.0, stacks.samples(), lost(&output));
    // Some ticks fall into their beginnings and ends, and into their parent.
    let found = stacks.with_chain(&["main", "brief", "inner"]).samples();
    assert!(found * 100 >= stacks.samples() * 95, "{found} of {}: {stacks:?}", stacks.samples());
    assert!(stacks.incomplete().samples() * 100 <= stacks.samples(), "{:?}", stacks.incomplete());
}

#[test]
fn a_leaf_before_its_frame_is_made_and_after_it_is_gone() {
    kernel_tier!();
    expect("leaf", &["main", "outer", "leaf"]);
}

/// Each is a way to link the same program.
#[test]
fn static_programs_wherever_they_are_loaded() {
    kernel_tier!();
    for how in ["-static", "-static-pie"] {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(
            "no_frame_pointers.c",
            folder.path(),
            &["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread", "-Wno-unused-result", how],
        );
        let stacks = recorded(folder.path(), Command::new(program).arg("chain"));
        check(how, &stacks, &["main", "outer", "middle", "inner"]);
    }
}

#[test]
fn a_program_with_another_c_library() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/no_frame_pointers.c");
    let program = folder.path().join("no_frame_pointers");
    let flags =
        ["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-fasynchronous-unwind-tables"];
    let compiled = Command::new("musl-gcc").args(flags).arg(source).arg("-o").arg(&program).output();
    let compiled = compiled.unwrap_or_else(|error| panic!("musl-gcc (Debian: musl-tools): {error}"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let stacks = recorded(folder.path(), Command::new(program).arg("chain"));
    let found = stacks.with_chain(&["main", "outer", "middle", "inner"]).samples();
    // musl itself has no unwind information: whether the walk leaves it by a frame pointer is not ours to say.
    assert!(found * 100 >= stacks.samples() * 97, "{found} of {}: {stacks:?}", stacks.samples());
}

#[test]
fn through_the_runtime_of_c_plus_plus_while_it_unwinds() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program =
        compile("exceptions.cpp", folder.path(), &["-fomit-frame-pointer", "-momit-leaf-frame-pointer"]);
    let stacks = recorded(folder.path(), &mut Command::new(program));
    let thrown = stacks.with_chain(&["main", "outer", "catcher", "thrower"]).samples();
    assert!(thrown * 2 > stacks.samples(), "{thrown} of {}: {stacks:?}", stacks.samples());
    // In the few instructions in which the runtime has put the handler's registers and return address into its own
    // frame, and has not left that yet, the stack is not a stack.
    let whole = stacks.with_chain(&["main", "outer", "catcher"]);
    let whole = whole.samples() - whole.incomplete().samples();
    assert!(
        whole * 100 >= stacks.samples() * 96,
        "{whole} of {}: {:?}",
        stacks.samples(),
        stacks.incomplete()
    );
}

#[test]
fn a_library_that_is_loaded_late() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer"];
    let library = compile("loaded.c", folder.path(), &[&flags[..], &["-shared", "-fPIC"]].concat());
    let program = compile("loads.c", folder.path(), &flags);
    let stacks = recorded(folder.path(), Command::new(program).arg(library));
    let before = stacks.with_chain(&["main", "before"]).samples();
    let after = stacks.with_chain(&["main", "with_library", "loaded_outer", "loaded_inner"]).samples();
    assert!(after > 100 && (before + after) * 100 >= stacks.samples() * 97, "{before} + {after}: {stacks:?}");
    assert!(stacks.incomplete().samples() * 200 <= stacks.samples(), "{:?}", stacks.incomplete());
}

#[test]
fn a_rust_program_without_frame_pointers() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let program = compile("rust_chain.rs", folder.path(), &["-C", "force-frame-pointers=no"]);
    let stacks = recorded(folder.path(), &mut Command::new(program));
    check(
        "rust",
        &stacks,
        &["rust_chain::main", "rust_chain::outer", "rust_chain::middle", "rust_chain::inner"],
    );
}
