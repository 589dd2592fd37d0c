//! Stacksonde, the agent: samples every program and the kernel, and hands profiles to exporters.
//!
//! See `ARCHITECTURE.md` for a map of these modules.

// What others chose (names, contents of files, answers) must not act on a terminal; `terminal::say` sees to it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod agent;
pub mod batch;
pub mod blocking;
pub mod bpf;
pub mod cli;
pub mod config;
pub mod control;
pub mod descriptors;
pub mod feed;
pub mod filter;
#[doc(hidden)]
pub mod fuzz;
pub mod health;
pub mod kernel;
mod map;
pub mod memory;
pub mod negotiate;
pub mod plan;
pub mod plugins;
mod priority;
pub mod process;
pub mod profile;
pub mod progress;
pub mod summary;
pub mod symbolize;
mod system_call;
pub mod telemetry;
pub mod terminal;
pub mod top;
pub mod unwind;
pub mod view;
