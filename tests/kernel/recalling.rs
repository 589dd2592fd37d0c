//! The unwind rules that the sampler has cached are never wrong: each frame is looked up, too, while code changes under
//! the same addresses.

use stacksonde_tests::agent::{Installed, config_in};
use stacksonde_tests::kernel_tier;
use stacksonde_tests::target::{Running, compile};
use std::path::Path;
use std::process::Command;

pub(super) fn library(folder: &Path, words: &str) -> std::path::PathBuf {
    let built = compile(
        "remaps.c",
        folder,
        &[
            "-shared",
            "-fPIC",
            "-fomit-frame-pointer",
            "-momit-leaf-frame-pointer",
            &format!("-DFRAME={words}"),
        ],
    );
    let library = folder.join(format!("{words}.so"));
    std::fs::rename(built, &library).unwrap();
    library
}

/// A number of the log, such as `recalled: 12`, summed over intervals.
fn counted(log: &str, name: &str) -> u64 {
    let name = format!("{name}: ");
    let values = log.match_indices(&name).map(|(at, found)| {
        let digits = log[at + found.len()..].split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u64>().ok()).unwrap()
    });
    values.sum()
}

#[test]
fn nothing_is_recalled_that_is_not_so_any_more() {
    kernel_tier!();
    let folder = tempfile::tempdir().unwrap();
    let libraries = ["3", "40"].map(|words| library(folder.path(), words));
    let program = compile("remaps.c", folder.path(), &["-fomit-frame-pointer", "-momit-leaf-frame-pointer"]);
    let running = Running::start(Command::new(program).args(libraries));
    let config = config_in(folder.path(), "[sampling]\nverify_unwinding = true\n");
    let config = config.to_str().unwrap();
    let arguments = ["--config", config, "--log", "debug", "-F", "499", "-p", &running.pid()];
    let installed = Installed::from_environment().unwrap();
    let (output, stacks) = installed.record_until(folder.path(), &arguments, running.used(4000));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(counted(&log, "mistaken"), 0, "{log}");
    assert!(counted(&log, "recalled") > 1000 && counted(&log, "looked_up") > 50, "{log}");
    for work in ["work_3", "work_40"] {
        assert!(stacks.with_chain(&["main", "work", work, "spin"]).samples() > 50, "{work}: {stacks:?}");
    }
    // Until the sampler knows of other code under the same addresses it may walk wrongly, and says so.
    let spinning = stacks.with_frame(|frame| frame == "spin");
    let whole = |frames: &[String]| {
        ["work_3", "work_40"]
            .iter()
            .any(|work| frames.windows(4).any(|f| f == ["main", "work", work, "spin"]))
    };
    let replaced = |frames: &[String]| frames.iter().any(|frame| frame == "[incomplete: code_replaced]");
    let wrong = spinning.matching(|frames| !whole(frames) && !replaced(frames));
    assert_eq!(wrong.samples(), 0, "{wrong:?}");
}
