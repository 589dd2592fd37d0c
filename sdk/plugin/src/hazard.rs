//! The role of a safety check: does a known kernel bug apply here?

use crate::Capabilities;
use serde::{Deserialize, Serialize};

/// The verdict of a check on one hazard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Proved absent.
    Safe {
        /// The proof.
        evidence: String,
    },
    /// Proved present.
    Affected {
        /// The proof.
        evidence: String,
    },
    /// The check could not be made; says nothing about the kernel.
    Unproven {
        /// A description of the failure.
        reason: String,
    },
}

/// A plugin that judges known kernel bugs.
///
/// The host asks only on kernels within the hazard's version range, and applies the hazard's
/// mitigation unless the answer is [`Verdict::Safe`].
pub trait SafetyCheck: Send + 'static {
    /// The hazards that this check judges, by name.
    fn hazards(&self) -> Vec<String>;

    /// Judges `hazard` on the kernel of version `kernel` (upstream, `[major, minor, patch]`).
    fn assess(&mut self, hazard: &str, kernel: [u32; 3], capabilities: &Capabilities) -> Verdict;
}
