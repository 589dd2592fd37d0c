//! Code that comes, goes and is changed while it is sampled: the kernel's own, a program's, and return addresses.

use super::exact::stacks_of;
use super::recalling::library;
use stacksonde_tests::agent::Installed;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::{Running, compile};
use std::path::Path;
use std::process::Command;

#[test]
fn bpf_programs_have_their_names_even_those_that_came_and_went_meanwhile() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&mut Command::new(compile("bpf_program.c", folder.path(), &[])));
    let pid = running.pid();
    // A third of the time in each, from when it is sampled.
    let (mut steps, mut is_over) = (0, None);
    let until = |agent| {
        if is_over.get_or_insert_with(|| running.used(500))(agent) {
            let status = Command::new("kill").args(["-USR1", &pid]).status().unwrap();
            assert!(status.success());
            (steps, is_over) = (steps + 1, None);
        }
        steps == 3
    };
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) = installed.record_until(folder.path(), &["-F", "199", "-p", &pid], until);
    for name in ["early_program", "late_program"] {
        let named = stacks
            .with_frame(|frame| frame.starts_with("bpf_prog_") && frame.ends_with(&format!("_{name}_[k]")));
        assert!(named.samples() > 20, "{name}: {} of {stacks:?}", named.samples());
        let below_run = named.with_chain(&["main", "run", "syscall"]).samples();
        assert!(below_run * 100 >= named.samples() * 95, "{name}: {below_run} of {named:?}");
    }
    let nameless = stacks.with_frame(|frame| frame.starts_with("[0x") && frame.ends_with("_[k]"));
    assert_eq!(nameless.samples(), 0, "{nameless:?}");
}

#[test]
fn a_return_that_is_probed_ends_a_stack_by_its_own_name() {
    kernel_tier!();
    if !Path::new("/sys/bus/event_source/devices/uprobe/type").exists() {
        return skip("a_return_that_is_probed_ends_a_stack_by_its_own_name", "this kernel has no uprobes");
    }
    let folder = tempfile::tempdir().unwrap();
    let program = compile("return_probed.c", folder.path(), &[]);
    let stacks = stacks_of(folder.path(), &mut Command::new(&program));
    let inside = stacks.with_chain(&["probed", "spin"]);
    assert!(inside.samples() * 100 >= stacks.samples() * 95, "{stacks:?}");
    // Nothing is made up below it: the mark stands where the caller's frame would.
    let marked = inside.with_chain(&["[incomplete: return_probed]", "probed", "spin"]);
    assert!(marked.samples() * 100 >= inside.samples() * 98, "{inside:?}");
    let complete = inside.matching(|frames| !frames.iter().any(|frame| frame.starts_with("[incomplete")));
    let true_ones = complete.with_chain(&["main", "outer", "probed", "spin"]);
    assert_eq!(complete.samples(), true_ones.samples(), "{complete:?}");
}

#[test]
fn a_library_that_takes_another_s_place_costs_few_stacks() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let libraries = ["3", "40"].map(|words| library(folder.path(), words));
    let program = compile("remaps.c", folder.path(), &["-fomit-frame-pointer", "-momit-leaf-frame-pointer"]);
    let running = Running::start(Command::new(program).args(libraries).arg("500000000"));
    let installed = Installed::from_environment().unwrap();
    let (_, stacks) =
        installed.record_until(folder.path(), &["-F", "199", "-p", &running.pid()], running.used(3000));
    let spinning = stacks.with_frame(|frame| frame == "spin");
    let whole: u64 = ["work_3", "work_40"]
        .iter()
        .map(|work| {
            let found = spinning.with_chain(&["main", "work", work, "spin"]).samples();
            assert!(found > 5, "{work}: {stacks:?}");
            found
        })
        .sum();
    // One sample or two of each that was loaded, of some fifty.
    let replaced = spinning.with_frame(|frame| frame == "[incomplete: code_replaced]").samples();
    assert!(replaced * 10 <= spinning.samples(), "{replaced} of {stacks:?}");
    assert_eq!(spinning.samples(), whole + replaced, "{stacks:?}");
}
