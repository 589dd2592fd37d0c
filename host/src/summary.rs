//! What a person wants to know when a recording ends.

use crate::plugins::ExporterCounters;
use crate::process::{Frame, comm_text};
use crate::profile::Profile;
use crate::symbolize::{Names, SymbolizeCounters};
use crate::telemetry::Losses;
use stacksonde_ebpf::user_end;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// How many functions are listed.
const HOTTEST: usize = 10;

/// Sums over all profiles of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Samples.
    pub samples: u64,
    /// Samples with a complete stack.
    pub complete: u64,
    /// Samples whose user part is not whole, by how it ended.
    pub incomplete: BTreeMap<&'static str, u64>,
    /// Ticks of the idle task.
    pub idle: u64,
    /// Samples that the filter leaves out.
    pub excluded: u64,
    /// CPU time that one sample stands for, in nanoseconds.
    pub period_ns: u64,
    /// Samples that were lost.
    pub losses: Losses,
    /// What was given up of names.
    pub names: SymbolizeCounters,
    /// What each exporter did.
    pub exporters: Vec<(String, ExporterCounters)>,
    processes: HashSet<u32>,
    /// Samples by the function at the leaf.
    functions: HashMap<String, u64>,
}

impl Summary {
    /// Counts a profile in. `names` has an entry for each frame of it.
    pub fn add(&mut self, profile: &Profile, names: &[Names]) {
        self.samples += profile.sample_count();
        self.complete += profile.complete_count();
        self.idle += profile.idle;
        self.excluded += profile.excluded;
        self.period_ns = profile.period_ns;
        self.losses.merge(&profile.losses);
        for sample in &profile.samples {
            let count = sample.times_ns.len() as u64;
            let stack = &profile.stacks[sample.stack as usize];
            let thread = &profile.threads[sample.thread as usize];
            self.processes.insert(thread.process.pid);
            if !stack.is_complete() {
                *self.incomplete.entry(user_end::name(stack.user_end)).or_default() += count;
            }
            let leaf = stack.frames.first().map(|frame| *frame as usize);
            let function = leaf.map_or_else(
                || format!("[no frames of {}]", comm_text(&thread.comm)),
                |leaf| function_name(&profile.frames[leaf], &names[leaf]),
            );
            *self.functions.entry(function).or_default() += count;
        }
    }

    /// The functions that were on the CPU most often, with their samples.
    pub fn hottest(&self) -> Vec<(&str, u64)> {
        let mut functions: Vec<_> =
            self.functions.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        functions.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        functions.truncate(HOTTEST);
        functions
    }
}

fn function_name(frame: &Frame, names: &Names) -> String {
    if let Some(name) = names.first() {
        return match frame {
            Frame::Kernel(_) => format!("{} [kernel]", name.function),
            _ => name.function.to_string(),
        };
    }
    match frame {
        Frame::Kernel(address) => format!("{address:#x} [kernel]"),
        Frame::File(executable, address) => format!("{}+{:#x}", base_name(&executable.path), address.0),
        Frame::Unknown(address) => format!("{address:#x}"),
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        let cpu_seconds = |samples: u64| samples as f64 * self.period_ns as f64 / 1e9;
        let seconds = cpu_seconds(self.samples);
        writeln!(
            f,
            "samples      {} of {} processes ({seconds:.2} s of CPU time)",
            self.samples,
            self.processes.len()
        )?;
        writeln!(f, "complete     {:.1} % of stacks", share(self.complete, self.samples))?;
        for (end, count) in &self.incomplete {
            writeln!(f, "             {:.1} % {end}", share(*count, self.samples))?;
        }
        if self.excluded > 0 {
            let (excluded, seconds) = (self.excluded, cpu_seconds(self.excluded));
            writeln!(f, "excluded     {excluded} samples ({seconds:.2} s of CPU time), by the filter")?;
        }
        match self.losses.total() {
            0 => writeln!(f, "lost         nothing")?,
            total => writeln!(f, "lost         {total} samples")?,
        }
        for (loss, count) in self.losses.iter() {
            let remedy =
                if loss.remedy().is_empty() { String::new() } else { format!(" ({})", loss.remedy()) };
            writeln!(f, "             {count} {}{remedy}", loss.name())?;
        }
        if self.names.files_without_lines > 0 {
            writeln!(
                f,
                "names        without lines and inlined functions in {} programs and libraries, whose debug \
                 information is large (raise memory.max)",
                self.names.files_without_lines
            )?;
        }
        for (exporter, counters) in &self.exporters {
            if let Some(error) = &counters.last_error {
                writeln!(f, "exporter     {exporter}: {error}")?;
            }
        }
        if self.samples > 0 {
            writeln!(f, "hottest functions (share of samples)")?;
        }
        for (name, count) in self.hottest() {
            writeln!(f, "  {:5.1} %    {name}", share(count, self.samples))?;
        }
        Ok(())
    }
}
