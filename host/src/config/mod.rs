//! The agent's configuration: every key and its default.
//!
//! ```text
//! file      reads a file, and decides whether it may say which libraries are loaded
//! layer     one source of values, checked by itself: problems know where they are
//! keys      the list of keys and what each allows, for all sources
//! load      defaults < files < environment < command line
//! validate  what keys demand of each other
//! shares    how memory.max is divided
//! problem   what can be wrong, in sentences
//! ```

mod file;
#[doc(hidden)]
pub mod fuzz;
mod keys;
mod layer;
mod load;
mod problem;
mod shares;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use keys::{LARGEST_PID, is_path_pattern};
pub use load::{Sources, load};
pub use problem::{ConfigError, Origin, Problem};
pub(crate) use problem::{dotted, shown};
pub use shares::Shares;

use crate::bpf::LARGEST_SPREAD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The extent and the rate of sampling.
    pub sampling: Sampling,
    /// The processes to sample.
    pub filter: Filter,
    /// Capabilities of the system that the agent must not use.
    pub capabilities: Capabilities,
    /// The search for kernel offsets.
    pub offsets: Offsets,
    /// The treatment of known kernel bugs.
    pub hazards: Hazards,
    /// Budgets.
    pub memory: Memory,
    /// Names of functions.
    pub symbolize: Symbolize,
    /// Keys and values that every profile carries, such as `team = "blue"`.
    pub labels: BTreeMap<String, String>,
    /// Which shared libraries may be loaded.
    pub plugins: Plugins,
    /// The exporters: one section an instance.
    pub exporters: BTreeMap<String, Exporter>,
    /// Who watches the agent.
    pub health: Health,
    /// Who tells the agent something while it runs.
    pub control: Control,
    /// The log of the agent.
    pub log: Log,
    /// The end.
    pub shutdown: Shutdown,
}

/// The extent and the rate of sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Samples per second and CPU, 1 to 10000 (`run`; `record` has its own default, 99).
    pub frequency_hz: u32,
    /// The extent to which the period changes at random, in per cent: the largest distance of a rate below
    /// `frequency_hz`. 0 to 50; 0: the period is fixed.
    pub period_spread: u32,
    /// Length of one profile, in seconds (`run`).
    pub interval_seconds: u32,
    /// Features without which the agent shall not start: `user_stacks`, `user_stacks_in_kernel`,
    /// `kernel_stacks`, `kernel_names`, `process_notices`, `sampling_times`.
    pub require: Vec<String>,
    /// True if unwind rules that the sampler has cached are looked up, too, and differences are counted.
    pub verify_unwinding: bool,
}

/// The processes to sample. Each kind of list excludes by itself: a process is sampled if no list excludes it. In
/// patterns `*` stands for any text and `?` for any byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only these processes and their descendants; empty: all.
    pub pid: Vec<u32>,
    /// Only processes of these names, as patterns; empty: all.
    pub comm: Vec<String>,
    /// Only what is in these cgroups, by patterns of their paths; empty: all.
    pub cgroup: Vec<String>,
    /// Not these processes and their descendants.
    pub deny_pid: Vec<u32>,
    /// Not processes of these names, as patterns.
    pub deny_comm: Vec<String>,
    /// Not what is in these cgroups, by patterns of their paths.
    pub deny_cgroup: Vec<String>,
}

/// Capabilities that are treated as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Names as `stacksonde doctor` prints them: `kernel.btf`.
    pub deny: Vec<String>,
}

/// The search for kernel offsets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Offsets {
    /// Plugins to ask, in this order; empty: the built-in order (btf, selfprobe, tracepoint).
    pub order: Vec<String>,
    /// True if two plugins are asked for each offset and compared.
    pub verify: bool,
    /// Each provider's own keys, by its name.
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// The treatment of known kernel bugs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hazards {
    /// The treatment of a hazard that could be neither proved nor excluded.
    pub on_unproven: OnUnproven,
    /// Hazards that this kernel may have whatever its version says.
    pub assume: Vec<String>,
}

/// See [`Hazards::on_unproven`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnproven {
    /// Work around it.
    #[default]
    Mitigate,
    /// Do not start.
    Refuse,
    /// Run as if it were excluded.
    Ignore,
}

/// Budgets. What does not fit is counted as a loss, with the key's name as the remedy. A key at 0 takes its share of
/// `max` ([`Config::shares`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Bytes of BPF maps (4/9) and of the agent's peak of resident memory (5/9).
    pub max: u64,
    /// Ring of samples of each CPU, in bytes; a power of two of at least a page.
    pub ring_bytes: u32,
    /// Ring of process events of each CPU, in bytes; a power of two of at least a page.
    pub sideband_bytes: u32,
    /// Processes whose mappings are remembered.
    pub max_processes: u32,
    /// Executable mappings remembered, over all processes.
    pub max_mappings: u32,
    /// Executable files remembered.
    pub max_executables: u32,
    /// Table of unwind rows of the pages of code that were sampled, in bytes.
    pub unwind_rows_bytes: u32,
    /// Table of unwind rules that the sampler found lately, in bytes; less than a line: none.
    pub recent_rules_bytes: u32,
    /// Distinct stacks of one profile.
    pub max_stacks: u32,
}

