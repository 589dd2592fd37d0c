//! The summary for a person when a recording ends.

use crate::plugins::ExporterCounters;
use crate::process::{Frame, UnreadFiles, comm_text};
use crate::profile::Profile;
use crate::symbolize::{Names, SymbolizeCounters};
use crate::telemetry::Losses;
use crate::terminal::{Charset, Paint, fit_behind, pad};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// The number of functions and processes that are listed.
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
    /// CPU time that one sample stands for in the mean, in nanoseconds.
    pub period_ns: u64,
    /// CPU time that all samples stand for, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Samples that were lost.
    pub losses: Losses,
    /// Attempts in vain to look at files of the programs.
    pub unread: UnreadFiles,
    /// Executable mappings of sampled processes for which there was no room, at most at once.
    pub mappings_left_out: u64,
    /// Counters of names that were given up.
    pub names: SymbolizeCounters,
    /// Names of some of the files whose debug information is split.
    pub split_names: Vec<Arc<str>>,
    /// The counters of each exporter.
    pub exporters: Vec<(String, ExporterCounters)>,
    /// CPU time by process and its name, in nanoseconds.
    processes: HashMap<(u32, String), u64>,
    /// CPU time by the function at the leaf, in nanoseconds.
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
        self.unread.merge(&profile.unread);
        self.mappings_left_out = self.mappings_left_out.max(profile.mappings_left_out);
        for sample in &profile.samples {
            let (count, cpu_time_ns) = (sample.count(), sample.cpu_time_ns());
            self.cpu_time_ns = self.cpu_time_ns.saturating_add(cpu_time_ns);
            let stack = &profile.stacks[sample.stack as usize];
            let thread = &profile.threads[sample.thread as usize];
            let process = &thread.process;
            match self.processes.get_mut(&(process.pid, process.comm.clone())) {
                Some(sum) => *sum += cpu_time_ns,
                None => drop(self.processes.insert((process.pid, process.comm.clone()), cpu_time_ns)),
            }
            if !stack.is_complete() {
                *self.incomplete.entry(stack.outcome()).or_default() += count;
            }
            let leaf = profile.frames_of(stack).next().map(|frame| frame as usize);
            let function = leaf.map_or_else(
                || format!("[no frames of {}]", comm_text(&thread.comm)),
                |leaf| function_name(&profile.frames[leaf], &names[leaf]),
            );
            *self.functions.entry(function).or_default() += cpu_time_ns;
        }
    }

    /// The functions that were on the CPU most of the time, with that in nanoseconds.
    pub fn hottest(&self) -> Vec<(&str, u64)> {
        hottest(self.functions.iter().map(|(name, count)| (name.as_str(), *count)))
    }

    /// The processes that were on CPUs most of the time: their ids and names, with that in nanoseconds.
    pub fn hottest_processes(&self) -> Vec<(&(u32, String), u64)> {
        hottest(self.processes.iter().map(|(process, count)| (process, *count)))
    }

    /// For a person, with colours or without. Long names are cut to lines of so many columns if any are given.
    pub fn painted(&self, paint: Paint, columns: Option<usize>) -> impl fmt::Display + '_ {
        Painted {
            summary: self,
            paint,
            charset: Charset::of_locale(),
            columns: columns.unwrap_or(usize::MAX),
        }
    }
}

fn hottest<T: Ord>(all: impl Iterator<Item = (T, u64)>) -> Vec<(T, u64)> {
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(HOTTEST);
    all
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
        Frame::File(executable, address) => format!("{}+{:#x}", executable.name(), address.0),
        Frame::Unknown(address) => format!("{address:#x}"),
    }
}

