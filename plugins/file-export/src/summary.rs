//! The extent to which a profile can be trusted: how much of it there is, and how much is missing.

use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::EXCLUDED;

/// Counts of samples, and what they stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// All samples; the largest number if there are more.
    pub(crate) samples: u64,
    /// Those whose stacks are not whole.
    pub(crate) incomplete: u64,
    /// Those that were wanted and are missing.
    pub(crate) lost: u64,
    /// Those that the operator's filter left out.
    pub(crate) excluded: u64,
    /// CPU time that one sample stands for in the mean, if samples are of a clock.
    pub(crate) period_ns: Option<u64>,
}

impl Summary {
    pub(crate) fn of(batch: &Batch<'_>) -> Self {
        let mut summary = Self { period_ns: period_ns(batch), ..Self::default() };
        for sample in batch.samples() {
            summary.samples = summary.samples.saturating_add(sample.count);
            if batch.stacks().get(sample.stack).is_some_and(|stack| stack.complete == 0) {
                summary.incomplete = summary.incomplete.saturating_add(sample.count);
            }
        }
        for loss in batch.losses() {
            let sum = match batch.text(loss.reason) {
                EXCLUDED => &mut summary.excluded,
                _ => &mut summary.lost,
            };
            *sum = sum.saturating_add(loss.count);
        }
        summary
    }

    /// `18 samples at 100 Hz, 4 lost, 2 excluded; 22.2 % of stacks incomplete`: digits and words only.
    pub(crate) fn sentence(&self) -> String {
        let frequency = self.period_ns.map(|ns| format!(" at {:.0} Hz", 1e9 / ns as f64)).unwrap_or_default();
        let excluded = match self.excluded {
            0 => String::new(),
            excluded => format!(", {excluded} excluded"),
        };
        let share = 100.0 * self.incomplete as f64 / self.samples.max(1) as f64;
        format!(
            "{} samples{frequency}, {} lost{excluded}; {share:.1} % of stacks incomplete",
            self.samples, self.lost
        )
    }
}

fn period_ns(batch: &Batch<'_>) -> Option<u64> {
    let mut types = batch.value_types().iter();
    types.find(|row| batch.text(row.unit) == "nanoseconds" && row.per_sample > 0).map(|row| row.per_sample)
}
