//! The kernel tier: root, this machine's own kernel, real programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod agreement;
mod books;
mod chains;
mod docs;
mod doctor;
mod exporters;
mod filters;
mod hazards;
mod hostile;
mod kubernetes;
mod ladders;
mod lifecycle;
mod memory;
mod namespaces;
mod offsets;
mod otlp;
mod plan;
mod providers;
mod recalling;
mod refusals;
mod rejected;
mod reload;
mod terminal;
mod unwinding;
