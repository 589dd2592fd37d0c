//! Tools for the author of a Stacksonde plugin: plain Rust traits and [`export_plugin!`].
//!
//! A plugin takes one or more roles: it finds offsets in the running kernel
//! ([`OffsetProvider`]), judges a known kernel bug ([`SafetyCheck`]) or takes profiles
//! ([`Exporter`]). No type of the ABI appears here; the macro translates.

pub mod capability;
mod export;
pub mod exporter;
pub mod fact;
mod forward;
mod guard;
pub mod hazard;
pub mod manifest;
mod note;
mod role;
pub mod testing;

pub use stacksonde_batch as batch;

pub use capability::{Capabilities, Outcome};
pub use exporter::{Exporter, Failure, Instance, Offer, Wants};
pub use fact::{Answer, Offset, OffsetProvider, Readiness};
pub use hazard::{SafetyCheck, Verdict};
pub use manifest::Manifest;

/// Items that [`export_plugin!`] expands to. They are not for authors, and free to change.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{init, plugin, with_exporter, with_offset_provider, with_safety_check};
    pub use crate::manifest::SCHEMA;
    pub use crate::note::{Note, PANIC, TARGET, join, padded};
    pub use stacksonde_abi::abi_stable::{prefix_type::WithMetadata, std_types::RResult};
    pub use stacksonde_abi::{ABI_VERSION, Fault, HostRef, Plugin, PluginRef, entry_symbol, export_root};
}
