//! Flags that say whose samples are wanted: the keys of `filter`, each by its name.

use crate::config::{Filter, LARGEST_PID, is_path_pattern};
use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;

/// Flags that select the processes to sample.
#[derive(Clone, Debug, Args)]
pub(super) struct FilterArguments {
    /// Only this process and its descendants; may be given several times, like all of these.
    #[arg(short = 'p', long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_PID)))]
    pid: Vec<u32>,
    /// Only processes of this name, that of their main thread; `*` stands for any text, `?` for any one byte.
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    comm: Vec<String>,
    /// Only what is in this cgroup, by its path as /proc/PID/cgroup shows it; `*` stands for slashes, too.
    #[arg(long, value_name = "PATTERN", value_parser = path_pattern)]
    cgroup: Vec<String>,
    /// Not this process and its descendants.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_PID)))]
    deny_pid: Vec<u32>,
    /// Not processes of this name.
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    deny_comm: Vec<String>,
    /// Not what is in this cgroup.
    #[arg(long, value_name = "PATTERN", value_parser = path_pattern)]
    deny_cgroup: Vec<String>,
}

fn path_pattern(text: &str) -> Result<String, String> {
    match is_path_pattern(text) {
        true => Ok(text.to_owned()),
        false => Err("a pattern of a cgroup's path begins with `/` or `*`".into()),
    }
}

impl FilterArguments {
    /// Tells whether the command line selects processes.
    pub(super) fn names_targets(&self) -> bool {
        !(self.pid.is_empty() && self.comm.is_empty() && self.cgroup.is_empty())
    }

    /// The processes that were asked for.
    pub(super) fn pids(&self) -> &[u32] {
        &self.pid
    }

    /// The configured filter with what the command line says. Who says there who alone is wanted need not know what
    /// files say of that; what they deny stays denied.
    pub(super) fn over(&self, configured: &Filter) -> Filter {
        let or = |flags: &[String], configured: &[String]| -> Vec<String> {
            if flags.is_empty() { configured.into() } else { flags.into() }
        };
        let mut filter = configured.clone();
        if self.names_targets() {
            filter = Filter { pid: Vec::new(), comm: Vec::new(), cgroup: Vec::new(), ..filter };
        }
        let pids = |flags: &[u32], configured: &[u32]| -> Vec<u32> {
            if flags.is_empty() { configured.into() } else { flags.into() }
        };
        Filter {
            pid: pids(&self.pid, &filter.pid),
            comm: or(&self.comm, &filter.comm),
            cgroup: or(&self.cgroup, &filter.cgroup),
            deny_pid: pids(&self.deny_pid, &filter.deny_pid),
            deny_comm: or(&self.deny_comm, &filter.deny_comm),
            deny_cgroup: or(&self.deny_cgroup, &filter.deny_cgroup),
        }
    }

    /// Refuses processes of the command line that are not there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for pid in self.pid.iter().chain(&self.deny_pid) {
            if !exists(*pid) {
                bail!("there is no process {pid}; `ps -e` lists those that are");
            }
        }
        Ok(())
    }
}

/// Says which processes that the filter names are not there: ids do not outlive them, and a file may.
pub(super) fn warn_of_absent(filter: &Filter) {
    let keys = [("filter.pid", &filter.pid), ("filter.deny_pid", &filter.deny_pid)];
    for (key, pids) in keys {
        for pid in pids.iter().filter(|pid| !exists(**pid)) {
            tracing::warn!(
                "`{key}` names the process {pid}, which there is not; `ps -e` lists those that are"
            );
        }
    }
}

/// Tells whether there is such a process, in our pid namespace.
pub(super) fn exists(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        filter: FilterArguments,
    }

    fn over(configured: &Filter, flags: &[&str]) -> Filter {
        let flags = Flags::try_parse_from([&["x"], flags].concat()).unwrap_or_else(|error| panic!("{error}"));
        flags.filter.over(configured)
    }

    #[test]
    fn the_command_line_says_who_is_wanted_and_files_who_is_not() {
        let configured = Filter {
            comm: vec!["nginx".into()],
            deny_comm: vec!["stress*".into()],
            deny_pid: vec![7],
            ..Filter::default()
        };
        assert_eq!(over(&configured, &[]), configured);
        let asked = over(&configured, &["-p", "12", "--pid", "13"]);
        let expected = Filter { pid: vec![12, 13], comm: vec![], ..configured.clone() };
        assert_eq!(asked, expected);
        let denied = over(&configured, &["--deny-comm", "a,b", "--deny-cgroup", "*/x"]);
        let expected =
            Filter { deny_comm: vec!["a,b".into()], deny_cgroup: vec!["*/x".into()], ..configured.clone() };
        assert_eq!(denied, expected);
    }

    #[test]
    fn what_could_never_be_meant_is_refused() {
        for flags in [["--pid", "0"], ["--comm", ""], ["--cgroup", "system.slice"], ["--deny-pid", "5000000"]]
        {
            assert!(Flags::try_parse_from(["x", flags[0], flags[1]]).is_err(), "{flags:?}");
        }
    }
}
