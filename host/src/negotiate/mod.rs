//! The decisions for this system: facts, hazards and capabilities make a [`Plan`].
//!
//! No I/O happens here. Capabilities are probed by [`crate::kernel`], providers are asked through
//! [`Provider`], facts are confirmed by [`crate::bpf`], and [`crate::plan`] joins them; so every
//! decision is a test of a table.
//!
//! - [`features`]: what the user gets, and what each way to it needs;
//! - [`facts`]: numbers about the kernel, and what is plausible for each;
//! - [`ask`]: which provider gives which fact;
//! - [`settle`]: which of the answers are used: confirmed, and compared where that is asked for;
//! - [`hazards`]: known kernel bugs, and what is done about each;
//! - [`plan`]: the decision, as data and as lines of text.

pub mod ask;
pub mod facts;
pub mod features;
pub mod hazards;
pub mod plan;
mod report;
pub mod settle;

pub use ask::{Answers, Provider, ask};
pub use facts::{Fact, Refusal};
pub use features::{FeatureState, State, needed_facts};
pub use hazards::{Finding, HazardState};
pub use plan::{Findings, Level, Missing, Plan, Wishes, decide};
pub use report::{Severity, used_for};
pub use settle::{Questions, settle};
