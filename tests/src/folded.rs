//! Folded stacks: `process;root;...;leaf count`, a line each.

/// The stacks of a folded file.
#[derive(Clone, Debug, Default)]
pub struct Stacks(Vec<(Vec<String>, u64)>);

impl Stacks {
    /// Reads folded text.
    ///
    /// # Panics
    ///
    /// If a line has no count.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (frames, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no count: {line}"));
            let count = count.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            (frames.split(';').map(str::to_owned).collect(), count)
        };
        Self(text.lines().map(line).collect())
    }

    /// The stacks of one process, by its name.
    pub fn of(&self, process: &str) -> Self {
        self.matching(|frames| frames[0] == process)
    }

    /// The stacks of whose frames this holds.
    #[must_use]
    pub fn matching(&self, holds: impl Fn(&[String]) -> bool) -> Self {
        Self(self.0.iter().filter(|(frames, _)| holds(frames)).cloned().collect())
    }

    /// The stacks that hold these frames one after the other.
    pub fn with_chain(&self, chain: &[&str]) -> Self {
        self.matching(|frames| frames.windows(chain.len()).any(|window| window == chain))
    }

    /// The stacks with a frame of which this holds.
    pub fn with_frame(&self, holds: impl Fn(&str) -> bool) -> Self {
        self.matching(|frames| frames.iter().any(|frame| holds(frame)))
    }

    /// The stacks with kernel frames.
    pub fn in_kernel(&self) -> Self {
        self.with_frame(|frame| frame.ends_with("_[k]"))
    }

    /// The stacks whose user part is marked as not whole.
    pub fn incomplete(&self) -> Self {
        self.with_frame(|frame| frame.starts_with("[incomplete"))
    }

    /// Samples whose user part is marked as not whole, by the reason of the mark.
    pub fn incomplete_by_reason(&self) -> std::collections::BTreeMap<String, u64> {
        let mut reasons = std::collections::BTreeMap::new();
        for (frames, count) in &self.0 {
            let reason =
                frames.iter().find_map(|frame| frame.strip_prefix("[incomplete: ")?.strip_suffix(']'));
            if let Some(reason) = reason {
                *reasons.entry(reason.to_owned()).or_default() += count;
            }
        }
        reasons
    }

    /// Frames of the deepest stack, the process's name among them.
    pub fn depth(&self) -> usize {
        self.0.iter().map(|(frames, _)| frames.len()).max().unwrap_or(0)
    }

    /// Samples in all.
    pub fn samples(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The names of the processes.
    pub fn processes(&self) -> std::collections::BTreeSet<&str> {
        self.0.iter().map(|(frames, _)| frames[0].as_str()).collect()
    }
}
