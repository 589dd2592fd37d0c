//! Test support of Stacksonde: real programs, the built agent, and what it wrote.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

pub mod agent;
pub mod browser;
pub mod collector;
pub mod cpu_time;
pub mod daemon;
pub mod damage;
pub mod folded;
pub mod fuzz;
pub mod go_program;
pub mod health;
pub mod newer_abi;
pub mod plugin;
pub mod profile;
pub mod root;
pub mod skip;
pub mod target;
pub mod tmux;
pub mod wait;
pub mod witness;
