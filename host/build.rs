//! Tells the host the folders that distributions keep its plugins in: by the multiarch triplet, or `lib64`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STACKSONDE_LIBDIR");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let env = match std::env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("musl") => "musl",
        _ => "gnu",
    };
    let usual = || format!("/usr/lib/{arch}-linux-{env}:/usr/lib64");
    let folders = std::env::var("STACKSONDE_LIBDIR").ok().filter(|folder| !folder.is_empty());
    println!("cargo::rustc-env=STACKSONDE_LIBRARY_FOLDERS={}", folders.unwrap_or_else(usual));
}
