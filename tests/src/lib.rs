//! Test support of Stacksonde.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

pub mod fuzz;
pub mod profile;
pub mod skip;
