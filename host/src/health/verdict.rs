//! The verdict on whether the agent does its work.

use super::VitalsNow;
use crate::plugins::Health;
use crate::terminal::Charset;
use std::time::Duration;

/// Intervals without a profile after which samples count as not flowing, and what is added to them: a machine may be
/// busy, and the first profile of many programs takes its names' time.
const INTERVALS: u32 = 3;
const GRACE: Duration = Duration::from_secs(5);

/// The problems found, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the agent is of no use; none if it is.
    pub failures: Vec<String>,
    /// Problems that do not keep the agent from its work.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Tells whether the agent does its work.
    pub fn is_healthy(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An exporter as it is now.
pub(super) struct OfExporter<'a> {
    pub(super) name: &'a str,
    pub(super) required: bool,
    pub(super) health: Health,
}

/// Describes why sampling does not go on; `None` if it does.
pub(super) fn sampling(now: &VitalsNow) -> Option<String> {
    let interval = now.interval?;
    let patience = interval * INTERVALS + GRACE;
    if now.silence > patience {
        return Some(format!(
            "sampling: no profile for {} s, with an interval of {} s",
            now.silence.as_secs(),
            interval.as_secs()
        ));
    }
    match (now.profiles, now.last_ticks, now.last_seen) {
        (0, _, _) => None,
        (_, 0, _) => Some("sampling: no CPU ticked in the last interval".into()),
        (_, ticks, 0) => Some(format!("sampling: all {ticks} samples of the last interval were lost")),
        _ => None,
    }
}

pub(super) fn verdict<'a>(now: &VitalsNow, exporters: impl Iterator<Item = OfExporter<'a>>) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.failures.extend(sampling(now));
    for OfExporter { name, required, health } in exporters {
        let what = match health {
            Health::Good => continue,
            Health::Degraded(why) => format!("exporter `{name}` fails: {why}"),
            Health::Stuck => format!("exporter `{name}` is stuck in a call"),
            Health::Disabled(why) => format!("exporter `{name}` is disabled: {why}"),
        };
        // Receivers' and plugins' words, which `systemctl status` and curl show as they are.
        let what = Charset::Unicode.plain(&what).into_owned();
        if required { verdict.failures.push(what) } else { verdict.notes.push(what) }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn flowing() -> VitalsNow {
        VitalsNow {
            interval: Some(10 * SECOND),
            silence: 9 * SECOND,
            profiles: 4,
            last_ticks: 40,
            last_seen: 39,
            ..VitalsNow::default()
        }
    }

    fn one(required: bool, health: Health) -> std::iter::Once<OfExporter<'static>> {
        std::iter::once(OfExporter { name: "otel", required, health })
    }

    #[test]
    fn while_samples_flow_all_is_well() {
        assert_eq!(verdict(&flowing(), one(true, Health::Good)), Verdict::default());
        let first = VitalsNow { profiles: 0, silence: 30 * SECOND, ..flowing() };
        assert!(verdict(&first, std::iter::empty()).is_healthy(), "the first profile is still to come");
        let record = VitalsNow { interval: None, silence: 1000 * SECOND, ..flowing() };
        assert!(verdict(&record, std::iter::empty()).is_healthy(), "there is only one, at the end");
    }

    #[test]
    fn samples_that_stop_flowing_are_a_failure() {
        let says = |now: VitalsNow| verdict(&now, std::iter::empty()).failures.concat();
        assert!(
            says(VitalsNow { silence: 36 * SECOND, ..flowing() })
                .contains("no profile for 36 s, with an interval of 10 s")
        );
        assert!(says(VitalsNow { last_ticks: 0, last_seen: 0, ..flowing() }).contains("no CPU ticked"));
        assert!(says(VitalsNow { last_seen: 0, ..flowing() }).contains("all 40 samples"));
    }

    #[test]
    fn an_exporter_that_fails_is_a_failure_if_it_is_required() {
        let hostile = verdict(&flowing(), one(true, Health::Degraded("no\x1b]0;x\x07\nok".into())));
        assert_eq!(hostile.failures, ["exporter `otel` fails: no\u{fffd}]0;x\u{fffd}\u{fffd}ok"]);
        for health in [Health::Degraded("no route".into()), Health::Stuck, Health::Disabled("panics".into())]
        {
            let required = verdict(&flowing(), one(true, health.clone()));
            let other = verdict(&flowing(), one(false, health));
            assert!(!required.is_healthy() && other.is_healthy());
            assert_eq!(required.failures, other.notes);
            assert!(required.failures[0].contains("`otel`"));
        }
    }
}
