//! Capabilities of the running system, as the host probed them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Outcome {
    /// The facility works.
    Present,
    /// The facility is not there, or is refused.
    Absent {
        /// Why, in a few words: `"not mounted"`.
        reason: String,
        /// A remedy: `"mount -t tracefs tracefs /sys/kernel/tracing"`.
        remedy: String,
    },
    /// The probe itself failed; the facility may well be there.
    Unknown {
        /// The error, with the call that gave it.
        error: String,
    },
}

/// Every capability that the host probed, by name (`"kernel.btf"`, `"bpf.run.raw_tracepoint"`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(pub BTreeMap<String, Outcome>);

impl Capabilities {
    /// Tells whether `name` was probed and found to work.
    pub fn has(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Outcome::Present))
    }

    /// Returns the outcome of the probe of `name`; `None` for a name that this host does not probe.
    pub fn get(&self, name: &str) -> Option<&Outcome> {
        self.0.get(name)
    }
}
