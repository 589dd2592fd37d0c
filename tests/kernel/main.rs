//! The kernel tier: root, this machine's own kernel, real programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod accounting;
mod agreement;
mod books;
mod bytes;
mod chains;
mod changing;
mod docs;
mod doctor;
mod exact;
mod exporters;
mod filters;
mod hazards;
mod hostile;
mod kubernetes;
mod ladders;
mod lifecycle;
mod memory;
mod names;
mod namespaces;
mod neighbour;
mod offsets;
mod open_files;
mod otlp;
mod periodic;
mod plan;
mod preflight;
mod providers;
mod recalling;
mod refusals;
mod rejected;
mod reload;
mod rights;
mod terminal;
mod unwinding;
