//! Creation of an exporter's instances, through either ABI.

use super::c;
use super::provider::json;
use abi_stable::std_types::{RBox, RStr};
use stacksonde_abi::{ExporterEntryRef, ExporterObject_TO, Fault, abi_stable};
use stacksonde_plugin::{Instance, Offer, Wants};

/// An instance of an exporter.
pub(super) type Object = ExporterObject_TO<'static, RBox<()>>;

/// The entry points by which an exporter's instances are made.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// A plugin in Rust.
    Rust(ExporterEntryRef),
    /// A plugin through the C door.
    C(c::Exporter),
}

impl Entry {
    /// Asks which parts of `offer` the exporter wants for an instance with `config`. The outer error is the plugin's,
    /// the inner one says why its answer is none.
    pub(super) fn negotiate(&self, config: &str, offer: &Offer) -> Result<Result<Wants, String>, Fault> {
        match self {
            Self::Rust(entry) => {
                let answer = (entry.negotiate())(RStr::from(config), RStr::from(json(offer).as_str()));
                let text = answer.into_result()?;
                Ok(serde_json::from_str(&text).map_err(|error| error.to_string()))
            }
            Self::C(exporter) => exporter.negotiate(config, offer).map(Ok),
        }
    }

    /// Makes the instance `name`.
    pub(super) fn create(&self, name: &str, config: &str) -> Result<Object, Fault> {
        match self {
            Self::Rust(entry) => {
                let instance = json(&Instance { name: name.into() });
                (entry.create())(RStr::from(instance.as_str()), RStr::from(config)).into_result()
            }
            Self::C(exporter) => exporter.create(name, config),
        }
    }
}
