//! Everything that `run` refuses when it starts, found out without sampling.
//!
//! ```text
//! judge     plugins' files, what they state and need, keys: no code of a plugin runs
//!           -- only if all of it is sound --
//! try       plugins loaded, the plan made, each exporter's instance made and dropped, as `run` does it; places for the
//!           health socket and spools
//! ```

use super::admit::{judge, load_plugins, misconfigured};
use super::causes::with_causes;
use super::start::offer;
use crate::config::{Config, dotted};
use crate::health::Listen;
use crate::plan::{self, Survey};
use crate::plugins::{ExporterSettings, FileRules, Plugin};
use std::collections::BTreeSet;
use std::time::Duration;

/// The result.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Lines, each one a refusal.
    pub(super) problems: Vec<String>,
    /// Lines about what could not be found out.
    pub(super) notes: Vec<String>,
}

/// Looks for everything that is wrong with `config` on this machine.
pub(super) fn check(config: &Config, rules: &FileRules) -> Findings {
    let mut findings = Findings::default();
    let survey = match Survey::take(config) {
        Ok(survey) => survey,
        Err(error) => {
            findings.problems.push(error.to_string());
            return findings;
        }
    };
    findings.judge(config, rules, &survey);
    if findings.problems.is_empty() {
        findings.attempt(config, rules, &survey);
    }
    findings
}

impl Findings {
    fn judge(&mut self, config: &Config, rules: &FileRules, survey: &Survey) {
        let exporters = config.exporters.values().map(|exporter| &exporter.plugin);
        let needed: BTreeSet<&String> = exporters.chain(&config.plugins.required).collect();
        for name in config.offsets.config.keys().filter(|name| !needed.contains(name)) {
            match judge(config, name, &survey.capabilities, rules) {
                // `run` goes on without a provider that is not there.
                Err(refusal) if refusal.is_not_found() => {
                    self.notes.push(format!("its keys are not checked: {refusal}"));
                }
                Err(refusal) => self.problems.push(refusal.to_string()),
                Ok(_) => {}
            }
        }
        for name in needed {
            match judge(config, name, &survey.capabilities, rules) {
                Ok(plugin) => {
                    let refusals = misconfigured(config, &plugin);
                    self.problems.extend(refusals.into_iter().map(|(_, refusal)| refusal.to_string()));
                }
                Err(refusal) => self.problems.push(refusal.to_string()),
            }
        }
    }

    fn attempt(&mut self, config: &Config, rules: &FileRules, survey: &Survey) {
        let loaded = match load_plugins(config, &survey.capabilities, rules) {
            Ok(loaded) => loaded,
            Err(error) => return self.problems.push(with_causes(&error)),
        };
        let is_able = self.plan(config, survey, &loaded.plugins);
        // SAFETY: a plain question.
        if !is_able && unsafe { libc::geteuid() } != 0 {
            return self.notes.push("what exporters may do as another user is not known".into());
        }
        self.places(config);
        let interval = Duration::from_secs(config.sampling.interval_seconds.into());
        for (name, section) in &config.exporters {
            // Nothing is opened: what an exporter does with batches, and its spool, is not touched.
            if let Err(error) = loaded.prepare(name, section, &offer(Some(interval))) {
                let text = with_causes(&error);
                let named = format!("`{name}`");
                self.problems.push(match text.contains(&named) {
                    true => text,
                    false => format!("exporter {named}: {text}"),
                });
            }
        }
    }

    fn places(&mut self, config: &Config) {
        if let Some(listen) = Listen::parse(&config.health.listen)
            && let Err(error) = listen.check()
        {
            self.problems.push(format!("health.listen: {listen:?} cannot be listened at: {error}"));
        }
        for (name, section) in &config.exporters {
            if let Some(spool) = ExporterSettings::new(name, section).spool
                && let Err(error) = spool.check(name)
            {
                let key = dotted(&["exporters", name, "spool_directory"]);
                self.problems.push(format!("`{key}`: {error}; batches would wait in memory only"));
            }
        }
    }

    /// Tells a refusal that the configuration causes from one that no configuration would change; then this is not the
    /// machine, or the user, that `run` is for, and `false` is returned.
    fn plan(&mut self, config: &Config, survey: &Survey, plugins: &[Plugin]) -> bool {
        let Some(refusal) = plan::make(config, survey, plugins).refusal() else { return true };
        let defaults = Config { plugins: config.plugins.clone(), ..Config::default() };
        let without = Survey::take(&defaults).map(|survey| plan::make(&defaults, &survey, plugins).refusal());
        match without {
            Ok(Some(refusal)) => {
                self.notes.push(format!("whatever a configuration says: {refusal}"));
                false
            }
            _ => {
                self.problems.push(refusal);
                true
            }
        }
    }
}
