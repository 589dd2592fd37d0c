//! Properties that writers and readers of batches rely on.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small, or drawn at random"
)]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod content;
mod damage;
mod golden;
mod growth;
mod merging;
mod roundtrip;
