//! Stacksonde plugin `otlp-export`: profiles to an OpenTelemetry Collector, or whatever speaks OTLP.
//!
//! ```text
//! config        the operator's keys ──┐
//! environment   OTEL_EXPORTER_OTLP_* ─┼▶ Destination
//! proxy         HTTPS_PROXY, NO_PROXY ┘
//! exporter      the plugin's role: batch in, messages out, what was accepted remembered
//! convert       a batch as messages, each whole by itself and below the receiver's limit
//! dictionary    what the samples of a message refer to, each thing once
//! resource      what is said of a process and of the host
//! transport     grpc, http: one message there, the answer back, over a connection of connect's
//! answer        what a refusal asks for: again, smaller, never
//! acceptance    what a success says; body unpacks what it says it in
//! ```

mod acceptance;
mod answer;
mod body;
mod config;
mod convert;
mod dictionary;
mod environment;
mod exporter;
mod proxy;
mod resource;
mod transport;

#[doc(hidden)]
pub mod fuzz;

pub use config::{Compression, Config, ConfigError, Header, Protocol, Symbolize, Tls};
#[doc(hidden)]
pub use convert::{Message, Messages};
pub use exporter::OtlpExport;

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    exporter: OtlpExport,
}
