//! What a reader and a writer of batches rely on.

#[path = "batch/damage.rs"]
mod damage;
#[path = "batch/golden.rs"]
mod golden;
#[path = "batch/growth.rs"]
mod growth;
#[path = "batch/random.rs"]
mod random;
#[path = "batch/roundtrip.rs"]
mod roundtrip;
