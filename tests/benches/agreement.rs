//! The sampler's stacks beside those of libdw, and for Go's programs of its own table, on the same samples. Run by
//! `cargo xtask proof agreement` as root; prints a table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a check may panic")]

#[path = "../agreement/mod.rs"]
mod agreement;

use agreement::{compare, compile_go_reference, compile_go_target, compile_reference};
use stacksonde_tests::target::{Running, compile};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PYTHON: &str = "import json, re\n\
    while True: re.findall(r'\\d+', json.dumps(json.loads(json.dumps({str(i): [i, i / 3] for i in range(999)}, sort_keys=True))))";
const PERL: &str = "while (1) { my %h = map { $_ => sqrt $_ } 1..5000; my @s = sort { $h{$a} <=> $h{$b} } keys %h; \
    my $t = join ',', @s; $t =~ s/(\\d+)7/$1/g }";
const NODE: &str =
    "for (;;) JSON.parse(JSON.stringify(Array.from({length: 5000}, (_, i) => ({i, s: String(i)}))))";

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let reference = compile_reference(folder.path()).unwrap_or_else(|why| panic!("{why}"));
    let go_reference = compile_go_reference(folder.path()).unwrap_or_else(|why| panic!("{why}"));
    let go = compile_go_target(folder.path()).unwrap_or_else(|why| panic!("{why}"));
    let large = folder.path().join("large.c");
    std::fs::write(&large, large_file()).unwrap();
    let large = large.to_str().unwrap().to_owned();
    let target = |name: &str, flags: &[&str]| {
        let program = compile(name, folder.path(), &[flags, &["-fomit-frame-pointer"]].concat());
        program.to_str().unwrap().to_owned()
    };
    let chain = target("no_frame_pointers.c", &["-pthread", "-Wno-unused-result"]);
    let exceptions = target("exceptions.cpp", &[]);
    let cc1 = said("cc", &["-print-prog-name=cc1"]);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let programs = [
        ("no_frame_pointers chain", words(&[&chain, "chain"])),
        ("no_frame_pointers deep", words(&[&chain, "deep"])),
        ("no_frame_pointers leaf", words(&[&chain, "leaf"])),
        ("exceptions", words(&[&exceptions])),
        ("openssl speed", words(&["openssl", "speed", "-seconds", "60", "rsa2048"])),
        ("openssl speed, assembly", words(&["openssl", "speed", "-seconds", "60", "sha256"])),
        ("gcc (cc1)", words(&[&cc1, "-quiet", "-O2", &large, "-o", "/dev/null"])),
        ("python3", words(&["/usr/bin/python3", "-c", PYTHON])),
        ("perl", words(&["perl", "-e", PERL])),
        ("bash", words(&["bash", "-c", "while :; do x=${x}a; y=${x//a/b}; x=${x:0:99}; done"])),
        ("sha256sum", words(&["sha256sum", "/dev/zero"])),
        ("node", words(&["node", "-e", NODE])),
        ("Go, stripped", words(&[go.to_str().unwrap()])),
    ];
    println!("| program | samples | whole by ours | whole by the other | of these equal |");
    println!("|---------|---------|---------------|--------------------|----------------|");
    for (name, words) in programs {
        if !Path::new(&words[0]).is_absolute()
            && said("sh", &["-c", &format!("command -v {}", words[0])]).is_empty()
        {
            continue;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running::start(&mut command);
        std::thread::sleep(Duration::from_millis(300));
        let reference = if words[0] == go.to_str().unwrap() { &go_reference } else { &reference };
        let found = compare(reference, running.0.id(), Duration::from_secs(4), 499);
        let per_mille = found.per_mille();
        println!(
            "| {name} | {} | {} | {} | {} ({}.{} %) |",
            found.samples,
            found.complete,
            found.walked,
            found.equal,
            per_mille / 10,
            per_mille % 10
        );
        found.different.iter().for_each(|difference| eprintln!("{name}: {difference}"));
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// A file on which a compiler works for some seconds.
fn large_file() -> String {
    let function = |n: usize| {
        format!(
            "double f{n}(double *a, int n) {{ double r = 0; for (int i = 0; i < n; i++) {{ switch ((int)a[i] % 7) {{ \
             case 0: r += a[i] * {n}; break; case 1: for (int j = 0; j < i; j++) r -= a[j] / {n}.5; break; \
             default: r = r * 1.25 + a[i]; }} }} return r; }}\n"
        )
    };
    (1..6000).map(function).collect()
}
