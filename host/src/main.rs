//! The agent's entry.
fn main() {}
