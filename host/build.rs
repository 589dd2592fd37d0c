//! Tells the host its multiarch triplet, the name of the folder that distributions keep its plugins in.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let env = match std::env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("musl") => "musl",
        _ => "gnu",
    };
    println!("cargo::rustc-env=STACKSONDE_MULTIARCH={arch}-linux-{env}");
}