/// Names of functions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Symbolize {
    /// True if inlined functions and source lines are looked up in debug information.
    pub inlined: bool,
    /// Symbolized addresses remembered; 0: as `memory.max` allows.
    pub max_cached: u32,
}

/// Which shared libraries may be loaded. Read from files only, never from the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// The folders in which they are looked for, in this order. Absolute, owned by root, writable by root alone.
    pub directories: Vec<PathBuf>,
    /// Names to load; one that is absent is only a note.
    pub load: Vec<String>,
    /// Names that must load.
    pub required: Vec<String>,
    /// Libraries that a plugin may need beside the C library's: `libcurl.so.4`.
    pub allow_needed: Vec<String>,
    /// SHA-256 of a plugin's file, as 64 hexadecimal digits, by the plugin's name. A plugin with a pin is loaded
    /// only if its file is exactly that one; a name without a pin is judged by its file's owner and mode alone.
    pub pins: BTreeMap<String, String>,
}

/// One exporter instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exporter {
    /// Name of the plugin that exports.
    pub plugin: String,
    /// True if the agent must not start without it.
    #[serde(default)]
    pub required: bool,
    /// Batches that may wait.
    #[serde(default = "Exporter::default_queue_batches")]
    pub queue_batches: u32,
    /// Bytes that may wait.
    #[serde(default = "Exporter::default_queue_bytes")]
    pub queue_bytes: u64,
    /// Directory in which batches wait on disk, in a folder of the exporter's name; empty for in memory only.
    #[serde(default)]
    pub spool_directory: String,
    /// Bytes that may wait there.
    #[serde(default = "Exporter::default_spool_bytes")]
    pub spool_bytes: u64,
    /// The longest time for one call, in seconds, before the exporter counts as stuck.
    #[serde(default = "Exporter::default_deadline_seconds")]
    pub deadline_seconds: u32,
    /// The plugin's own keys; its manifest says which.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// Who watches the agent (`run`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// The address at which `GET /healthz` and `GET /metrics` are answered: `unix:/path`, or an address of this machine
    /// alone such as `127.0.0.1:9464`; empty for none.
    pub listen: String,
}

/// Who tells the agent something while it runs (`run`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Socket at which `stacksonde reload` asks; an absolute path, or empty for none.
    pub socket: String,
}

/// The log of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or directives as of `tracing`'s `EnvFilter`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// See [`Log::format`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time for everything that is still to be handed over, in milliseconds.
    pub budget_ms: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            frequency_hz: 19,
            period_spread: LARGEST_SPREAD,
            interval_seconds: 10,
            require: Vec::new(),
            verify_unwinding: false,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            max: 72 << 20,
            ring_bytes: 0,
            sideband_bytes: 0,
            max_processes: 0,
            max_mappings: 0,
            max_executables: 0,
            unwind_rows_bytes: 0,
            recent_rules_bytes: 0,
            max_stacks: 0,
        }
    }
}

impl Default for Symbolize {
    fn default() -> Self {
        Self { inlined: true, max_cached: 0 }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            directories: env!("STACKSONDE_LIBRARY_FOLDERS")
                .split(':')
                .map(|folder| PathBuf::from(folder).join("stacksonde/plugins-1"))
                .collect(),
            load: [
                "btf-offsets",
                "selfprobe-offsets",
                "tracepoint-offsets",
                "probe-read-safety",
                "file-export",
                "otlp-export",
            ]
            .map(String::from)
            .into(),
            required: Vec::new(),
            allow_needed: Vec::new(),
            pins: BTreeMap::new(),
        }
    }
}

impl Exporter {
    /// An exporter that uses `plugin`, everything else at its default.
    pub fn of(plugin: &str) -> Self {
        Self {
            plugin: plugin.into(),
            required: false,
            queue_batches: Self::default_queue_batches(),
            queue_bytes: Self::default_queue_bytes(),
            spool_directory: String::new(),
            spool_bytes: Self::default_spool_bytes(),
            deadline_seconds: Self::default_deadline_seconds(),
            config: serde_json::Map::new(),
        }
    }

    fn default_queue_batches() -> u32 {
        16
    }

    fn default_queue_bytes() -> u64 {
        8 << 20
    }

    fn default_spool_bytes() -> u64 {
        256 << 20
    }

    fn default_deadline_seconds() -> u32 {
        30
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: "/run/stacksonde/control.sock".into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { budget_ms: 1500 }
    }
}
