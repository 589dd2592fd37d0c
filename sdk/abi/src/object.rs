//! The objects that a plugin makes: one trait a role.
//!
//! Every object is called by one thread at a time. `close` drops what the plugin's author wrote, so
//! that a panic in a destructor is an answer too; after it, only the object itself is dropped.
#![allow(missing_docs, unreachable_pub, reason = "`sabi_trait` generates items without documentation")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "`sabi_trait` generates unsafe blocks")]
#![allow(non_local_definitions, reason = "`sabi_trait` generates impls inside a module of its own")]
#![allow(unsafe_op_in_unsafe_fn, reason = "`sabi_trait` generates unsafe functions")]

use crate::Fault;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RResult, RSlice, RStr, RString};

/// Finds offsets in the running kernel.
#[sabi_trait]
pub trait ProviderObject: Send {
    /// The facts that it can be asked for: a JSON array of strings.
    fn provides(&self) -> RResult<RString, Fault>;

    /// From capabilities (JSON) to readiness (JSON).
    fn probe(&mut self, capabilities: RStr<'_>) -> RResult<RString, Fault>;

    /// From queries (a JSON array of strings) to answers (a JSON array of the same length).
    fn discover(&mut self, queries: RStr<'_>) -> RResult<RString, Fault>;

    /// Takes the plugin's section of the configuration (a JSON object).
    fn configure(&mut self, config: RStr<'_>) -> RResult<(), Fault>;

    /// Drops what is behind this object.
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> RResult<(), Fault>;
}

/// Judges known kernel bugs.
#[sabi_trait]
pub trait SafetyCheckObject: Send {
    /// The hazards that it judges: a JSON array of strings.
    fn hazards(&self) -> RResult<RString, Fault>;

    /// From a hazard, an upstream version and capabilities (JSON) to a verdict (JSON).
    fn assess(
        &mut self,
        hazard: RStr<'_>,
        major: u32,
        minor: u32,
        patch: u32,
        capabilities: RStr<'_>,
    ) -> RResult<RString, Fault>;

    /// Drops what is behind this object.
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> RResult<(), Fault>;
}

/// Takes profiles.
#[sabi_trait]
pub trait ExporterObject: Send {
    /// Takes one batch, borrowed for the call.
    fn export(&mut self, batch: RSlice<'_, u8>) -> RResult<(), Fault>;

    /// Sends what is held back.
    fn flush(&mut self) -> RResult<(), Fault>;

    /// The last call before `close`.
    fn shutdown(&mut self) -> RResult<(), Fault>;

    /// Drops what is behind this object.
    #[sabi(last_prefix_field)]
    fn close(&mut self) -> RResult<(), Fault>;
}
