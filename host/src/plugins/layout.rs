//! Are the types that a plugin was built with those that this host was built with?

use abi_stable::abi_stability::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::TypeLayout;
use stacksonde_abi::{CRATE_VERSION, PluginRef, abi_stable};

/// Compares `plugin`, the layout of a plugin's root that was built against version `version` of the ABI,
/// with this host's. An error names the first places where they differ.
///
/// The comparison is not symmetric: the side that is asked for may have fewer fields than the side that
/// is found. Either side may be the older one, so the older is asked for and the newer is found. What a
/// plugin states as its version only chooses the direction: with a wrong one the comparison fails.
pub(super) fn check(plugin: &'static TypeLayout, version: VersionStrings) -> Result<(), String> {
    let host = <PluginRef as StableAbi>::LAYOUT;
    let (theirs, ours) = match (version.parsed(), VersionStrings::new(CRATE_VERSION).parsed()) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        _ => return Err(format!("it states the version `{}`, which is none", version.version)),
    };
    if theirs.major != ours.major {
        return Err(format!("it is built for plugin ABI {theirs}, this host has {ours}"));
    }
    let plugin_is_older = (theirs.minor, theirs.patch) < (ours.minor, ours.patch);
    let (older, newer) = if plugin_is_older { (plugin, host) } else { (host, plugin) };
    // Globals of its own for each comparison: shared ones would compare plugins with one another.
    check_layout_compatibility_with_globals(older, newer, &CheckingGlobals::new()).map_err(|errors| {
        let report = errors.to_string();
        tracing::debug!(target: "plugin", "{report}");
        summary(&report)
    })
}

/// The lines of `report` (tens of kilobytes) that say what differs.
fn summary(report: &str) -> String {
    let differences = report.split("\nError:").skip(1).filter_map(|difference| {
        let (kind, rest) = difference.split_once("\nExpected:\n")?;
        let (expected, found) = rest.split_once("\nFound:\n")?;
        let found = found.split("\n\n").next().unwrap_or(found);
        Some(format!("{} (expected {}, found {})", kind.trim(), one_line(expected), one_line(found)))
    });
    let differences: Vec<_> = differences.take(2).collect();
    if differences.is_empty() { "the layouts differ".into() } else { differences.join("; ") }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_its_own_types() {
        check(<PluginRef as StableAbi>::LAYOUT, VersionStrings::new(CRATE_VERSION)).unwrap();
    }

    #[test]
    fn refuses_other_types_in_a_line() {
        let reason = check(<u64 as StableAbi>::LAYOUT, VersionStrings::new(CRATE_VERSION)).unwrap_err();
        assert!(reason.len() < 400 && !reason.contains('\n'), "{reason}");
    }

    #[test]
    fn refuses_another_major_version() {
        let reason = check(<PluginRef as StableAbi>::LAYOUT, VersionStrings::new("2.0.0")).unwrap_err();
        assert!(reason.contains("2.0.0"), "{reason}");
    }
}
