//! The host's end of an offset provider.

use super::deadline::{Answerer, PluginError};
use abi_stable::std_types::{RBox, RResult, RStr};
use serde::Serialize;
use stacksonde_abi::{Fault, ProviderObject_TO, abi_stable};
use stacksonde_plugin::{Answer, Capabilities, Readiness};
use std::fmt;

/// An offset provider of a plugin. Each call waits for its answer, with a deadline.
pub struct OffsetProvider(Answerer<ProviderObject_TO<'static, RBox<()>>>);

impl fmt::Debug for OffsetProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl OffsetProvider {
    pub(super) fn create(
        plugin: &str,
        create: extern "C" fn() -> RResult<ProviderObject_TO<'static, RBox<()>>, Fault>,
    ) -> Result<Self, PluginError> {
        Answerer::start(plugin, move || create()).map(Self)
    }

    /// Gives it its section of the configuration.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: what the provider says of the section, for one.
    pub fn configure(&self, config: &serde_json::Map<String, serde_json::Value>) -> Result<(), PluginError> {
        let config = json(config);
        self.0.order("configure", move |provider| provider.configure(RStr::from(config.as_str())))
    }

    /// The facts that it can be asked for.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: the provider has nothing to say.
    pub fn provides(&self) -> Result<Vec<String>, PluginError> {
        self.0.ask("provides", |provider| provider.provides())
    }

    /// Asks whether it can answer on this system.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: as if it were unavailable.
    pub fn probe(&self, capabilities: &Capabilities) -> Result<Readiness, PluginError> {
        let capabilities = json(capabilities);
        self.0.ask("probe", move |provider| provider.probe(RStr::from(capabilities.as_str())))
    }

    /// Answers `queries`, in order: as many answers as queries.
    ///
    /// # Errors
    ///
    /// Any [`PluginError`]: none of the queries has an answer.
    pub fn discover(&self, queries: &[String]) -> Result<Vec<Answer>, PluginError> {
        let text = json(queries);
        let answers: Vec<Answer> =
            self.0.ask("discover", move |provider| provider.discover(RStr::from(text.as_str())))?;
        if answers.len() != queries.len() {
            let reason = format!("{} answers to {} queries", answers.len(), queries.len());
            return Err(self.0.nonsense("discover", reason));
        }
        Ok(answers)
    }
}

/// Maps with text keys, lists and enums of the SDK: writing them cannot fail.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
