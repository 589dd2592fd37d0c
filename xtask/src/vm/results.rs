//! Results that a guest sent.

use anyhow::{Context, bail};
use serde_json::Value;
use std::path::Path;

/// Results of the agent in a guest.
#[derive(Clone, Debug)]
pub(super) struct Results {
    /// `uname -r`.
    pub(super) release: String,
    /// The plan, as `doctor --json` prints it.
    pub(super) plan: Value,
    /// The same in a pid namespace of its own, where all facts are needed, with `offsets.verify`.
    pub(super) nested: Value,
    /// The exit status of doctor.
    pub(super) doctor_status: i32,
    /// The stacks that `record` recorded.
    pub(super) stacks: Stacks,
    /// Its output and recording without one of the programs.
    pub(super) filtered: Recording,
    /// Its output and recordings where maps count as locked memory: with a limit that it could raise, and with one that
    /// it could not.
    pub(super) memlock: Option<[Recording; 2]>,
}

/// A recording and what was said meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) said: String,
    pub(super) stacks: Stacks,
}

/// Folded stacks: frames from the root, the process first, and their samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stacks(Vec<(Vec<String>, u64)>);

/// Reads a folder; the error says what the agent complained of.
pub(super) fn read(folder: &Path) -> anyhow::Result<Results> {
    let text = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("the guest sent no {name}"))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let status = |name: &str| -> anyhow::Result<i32> {
        let status = text(&format!("{name}.status"))?;
        status.trim().parse().with_context(|| format!("the exit status of {name}: {status}"))
    };
    let plan = |name: &str| {
        let printed = text(&format!("{name}.out"))?;
        let complaint = text(&format!("{name}.err"))?;
        serde_json::from_str(&printed)
            .with_context(|| format!("doctor --json ({name}) printed {printed:?} and {complaint:?}"))
    };
    let recording = |name: &str, stacks: &str| {
        let said = text(&format!("{name}.err"))?;
        match status(name)? {
            0 => Ok(Recording { said, stacks: Stacks::parse(&text(stacks)?)? }),
            failed => bail!("{name} failed with status {failed}: {}", said.trim()),
        }
    };
    let memlock = folder.join("raised.status").exists();
    Ok(Results {
        release: text("release")?.trim().to_owned(),
        plan: plan("doctor")?,
        nested: plan("nested")?,
        doctor_status: status("doctor")?,
        stacks: recording("record", "profile.folded")?.stacks,
        filtered: recording("filtered", "filtered.folded")?,
        memlock: if memlock {
            Some([recording("raised", "raised.folded")?, recording("shrunk", "shrunk.folded")?])
        } else {
            None
        },
    })
}

impl Stacks {
    /// Reads folded text; a line without a count is an error.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let line = |line: &str| {
            let (frames, count) = line.rsplit_once(' ').with_context(|| format!("no count: {line}"))?;
            let count = count.parse().with_context(|| format!("no count: {line}"))?;
            Ok((frames.split(';').map(str::to_owned).collect(), count))
        };
        text.lines().map(line).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Those of a process.
    pub(super) fn of(&self, process: &str) -> Self {
        self.only(|frames| frames[0] == process)
    }

    /// Those that hold these frames one after the other.
    pub(super) fn with_chain(&self, chain: &[&str]) -> Self {
        self.only(|frames| frames.windows(chain.len()).any(|window| window == chain))
    }

    /// Those whose user part is whole.
    pub(super) fn complete(&self) -> Self {
        self.only(|frames| !frames.iter().any(|frame| frame.starts_with("[incomplete")))
    }

    /// Samples in all.
    pub(super) fn samples(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn only(&self, wanted: impl Fn(&[String]) -> bool) -> Self {
        Self(self.0.iter().filter(|(frames, _)| wanted(frames)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stacks_by_process_chain_and_wholeness() {
        let text = "a;x;y z;y 3\na;[incomplete: too_deep];y z 2\nb;x;y z 4\n";
        let stacks = Stacks::parse(text).unwrap();
        assert_eq!(stacks.samples(), 9);
        assert_eq!(stacks.of("a").samples(), 5);
        assert_eq!(stacks.with_chain(&["x", "y z"]).samples(), 7);
        assert_eq!(stacks.of("a").complete().samples(), 3);
        assert!(Stacks::parse("a;b\n").is_err());
    }
}