struct Painted<'a> {
    summary: &'a Summary,
    paint: Paint,
    charset: Charset,
    /// Columns of a line.
    columns: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (charset, columns) = (Charset::Unicode, usize::MAX);
        Painted { summary: self, paint: Paint(false), charset, columns }.fmt(f)
    }
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (summary, paint) = (self.summary, self.paint);
        let cpu_seconds = |samples: u64| samples as f64 * summary.period_ns as f64 / 1e9;
        let seconds = summary.cpu_time_ns as f64 / 1e9;
        let pids: HashSet<u32> = summary.processes.keys().map(|(pid, _)| *pid).collect();
        writeln!(
            f,
            "samples      {} of {} processes ({seconds:.2} s of CPU time)",
            summary.samples,
            pids.len()
        )?;
        writeln!(f, "complete     {:.1} % of stacks", share(summary.complete, summary.samples))?;
        for (end, count) in &summary.incomplete {
            writeln!(f, "             {:.1} % {end}", share(*count, summary.samples))?;
        }
        if summary.excluded > 0 {
            let (excluded, seconds) = (summary.excluded, cpu_seconds(summary.excluded));
            writeln!(f, "excluded     {excluded} samples ({seconds:.2} s of CPU time), by the filter")?;
        }
        match summary.losses.total() {
            0 => writeln!(f, "lost         {}", paint.good("nothing"))?,
            total => writeln!(f, "lost         {}", paint.warning(format_args!("{total} samples")))?,
        }
        for (loss, count) in summary.losses.iter() {
            let remedy =
                if loss.remedy().is_empty() { String::new() } else { format!(" ({})", loss.remedy()) };
            writeln!(f, "             {count} {}{remedy}", loss.name())?;
        }
        for (reason, count) in summary.unread.by_reason() {
            if count > 0 {
                writeln!(
                    f,
                    "files        {} {reason}: attempts to look at programs and libraries, which the log names",
                    paint.warning(count)
                )?;
            }
        }
        if summary.names.files_without_lines > 0 {
            writeln!(
                f,
                "names        without some lines and inlined functions in {} programs and libraries, whose debug \
                 information is large (raise memory.max)",
                summary.names.files_without_lines
            )?;
        }
        if summary.names.files_split > 0 {
            let names: Vec<_> = summary.split_names.iter().map(|name| self.charset.plain(name)).collect();
            let all = usize::try_from(summary.names.files_split).unwrap_or(usize::MAX);
            let others = if all > names.len() { ", ..." } else { "" };
            writeln!(
                f,
                "names        without some lines and inlined functions in {all} programs and libraries, whose debug \
                 information is partly in other files (.dwo, .dwp, dwz), which are not read: {}{others}",
                names.join(", ")
            )?;
        }
        if summary.names.addresses_not_looked_up > 0 {
            writeln!(
                f,
                "names        missing at {} addresses, whose files were gone, could not be read, or took too long; \
                 the log names them",
                summary.names.addresses_not_looked_up
            )?;
        }
        if summary.names.kernel_functions_left_out > 0 {
            writeln!(
                f,
                "             {} functions of the kernel have none (raise memory.max)",
                summary.names.kernel_functions_left_out
            )?;
        }
        if summary.mappings_left_out > 0 {
            writeln!(
                f,
                "mappings     {} left out, whose code has no names (raise memory.max or memory.max_mappings)",
                summary.mappings_left_out
            )?;
        }
        for (exporter, counters) in &summary.exporters {
            if let Some(error) = &counters.last_error {
                writeln!(f, "exporter     {}: {}", exporter, paint.warning(self.charset.plain(error)))?;
            }
        }
        if summary.samples > 0 {
            self.hottest(f)?;
        }
        Ok(())
    }
}

impl Painted<'_> {
    fn hottest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (summary, paint) = (self.summary, self.paint);
        writeln!(f, "{}", paint.bold("hottest processes (share of CPU time)"))?;
        for ((pid, comm), cpu_time_ns) in summary.hottest_processes() {
            let share = share(cpu_time_ns, summary.cpu_time_ns);
            let comm = pad(&self.charset.plain(comm), 15, self.charset);
            let line = match pid {
                0 => format!("  {share:5.1} %    {comm}"),
                pid => format!("  {share:5.1} %    {comm}  {pid}"),
            };
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "{}", paint.bold("hottest functions (share of CPU time)"))?;
        for (name, cpu_time_ns) in summary.hottest() {
            let head = format!("  {:5.1} %    ", share(cpu_time_ns, summary.cpu_time_ns));
            let name = self.charset.plain(name);
            writeln!(f, "{}", fit_behind(&head, &name, self.columns, self.charset))?;
        }
        Ok(())
    }
}

/// `part` of `whole` in percent.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::columns;

    #[test]
    fn a_long_name_has_both_ends_on_a_terminal_and_is_whole_elsewhere() {
        let name = format!("begins_{}_ends", "x".repeat(300));
        let functions = HashMap::from([(name.clone(), 1)]);
        let summary = Summary { samples: 1, period_ns: 1, functions, ..Summary::default() };
        assert!(summary.to_string().contains(&name));
        let shown =
            Painted { summary: &summary, paint: Paint(false), charset: Charset::Unicode, columns: 40 };
        let shown = shown.to_string();
        let line = shown.lines().last().unwrap();
        assert_eq!(columns(line), 40, "{line}");
        assert!(line.contains("    begins_x") && line.contains('…') && line.ends_with("x_ends"), "{line}");
    }
}
