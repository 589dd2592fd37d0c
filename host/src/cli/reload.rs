//! SIGHUP: the daemon reads its configuration anew and applies what can be applied to a running agent.

use super::filter::{FilterArguments, warn_of_absent};
use super::start::ConfigArguments;
use crate::agent::Agent;
use crate::config::Config;
use crate::filter::Rules;

/// Sections that are applied; those that are not take effect at the next start.
const APPLIED: [&str; 1] = ["filter"];

/// What a running agent was configured with.
pub(super) struct Running<'a> {
    pub(super) arguments: &'a ConfigArguments,
    pub(super) filter: &'a FilterArguments,
    /// As it was read, without what the command line says of the filter.
    pub(super) config: Config,
}

impl Running<'_> {
    /// Reads all sources again. If anything is wrong with them all of the old configuration stays, and the log says
    /// why.
    pub(super) fn reload(&mut self, agent: &Agent) {
        let new = match self.arguments.read(&[]) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the configuration was not read anew, the one before stays: {error:#}");
                return;
            }
        };
        let (applied, waiting): (Vec<_>, Vec<_>) =
            changed(&self.config, &new).into_iter().partition(|section| APPLIED.contains(&section.as_str()));
        if !applied.is_empty() {
            let filter = self.filter.over(&new.filter);
            warn_of_absent(&filter);
            if !agent.want(Rules::new(&filter)) {
                tracing::error!("the filter before is still being applied; send SIGHUP again");
                return;
            }
        }
        if !waiting.is_empty() {
            let sections = waiting.join(", ");
            tracing::warn!("what changed in `{sections}` takes effect when stacksonde is started again");
        }
        tracing::info!(applied = applied.join(", "), "configuration read anew");
        // What waits is told again next time: it is still not what runs.
        self.config.filter = new.filter;
    }
}

/// The sections that differ.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(sections)) => sections,
        // A configuration is plain data, which serialises.
        _ => serde_json::Map::new(),
    };
    let old = sections(old);
    sections(new)
        .into_iter()
        .filter(|(name, section)| old.get(name) != Some(section))
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sections_that_differ_are_named() {
        let old = Config::default();
        let mut new = Config::default();
        assert!(changed(&old, &new).is_empty());
        new.filter.deny_comm.push("stress".into());
        new.memory.max *= 2;
        assert_eq!(changed(&old, &new), ["filter", "memory"]);
    }
}
