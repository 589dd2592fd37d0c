//! What writers and readers of batches rely on.

mod content;
mod damage;
mod golden;
mod growth;
mod roundtrip;
