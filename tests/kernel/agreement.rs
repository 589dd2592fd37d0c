//! Independent unwinders find the same stacks.

#[path = "../agreement/mod.rs"]
mod reference;

use reference::{compare, compile_go_reference, compile_go_target, compile_reference};
use stacksonde_tests::root_only;
use stacksonde_tests::skip::skip;
use stacksonde_tests::target::{Running, compile};
use std::process::Command;
use std::time::Duration;

#[test]
fn libdw_finds_the_same_stacks_in_the_same_samples() {
    root_only!();
    let folder = tempfile::tempdir().unwrap();
    let reference = match compile_reference(folder.path()) {
        Ok(reference) => reference,
        Err(why) => return skip("libdw_finds_the_same_stacks_in_the_same_samples", &why),
    };
    let flags = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer", "-pthread", "-Wno-unused-result"];
    let target = compile("no_frame_pointers.c", folder.path(), &flags);
    let target = target.to_str().unwrap();
    let python = "import json\nwhile True: json.loads(json.dumps({str(i): [i, i / 3] for i in range(999)}, sort_keys=True))";
    for words in [
        &[target, "chain"][..],
        &[target, "deep"],
        &[target, "aligned"],
        &["openssl", "speed", "-seconds", "600", "rsa2048"],
        &["/usr/bin/python3", "-c", python],
    ] {
        let mut command = Command::new(words[0]);
        let running = Running::start(
            command.args(&words[1..]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()),
        );
        let found = compare(&reference, running.0.id(), Duration::from_secs(1), 499);
        eprintln!("{words:?}: {found}");
        assert!(found.walked > 50, "{words:?}: {found}");
        assert!(found.per_mille() >= 990, "{words:?}: {found}\n{}", found.different.join("\n"));
    }
}

#[test]
fn go_s_own_table_finds_the_same_stacks_in_the_same_samples() {
    root_only!();
    let folder = tempfile::tempdir().unwrap();
    let compiled = (compile_go_reference(folder.path()), compile_go_target(folder.path()));
    let (reference, target) = match compiled {
        (Ok(reference), Ok(target)) => (reference, target),
        (Err(why), _) | (_, Err(why)) => {
            return skip("go_s_own_table_finds_the_same_stacks_in_the_same_samples", &why);
        }
    };
    let running = Running::start(&mut Command::new(target));
    let found = compare(&reference, running.0.id(), Duration::from_secs(1), 499);
    eprintln!("Go: {found}");
    assert!(found.walked > 50, "{found}");
    assert!(found.per_mille() >= 990, "{found}\n{}", found.different.join("\n"));
}
