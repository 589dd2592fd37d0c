//! Stacksonde plugin `btf-offsets`: kernel structure offsets from `/sys/kernel/btf/vmlinux`.
//!
//! The kernel describes its own types there, so an answer is as good as the kernel itself. What
//! BTF does not hold is THREAD_SIZE, so `stack.pt_regs` is not among the answers.

pub mod btf;
mod questions;

#[doc(hidden)]
pub mod fuzz;

pub use questions::{Question, question};

use btf::Btf;
use stacksonde_plugin::{Answer, Capabilities, Offset, OffsetProvider, Outcome, Readiness};
use std::path::{Path, PathBuf};

stacksonde_plugin::export_plugin! {
    manifest: "plugin.json",
    offset_provider: BtfOffsets,
}

const NEEDS: &str = "kernel.btf";
/// The file in which the kernel shows its BTF (5.4+, CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Reads offsets from BTF.
#[derive(Debug, Default)]
pub struct BtfOffsets {
    /// A file to read in place of the kernel's own.
    file: Option<PathBuf>,
}

impl BtfOffsets {
    /// Reads this file of BTF in place of the kernel's own.
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()) }
    }
}

impl OffsetProvider for BtfOffsets {
    fn configure(&mut self, config: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
        for (key, value) in config {
            match (key.as_str(), value.as_str()) {
                ("file", Some(path)) if path.starts_with('/') => self.file = Some(path.into()),
                ("file", _) => return Err(format!("`file` is {value}, and must be an absolute path")),
                (other, _) => return Err(format!("`{other}` is not a key of btf-offsets; it has `file`")),
            }
        }
        Ok(())
    }

    fn provides(&self) -> Vec<String> {
        questions::ALL.iter().map(|question| question.fact.into()).collect()
    }

    fn probe(&mut self, capabilities: &Capabilities) -> Readiness {
        match (&self.file, capabilities.get(NEEDS)) {
            (None, Some(Outcome::Absent { reason, remedy })) => Readiness::Unavailable {
                missing: Some(NEEDS.into()),
                reason: reason.clone(),
                remedy: format!("{remedy}, or a file of its BTF, named in offsets.config.btf-offsets.file"),
            },
            // A file may be another kernel's: the host confirms what it says, as ever.
            (Some(_), _) => Readiness::Ready { cost_us: 5_000, confidence: 80 },
            (None, _) => Readiness::Ready { cost_us: 5_000, confidence: 100 },
        }
    }

    fn discover(&mut self, queries: &[String]) -> Vec<Answer> {
        let path = self.file.as_deref().unwrap_or(Path::new(VMLINUX));
        let read = std::fs::read(path).map_err(|error| error.to_string());
        let opened = read.as_ref().map_err(Clone::clone).and_then(|bytes| open(bytes, queries));
        let answers: Vec<Answer> = match opened {
            Ok(mut btf) => queries.iter().map(|query| answer(&mut btf, query)).collect(),
            Err(error) => queries.iter().map(|_| Err(error.clone())).collect(),
        };
        answers.into_iter().map(|answer| answer.map_err(|e| format!("{}: {e}", path.display()))).collect()
    }
}

/// BTF in which the structures that the queries ask about have been found.
fn open<'a>(bytes: &'a [u8], queries: &[String]) -> Result<Btf<'a>, String> {
    let mut btf = Btf::parse(bytes).map_err(|error| error.to_string())?;
    let mut structures: Vec<_> =
        queries.iter().filter_map(|query| question(query)).map(|question| question.structure).collect();
    structures.sort_unstable();
    structures.dedup();
    btf.find_structures(&structures).map_err(|error| error.to_string())?;
    Ok(btf)
}

/// Answers one query.
fn answer(btf: &mut Btf<'_>, query: &str) -> Answer {
    let question =
        question(query).ok_or_else(|| format!("`{query}` is not a fact that btf-offsets can read"))?;
    let found = question.ask(btf).map_err(|error| error.to_string())?;
    Ok(Offset {
        value: found.member.offset_bytes,
        method: "BTF".into(),
        evidence: format!(
            "{}.{} at bit {} of type {}",
            question.structure,
            found.path.join("."),
            found.member.offset_bytes * 8,
            found.type_id
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::build::{self, Builder};

    fn task_struct() -> Vec<u8> {
        let mut types = Builder::default();
        let pointer = types.pointer(0);
        types.structure("task_struct", 64, &[("__state", 0, 0), ("stack", pointer, 32 * 8)]);
        types.finish()
    }

    fn asked(bytes: &[u8], query: &str) -> Answer {
        open(bytes, &[query.to_owned()]).and_then(|mut btf| answer(&mut btf, query))
    }

    #[test]
    fn answers_from_btf_with_evidence() {
        let offset = asked(&task_struct(), "task_struct.stack").unwrap();
        assert_eq!(offset.value, 32);
        assert_eq!(offset.evidence, "task_struct.stack at bit 256 of type 2");
    }

    #[test]
    fn says_what_it_cannot_answer() {
        let said = |bytes: &[u8], query| asked(bytes, query).unwrap_err();
        assert!(said(&task_struct(), "stack.pt_regs").contains("`stack.pt_regs`"));
        assert!(said(b"not BTF at all, but long enough", "task_struct.stack").contains("not BTF"));
        let empty = build::Builder::default().finish();
        assert!(said(&empty, "task_struct.stack").contains("no struct `task_struct`"));
    }

    #[test]
    fn reads_a_configured_file_in_place_of_the_kernels() {
        let file = std::env::temp_dir().join(format!("stacksonde-btf-{}", std::process::id()));
        std::fs::write(&file, task_struct()).unwrap();
        let mut provider = BtfOffsets::default();
        let key = |value: &str| [("file".to_owned(), serde_json::Value::from(value))].into_iter().collect();
        assert!(provider.configure(&key("relative")).unwrap_err().contains("absolute path"));
        provider.configure(&key(file.to_str().unwrap())).unwrap();
        let mut capabilities = Capabilities::default();
        let absent = Outcome::Absent { reason: "denied".into(), remedy: "allow it".into() };
        capabilities.0.insert(NEEDS.into(), absent);
        assert!(matches!(provider.probe(&capabilities), Readiness::Ready { confidence: 80, .. }));
        let queries = ["task_struct.stack", "pid.level"].map(String::from);
        let answers = provider.discover(&queries);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(answers[0].as_ref().unwrap().value, 32);
        assert!(answers[1].as_ref().unwrap_err().contains("no struct `pid`"), "{answers:?}");
        assert!(provider.discover(&queries)[0].as_ref().unwrap_err().contains(file.to_str().unwrap()));
    }

    #[test]
    fn names_the_capability_that_is_missing() {
        let mut capabilities = Capabilities::default();
        let absent = Outcome::Absent { reason: "denied".into(), remedy: "allow it".into() };
        capabilities.0.insert(NEEDS.into(), absent);
        let Readiness::Unavailable { missing, .. } = BtfOffsets::default().probe(&capabilities) else {
            panic!()
        };
        assert_eq!(missing.as_deref(), Some("kernel.btf"));
        assert!(matches!(BtfOffsets::default().probe(&Capabilities::default()), Readiness::Ready { .. }));
    }

    #[test]
    fn the_manifest_names_what_the_provider_provides() {
        let manifest: serde_json::Value = serde_json::from_str(include_str!("../plugin.json")).unwrap();
        assert_eq!(manifest["provides"], serde_json::json!(BtfOffsets::default().provides()));
    }
}
