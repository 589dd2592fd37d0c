//! The role of an exporter: takes finished profiles.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stacksonde_batch::Batch;
use std::time::Duration;

/// The data that the host can hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Batch format versions, best first: `["1"]`.
    pub formats: Vec<String>,
    /// The largest batch that the host will hand over, in bytes.
    pub max_bytes: u64,
    /// Value types of samples: `["samples", "cpu"]`.
    pub value_types: Vec<String>,
    /// True if function names can be had.
    pub names_available: bool,
    /// The shortest interval between batches, in milliseconds.
    pub interval_ms: u64,
}

/// The wishes of an exporter; the default takes everything with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// The format chosen from [`Offer::formats`]; `None` takes the best.
    pub format: Option<String>,
    /// The largest batch that it takes, in bytes; `None` for no limit of its own.
    pub max_bytes: Option<u64>,
    /// True if it needs function names (the host symbolizes only if an exporter does).
    pub names: bool,
    /// The shortest interval between batches that it wants, in milliseconds; 0 for any.
    pub min_interval_ms: u64,
}

impl Default for Wants {
    fn default() -> Self {
        Self { format: None, max_bytes: None, names: true, min_interval_ms: 0 }
    }
}

/// The instance being created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name in the host's configuration: `exporters.<name>`.
    pub name: String,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// May succeed later; the host keeps the batch and tries again.
    #[error("{message}")]
    Retryable {
        /// A description of the failure.
        message: String,
        /// Not before this long from now; `None` leaves it to the host's back-off.
        after: Option<Duration>,
    },
    /// Will never succeed; the host drops the batch and counts it.
    #[error("{0}")]
    Permanent(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Retryable { message: error.to_string(), after: None }
    }
}

/// A plugin that takes profiles.
///
/// The host runs each instance on a thread of its own; calls never overlap. A panic drops the
/// instance, and the host creates it again with back-off.
pub trait Exporter: Send + Sized + 'static {
    /// The instance's section of the host's configuration. The manifest carries its JSON Schema.
    type Config: DeserializeOwned;

    /// Chooses from what the host offers, or refuses with a sentence.
    fn negotiate(_config: &Self::Config, _offer: &Offer) -> Result<Wants, String> {
        Ok(Wants::default())
    }

    /// Makes the instance; an error is a sentence for the operator.
    fn create(instance: Instance, config: Self::Config) -> Result<Self, String>;

    /// Takes one batch; it may be called again with the same batch after [`Failure::Retryable`].
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), Failure>;

    /// Sends what is held back, if anything.
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// The last call before the instance is dropped.
    fn shutdown(&mut self) -> Result<(), Failure> {
        self.flush()
    }
}
