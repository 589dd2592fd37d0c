//! Known kernel bugs that sampling could trigger, and what is done about each.

use crate::config::OnUnproven;
use crate::kernel::{Version, has_probe_read_bug};
use serde::Serialize;
use stacksonde_plugin::Verdict;

/// The mitigation by which the sampler never reads user memory.
///
/// The kernel's own walk of user stacks takes its place. That walk has a bug too (a race with
/// uprobes in `is_uprobe_at_func_entry`, fixed by mainline commit b583ef82b671 in 6.13), in code
/// that the kernels which need this mitigation do not have.
pub const NO_USER_READS: &str = "no_user_reads";

/// A known kernel bug.
struct Hazard {
    name: &'static str,
    /// The effect of the bug.
    effect: &'static str,
    /// A function that tells whether upstream's kernel of a version has it.
    affects: fn(Version) -> bool,
    mitigation: &'static str,
    /// The plugin that could prove it absent.
    check: &'static str,
}

const HAZARDS: [Hazard; 1] = [Hazard {
    name: "copy_from_user_nofault",
    effect: "reading user memory in an interrupt can dead-lock the kernel",
    affects: has_probe_read_bug,
    mitigation: NO_USER_READS,
    check: "probe-read-safety",
}];

/// The state of knowledge of a hazard on this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardState {
    /// This version does not have it; nothing was checked and nothing is needed.
    OutOfRange,
    /// A check proved it absent.
    Safe,
    /// A check proved it present.
    Affected,
    /// In range, and neither proved nor excluded.
    Unproven,
}

/// A hazard as it was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name.
    pub hazard: &'static str,
    /// The state of knowledge of it on this system.
    pub state: HazardState,
    /// Why that is so.
    pub reason: String,
    /// The agent's mitigation; `None` if there is none.
    pub mitigation: Option<&'static str>,
    /// The step that would settle it; empty where it is settled.
    pub remedy: String,
    /// True if the agent must not start for it (`hazards.on_unproven = "refuse"`).
    pub refuses: bool,
}

/// A plugin's verdict on a hazard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The hazard.
    pub hazard: String,
    /// The plugin.
    pub check: String,
    /// The plugin's verdict; a failed call counts as [`Verdict::Unproven`].
    pub verdict: Verdict,
}

/// The hazards for which a check should be asked on a kernel of this version, and no others.
pub fn in_range(version: Option<Version>, assume: &[String]) -> Vec<&'static str> {
    HAZARDS.iter().filter(|hazard| may_affect(hazard, version, assume)).map(|hazard| hazard.name).collect()
}

/// A version that nobody can tell may be any; `assume` is `hazards.assume`.
fn may_affect(hazard: &Hazard, version: Option<Version>, assume: &[String]) -> bool {
    version.is_none_or(hazard.affects) || assume.iter().any(|name| name == hazard.name)
}

/// The name of every hazard.
pub fn known_names() -> Vec<&'static str> {
    HAZARDS.iter().map(|hazard| hazard.name).collect()
}

/// Judges every hazard.
pub(super) fn judge(
    version: Option<Version>,
    assume: &[String],
    assessments: &[Assessment],
    on_unproven: OnUnproven,
) -> Vec<Finding> {
    HAZARDS.iter().map(|hazard| one(hazard, version, assume, assessments, on_unproven)).collect()
}

