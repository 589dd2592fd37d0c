//! Capabilities that the operator has taken away: `capabilities.deny`.

use super::probe::known_names;
use stacksonde_plugin::{Capabilities, Outcome};

/// A name in `capabilities.deny` that no probe has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "capabilities.deny: `{name}` is not a capability; the nearest is `{nearest}`, `stacksonde doctor` lists all"
)]
pub struct UnknownCapability {
    /// The name in the configuration.
    pub name: String,
    /// The known name that takes the fewest edits.
    pub nearest: &'static str,
}

/// Checks that every name is known.
pub fn check_denied(names: &[String]) -> Result<(), UnknownCapability> {
    let known = known_names();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(UnknownCapability { name: name.clone(), nearest: nearest(name, &known) }),
    }
}

/// Turns each named capability into an absent one, whatever its probe found.
pub fn deny(capabilities: &mut Capabilities, names: &[String]) -> Result<(), UnknownCapability> {
    check_denied(names)?;
    for name in names {
        let denied = Outcome::Absent {
            reason: "denied by capabilities.deny".into(),
            remedy: format!("remove `{name}` from capabilities.deny in the configuration"),
        };
        capabilities.0.insert(name.clone(), denied);
    }
    Ok(())
}

fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    known.iter().copied().min_by_key(|known| distance(name, known)).unwrap_or_default()
}

/// Levenshtein's distance, by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_capability_is_absent_and_says_why() {
        let mut capabilities = Capabilities::default();
        capabilities.0.insert("kernel.btf".into(), Outcome::Present);
        deny(&mut capabilities, &["kernel.btf".into()]).unwrap();
        let Some(Outcome::Absent { reason, .. }) = capabilities.get("kernel.btf") else {
            panic!("{capabilities:?}")
        };
        assert_eq!(reason, "denied by capabilities.deny");
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_the_nearest() {
        for (name, nearest) in [("kernel.bft", "kernel.btf"), ("perf.side_band", "perf.sideband")] {
            let mut capabilities = Capabilities::default();
            let error = deny(&mut capabilities, &[name.into()]).unwrap_err();
            assert_eq!(error.nearest, nearest);
            assert_eq!(capabilities, Capabilities::default(), "nothing was changed");
        }
    }
}
