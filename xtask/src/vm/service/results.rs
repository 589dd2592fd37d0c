//! Results that a guest of the service sent.

use crate::vm::results::Stacks;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::PathBuf;

/// The folder, and what is read of it.
#[derive(Debug)]
pub(super) struct Results(PathBuf);

/// The results of an agent with some rights.
#[derive(Clone, Debug)]
pub(super) struct Try {
    /// The right that was taken from the unit's; of the others `unit` and `root`.
    pub(super) name: String,
    /// The plan, as `doctor --json` prints it.
    pub(super) plan: Value,
    /// True if it could record.
    pub(super) recorded: bool,
    /// The stacks that it recorded; none if it could not.
    pub(super) stacks: Stacks,
    /// The labels of processes that it recorded.
    pub(super) labels: Vec<String>,
}

impl Results {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// A file's text.
    pub(super) fn text(&self, name: &str) -> anyhow::Result<String> {
        let bytes = std::fs::read(self.0.join(name)).with_context(|| format!("the guest sent no {name}"))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file of folded stacks.
    pub(super) fn stacks(&self, name: &str) -> anyhow::Result<Stacks> {
        Stacks::parse(&self.text(name)?)
    }

    /// Returns a property that `systemctl show` showed, empty if there is none.
    pub(super) fn property(&self, name: &str, property: &str) -> anyhow::Result<String> {
        let text = self.text(name)?;
        let value = text.lines().find_map(|line| line.strip_prefix(property)?.strip_prefix('='));
        Ok(value.unwrap_or_default().to_owned())
    }

    /// The plan that the running service put into a profile.
    pub(super) fn service_plan(&self) -> anyhow::Result<Value> {
        let text = self.text("service.plan")?;
        let begin = text.find('{').context("no plan is in the service's profile")?;
        // Whatever comes after it in the file is not JSON.
        let first = serde_json::Deserializer::from_str(&text[begin..]).into_iter().next();
        first.context("no plan is in the service's profile")?.context("the plan in the service's profile")
    }

    /// Returns the results of an agent.
    pub(super) fn attempt(&self, name: &str) -> anyhow::Result<Try> {
        let file = |file: &str| format!("try-{name}/{file}");
        let printed = self.text(&file("doctor.out"))?;
        let complaint = self.text(&file("doctor.err"))?;
        let plan = serde_json::from_str(&printed)
            .with_context(|| format!("doctor --json ({name}) printed {printed:?} and {complaint:?}"))?;
        let recorded = self.text(&file("record.status"))? == "0";
        let stacks = if recorded { self.stacks(&file("profile.folded"))? } else { Stacks::default() };
        let labels = self.text(&file("labels"))?.lines().map(str::to_owned).collect();
        Ok(Try { name: name.to_owned(), plan, recorded, stacks, labels })
    }

    /// The rights that were taken away in turn, in the order of the unit.
    pub(super) fn taken(&self) -> anyhow::Result<Vec<String>> {
        let taken: Vec<_> = self.text("taken")?.lines().map(str::to_owned).collect();
        ensure!(!taken.is_empty(), "the guest tried nothing without a right");
        Ok(taken)
    }
}
