//! The tier of runtimes: interpreters and virtual machines of languages, unpacked by `cargo xtask test --tier runtimes`,
//! run a program whose functions are known, and are profiled. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod native;
mod profiled;
mod row;
