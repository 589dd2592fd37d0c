//! What the author of a Stacksonde plugin uses: plain Rust traits and [`export_plugin!`].
//!
//! A plugin takes one or more roles: it finds offsets in the running kernel
//! ([`OffsetProvider`]), judges a known kernel bug ([`SafetyCheck`]) or takes profiles
//! ([`Exporter`]). No type of the ABI appears here; the macro translates.

pub mod capability;
pub mod exporter;
pub mod fact;
pub mod hazard;

pub use stacksonde_batch as batch;

pub use capability::{Capabilities, Outcome};
pub use exporter::{Exporter, Failure, Instance, Offer, Wants};
pub use fact::{Answer, Offset, OffsetProvider, Readiness};
pub use hazard::{SafetyCheck, Verdict};
