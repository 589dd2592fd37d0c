//! Names of functions, whatever those who write programs call them and pack them into.

use stacksonde_tests::agent::Installed;
use stacksonde_tests::folded::Stacks;
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Records one program for three seconds.
fn record(program: &Path) -> (Output, Stacks) {
    let running = Running::start(&mut Command::new(program));
    let folder = program.parent().unwrap();
    Installed::from_environment().unwrap().record(folder, &["-d", "3", "-F", "99", "-p", &running.pid()])
}

/// Assembles and links a program of `text`.
pub(super) fn assemble(folder: &Path, name: &str, text: &str) -> PathBuf {
    let source = folder.join(name).with_extension("s");
    std::fs::write(&source, text).unwrap();
    let program = folder.join(name);
    let output =
        Command::new("cc").args(["-nostdlib", "-static", "-o"]).arg(&program).arg(&source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A function that runs forever, by its name.
pub(super) fn endless(name: &str) -> String {
    let jump = if cfg!(target_arch = "x86_64") { "jmp" } else { "b" };
    format!(
        ".text\n.globl _start\n_start: {jump} \"{name}\"\n.globl \"{name}\"\n.type \"{name}\", %function\n\
         \"{name}\": {jump} \"{name}\"\n.size \"{name}\", .-\"{name}\"\n"
    )
}

#[test]
fn names_that_stand_for_gigabytes_or_years_do_no_harm() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    // Each level repeats the one before ten times.
    let digit = |level: usize| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[level]);
    let level = |level| format!("S_I{}E", format!("S{}_", digit(level)).repeat(10));
    let repeats = |levels| format!("_Z1f1AIiiE{}", (0..levels).map(level).collect::<String>());
    let parsed_twice = format!("_Z1aIX{}{}", "nw".repeat(40), "E".repeat(40));
    let names = [
        (repeats(7), "f(A<int, int>"),
        (repeats(8), "f(A<int, int>"),
        (parsed_twice.clone(), parsed_twice.as_str()),
        ("x".repeat(100_000), "xxxx"),
    ];
    for (number, (mangled, shown)) in names.iter().enumerate() {
        let program = assemble(folder.path(), &format!("names{number}"), &endless(mangled));
        let (output, stacks) = record(&program);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let named = stacks.with_frame(|frame| frame.starts_with(shown) && frame.len() <= 4096);
        assert!(named.samples() > 0 && named.samples() * 10 >= stacks.samples() * 9, "{number}: {said}");
    }
}

#[test]
fn names_of_c_are_shown_as_they_are() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    for (kind, flags) in [("symbols", "-g0"), ("debug information", "-g"), ("compressed", "-gz")] {
        let (_, stacks) = record(&compile("plain_names.c", folder.path(), &[flags]));
        for name in ["f", "t", "St", "Pc"] {
            assert!(stacks.with_frame(|frame| frame == name).samples() > 0, "{kind}: {name}: {stacks:?}");
        }
    }
}

#[test]
fn a_program_of_any_number_of_sections_has_names() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    // From 65,280 on their number does not fit into the file's header.
    for count in [5_000, 66_000] {
        let mut text = endless("among_many_sections");
        for number in 0..count {
            writeln!(text, ".section s{number},\"\"\n.byte 0").unwrap();
        }
        let (output, stacks) = record(&assemble(folder.path(), "sections", &text));
        let named = stacks.with_frame(|frame| frame == "among_many_sections").samples();
        assert!(named > 0, "{count}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
