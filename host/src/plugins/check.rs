//! The host's end of a safety check.

use super::deadline::{Answerer, PluginError};
use super::provider::json;
use abi_stable::std_types::{RBox, RResult, RStr};
use stacksonde_abi::{Fault, SafetyCheckObject_TO, abi_stable};
use stacksonde_plugin::{Capabilities, Verdict};
use std::fmt;

/// A safety check of a plugin. Each call waits for its answer, with a deadline.
pub struct SafetyCheck(Answerer<SafetyCheckObject_TO<'static, RBox<()>>>);

impl fmt::Debug for SafetyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SafetyCheck {
    pub(super) fn create(
        plugin: &str,
        create: extern "C" fn() -> RResult<SafetyCheckObject_TO<'static, RBox<()>>, Fault>,
    ) -> Result<Self, PluginError> {
        Answerer::start(plugin, move || create()).map(Self)
    }

    /// The hazards that it judges.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: the check has nothing to say.
    pub fn hazards(&self) -> Result<Vec<String>, PluginError> {
        self.0.ask("hazards", |check| check.hazards())
    }

    /// Judges `hazard` on the kernel of upstream version `kernel`.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: as if the verdict were [`Verdict::Unproven`].
    pub fn assess(
        &self,
        hazard: &str,
        kernel: [u32; 3],
        capabilities: &Capabilities,
    ) -> Result<Verdict, PluginError> {
        let (hazard, capabilities) = (hazard.to_owned(), json(capabilities));
        self.0.ask("assess", move |check| {
            let [major, minor, patch] = kernel;
            check.assess(RStr::from(hazard.as_str()), major, minor, patch, RStr::from(capabilities.as_str()))
        })
    }
}
