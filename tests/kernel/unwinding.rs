//! Programs without frame pointers are shown with their whole stacks.

use stacksonde_tests::agent::Installed;
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
    let running = Running::start(Command::new(program).arg(what));
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) = installed.record(folder.path(), &["-d", "3", "-F", "199", "-p", &running.pid()]);
    assert!(stacks.samples() > 100, "{what}: {} samples", stacks.samples());
    stacks
}

/// Checks that nearly all samples have `chain`, and that all but a few in a hundred are complete.
fn expect(what: &str, chain: &[&str]) {
    let stacks = stacks_of(what);
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
    // The first samples stop at the copy's end; once the rows are in the tables, the kernel walks on.
    let stacks = stacks_of("wide");
    let found = stacks.with_chain(&["main", "outer", "wide", "inner"]).samples();
    assert!(found * 100 >= stacks.samples() * 95, "{found} of {}: {stacks:?}", stacks.samples());
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
    let (_, stacks) =
        installed.record(folder.path(), &["-F", "199", "--", program.to_str().unwrap(), "brief"]);
    let stacks = stacks.of(TARGET);
    // A hundred times 50 ms at 199 Hz.
    let found = stacks.with_chain(&["main", "brief", "inner"]).samples();
    assert!((940..=1060).contains(&found), "{found}: {stacks:?}");
    assert!(stacks.incomplete().samples() * 100 <= stacks.samples(), "{:?}", stacks.incomplete());
}
