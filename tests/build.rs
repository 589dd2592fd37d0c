//! Compiles the BPF program that tests set against the sampler.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/bin/hammer.bpf.c");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let object = format!("{}/hammer.o", std::env::var("OUT_DIR").unwrap_or_default());
    let flags =
        ["-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Werror", "-c", "src/bin/hammer.bpf.c", "-o"];
    let status = Command::new(&clang).args(flags).arg(object).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("cargo::error=`{clang}` could not compile tests/src/bin/hammer.bpf.c; is clang installed?");
    }
}
