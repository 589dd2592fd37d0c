//! Everything that crosses between the host and a plugin.
//!
//! One static crosses: the header that [`export_root!`] exports, with the layout of [`Plugin`] and of
//! all that hangs from it. The host compares that layout with its own before it calls anything.
//!
//! # What may change within 1.x
//!
//! Only appends, each optional for the other side:
//! - a field after the last one of a prefix struct ([`Plugin`], [`ExporterEntry`], [`Host`]); the side
//!   that knows it asks whether it is there;
//! - a method with a default body after the last one of a trait object ([`ExporterObject`], ...).
//!
//! Structs that cross by value ([`Fault`]) are closed. Numbers with names ([`FaultKind`], [`Level`])
//! are structs, not enums, so that a value from a newer side is a number not known, and not undefined
//! behaviour.
//!
//! # What crosses as text, and why
//!
//! Capabilities, readiness, answers, verdicts, offers and wants cross as JSON. They are handed over a
//! few times in the life of the agent, so their cost is nothing, and a field that is added to one of
//! them is not a change of layout: the older side ignores it. The batch, which crosses all the time, is
//! one borrowed slice of bytes with a format of its own.
//!
//! # Panics
//!
//! None may reach this boundary: it would end the process. The plugin's side (`stacksonde-plugin`)
//! catches every one, including those of destructors, and answers [`FaultKind::POISONED`].

mod fault;
mod host;
mod object;
mod root;

pub use fault::{Fault, FaultKind};
pub use host::{Host, HostRef, Level};
pub use object::{ExporterObject, ExporterObject_TO, ProviderObject, ProviderObject_TO};
pub use object::{SafetyCheckObject, SafetyCheckObject_TO};
pub use root::{ExporterEntry, ExporterEntryRef, Plugin, PluginRef};

#[doc(hidden)]
pub use abi_stable;

/// Version of this ABI as manifests state it: major and minor.
pub const ABI_VERSION: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// Version of this crate, as layouts state it.
pub const CRATE_VERSION: &str = env!("CARGO_PKG_VERSION");
