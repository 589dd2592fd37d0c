//! Compiles the C that tests and benchmarks need: BPF programs that the sampler is set against, and the
//! sampler's unwinder and filter for user space.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let out = Path::new(&out);
    for name in ["hammer", "floor"] {
        let source = format!("src/bin/{name}.bpf.c");
        compile(&source, &["-target", "bpf", "-mcpu=v2", "-g"], &out.join(format!("{name}.o")));
    }

    let architecture = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "-DSTACKSONDE_AARCH64",
        _ => "-DSTACKSONDE_X86_64",
    };
    println!("cargo::rerun-if-changed=../ebpf/bpf");
    let desks = ["unwind", "filter"].map(|what| {
        let object = out.join(what).with_extension("o");
        compile(&format!("suite/{what}/desk.c"), &[architecture, "-fPIC"], &object);
        object
    });
    let archive = out.join("libdesk.a");
    let _old = std::fs::remove_file(&archive);
    let archived = Command::new("ar").arg("rcs").arg(&archive).args(&desks).status();
    if !archived.is_ok_and(|status| status.success()) {
        println!("cargo::error=`ar` could not make {}; is binutils installed?", archive.display());
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=desk");
}

fn compile(source: &str, flags: &[&str], object: &Path) {
    println!("cargo::rerun-if-changed={source}");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let mut command = Command::new(&clang);
    command.args(flags).args(["-O2", "-Wall", "-Werror", "-c", source, "-o"]).arg(object);
    if !command.status().is_ok_and(|status| status.success()) {
        println!("cargo::error=`{clang}` could not compile tests/{source}; is clang installed?");
    }
}