fn one(
    hazard: &Hazard,
    version: Option<Version>,
    assume: &[String],
    all: &[Assessment],
    on_unproven: OnUnproven,
) -> Finding {
    let mut kernel = version.map_or_else(|| "a kernel of unknown version".into(), |v| format!("Linux {v}"));
    let assumed = assume.iter().any(|name| name == hazard.name);
    if assumed && version.is_some_and(|version| !(hazard.affects)(version)) {
        kernel = format!("{kernel}, which hazards.assume takes for one that may have it,");
    }
    let finding = |state, reason| Finding {
        hazard: hazard.name,
        state,
        reason,
        mitigation: None,
        remedy: String::new(),
        refuses: false,
    };
    if !may_affect(hazard, version, assume) {
        return finding(HazardState::OutOfRange, format!("{kernel} does not have it"));
    }
    let about: Vec<_> = all.iter().filter(|a| a.hazard == hazard.name).collect();
    let said = |of: fn(&Verdict) -> Option<&String>| {
        about.iter().find_map(|a| of(&a.verdict).map(|text| format!("{}: {text}", a.check)))
    };
    // Presence proved outweighs absence proved: one of two checks is wrong, and this is the safe side.
    if let Some(evidence) = said(|verdict| match verdict {
        Verdict::Affected { evidence } => Some(evidence),
        _ => None,
    }) {
        let reason = format!("{}; {evidence}", hazard.effect);
        return Finding {
            mitigation: Some(hazard.mitigation),
            remedy: "update the kernel".into(),
            ..finding(HazardState::Affected, reason)
        };
    }
    if let Some(evidence) = said(|verdict| match verdict {
        Verdict::Safe { evidence } => Some(evidence),
        _ => None,
    }) {
        return finding(HazardState::Safe, evidence);
    }
    let doubt = said(|verdict| match verdict {
        Verdict::Unproven { reason } => Some(reason),
        _ => None,
    });
    let remedy = match doubt {
        Some(_) => format!("let the plugin {} see what it could not, or update the kernel", hazard.check),
        None => format!("install the plugin {}, which can prove it, or update the kernel", hazard.check),
    };
    let doubt = doubt.unwrap_or_else(|| "no check is installed".into());
    let reason = format!(
        "on {kernel} {}, unless it was fixed there; that could not be proved ({doubt}), and it may well be fine",
        hazard.effect
    );
    Finding {
        mitigation: (on_unproven == OnUnproven::Mitigate).then_some(hazard.mitigation),
        remedy,
        refuses: on_unproven == OnUnproven::Refuse,
        ..finding(HazardState::Unproven, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HazardState::{Affected, OutOfRange, Safe, Unproven};

    const IN_RANGE: Option<Version> = Some(Version([6, 2, 5]));
    const OUT_OF_RANGE: Option<Version> = Some(Version([6, 18, 44]));

    fn said(verdict: Verdict) -> Assessment {
        Assessment { hazard: "copy_from_user_nofault".into(), check: "probe-read-safety".into(), verdict }
    }

    #[test]
    fn judges_by_range_then_by_check_then_by_configuration() {
        let safe = || said(Verdict::Safe { evidence: "calls nmi_uaccess_okay".into() });
        let affected = || said(Verdict::Affected { evidence: "no call".into() });
        let failed = || said(Verdict::Unproven { reason: "the symbol is hidden".into() });
        let elsewhere = || Assessment { hazard: "another".into(), ..safe() };
        let mitigated = Some(NO_USER_READS);
        use OnUnproven::{Ignore, Mitigate, Refuse};
        let table = [
            (OUT_OF_RANGE, vec![], Mitigate, OutOfRange, None, false),
            (OUT_OF_RANGE, vec![affected()], Refuse, OutOfRange, None, false),
            (IN_RANGE, vec![], Mitigate, Unproven, mitigated, false),
            (IN_RANGE, vec![], Refuse, Unproven, None, true),
            (IN_RANGE, vec![], Ignore, Unproven, None, false),
            (IN_RANGE, vec![safe()], Refuse, Safe, None, false),
            (IN_RANGE, vec![failed()], Mitigate, Unproven, mitigated, false),
            (IN_RANGE, vec![failed(), safe()], Mitigate, Safe, None, false),
            (IN_RANGE, vec![affected()], Ignore, Affected, mitigated, false),
            (IN_RANGE, vec![safe(), affected()], Mitigate, Affected, mitigated, false),
            (IN_RANGE, vec![elsewhere()], Mitigate, Unproven, mitigated, false),
            (None, vec![], Mitigate, Unproven, mitigated, false),
        ];
        for (version, assessments, on_unproven, state, mitigation, refuses) in table {
            let found = &judge(version, &[], &assessments, on_unproven)[0];
            let row = (version, &assessments, on_unproven);
            assert_eq!(
                (found.state, found.mitigation, found.refuses),
                (state, mitigation, refuses),
                "{row:?}"
            );
        }
    }

    #[test]
    fn a_check_that_failed_is_named_with_its_reason() {
        let failed = said(Verdict::Unproven { reason: "the symbol is hidden".into() });
        let found = &judge(IN_RANGE, &[], &[failed], OnUnproven::Mitigate)[0];
        assert!(found.reason.contains("probe-read-safety: the symbol is hidden"), "{}", found.reason);
        assert!(found.remedy.contains("let the plugin probe-read-safety see"), "{}", found.remedy);
        let found = &judge(IN_RANGE, &[], &[], OnUnproven::Mitigate)[0];
        assert!(found.remedy.contains("install the plugin probe-read-safety"), "{}", found.remedy);
    }

    #[test]
    fn the_configuration_may_assume_each_hazard_that_there_is() {
        let mut config = crate::config::Config::default();
        config.hazards.assume = known_names().into_iter().map(String::from).collect();
        assert!(config.validate().is_empty());
        config.hazards.assume.push("another".into());
        assert!(!config.validate().is_empty());
    }

    #[test]
    fn an_assumed_hazard_is_in_range_and_still_may_be_proved_absent() {
        let assume = ["copy_from_user_nofault".to_owned()];
        assert_eq!(in_range(OUT_OF_RANGE, &assume), ["copy_from_user_nofault"]);
        let found = &judge(OUT_OF_RANGE, &assume, &[], OnUnproven::Mitigate)[0];
        assert_eq!((found.state, found.mitigation), (Unproven, Some(NO_USER_READS)));
        assert!(found.reason.contains("hazards.assume"), "{}", found.reason);
        let safe = said(Verdict::Safe { evidence: "calls nmi_uaccess_okay".into() });
        let found = &judge(OUT_OF_RANGE, &assume, &[safe], OnUnproven::Mitigate)[0];
        assert_eq!((found.state, found.mitigation), (Safe, None));
    }

    #[test]
    fn asks_no_check_outside_the_range() {
        assert!(in_range(OUT_OF_RANGE, &[]).is_empty());
        assert_eq!(in_range(IN_RANGE, &[]), ["copy_from_user_nofault"]);
        assert_eq!(in_range(None, &[]), ["copy_from_user_nofault"]);
    }
}
