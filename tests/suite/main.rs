//! Tests that need neither root nor a network.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod batch_command;
mod btf;
mod file_export;
mod filter;
mod fuzz;
mod messages;
mod msrv;
mod otlp_export;
mod page;
mod plugins;
mod prose;
mod top;
mod unwind;
mod view;
mod viewers;
