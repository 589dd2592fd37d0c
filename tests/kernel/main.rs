//! The kernel tier: root, this machine's own kernel, real programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod books;
mod chains;
mod doctor;
mod exporters;
mod hazards;
mod ladders;
mod lifecycle;
mod namespaces;
mod offsets;
mod otlp;
mod plan;
mod providers;
mod refusals;
mod rejected;
mod unwinding;
