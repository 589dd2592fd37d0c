//! From arguments to a running agent: config, log, plugins, plan, exporters. Shared by `record` and `run`.

use super::admit::{Exporting, load_plugins};
use crate::agent::{Agent, Parts};
use crate::batch::Run;
use crate::bpf::{Ids, Notices, Settings, StackCopies, TableSizes, UserWalk, monotonic_ns, release_admin};
use crate::config::{self, Config, LogFormat, Shares, Sources};
use crate::feed::Feed;
use crate::filter::Rules;
use crate::health::Vitals;
use crate::kernel::PidNamespace;
use crate::negotiate::{Severity, State, features};
use crate::plan::{self, Plan, Survey};
use crate::plugins::{BATCH_FORMAT, Exporters, FileRules};
use crate::priority::Turn;
use crate::process::Budget;
use crate::symbolize;
use crate::telemetry::reached;
use crate::terminal::{Colour, stderr};
use anyhow::{Context, bail};
use clap::Args;
use stacksonde_plugin::{Offer, Outcome};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Flags for the sources of the configuration and for the log.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigArguments {
    /// Config file; may be given several times, later ones win. Without it /etc/stacksonde/stacksonde.toml and conf.d.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Filter of the log: error, warn, info, debug, trace, or directives such as `stacksonde::process=debug`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// For development only: load plugins that others than root could have changed.
    #[arg(long)]
    trust_any_plugin_owner: bool,
}

impl ConfigArguments {
    /// Reads the configuration.
    pub(super) fn read(&self, flags: &[(&str, String)]) -> anyhow::Result<Config> {
        let mut flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        if let Some(filter) = &self.log {
            flags.push(("log.filter".into(), filter.clone()));
        }
        let files = if self.files.is_empty() { Sources::default_files() } else { self.files.clone() };
        Ok(crate::config::load(&Sources { files, environment: Sources::process_environment(), flags })?)
    }

    /// Reads the configuration and starts logging. `quietly` is the log filter of a command for people.
    pub(super) fn load(&self, quietly: Option<&str>, flags: &[(&str, String)]) -> anyhow::Result<Config> {
        Ok(self.begin(quietly, flags)?.0)
    }

    /// The same, for who may change later what is logged.
    pub(super) fn begin(
        &self,
        quietly: Option<&str>,
        flags: &[(&str, String)],
    ) -> anyhow::Result<(Config, LogFilter)> {
        let config = self.read(flags)?;
        let filter = match quietly {
            Some(quietly) if config.log.filter == crate::config::Log::default().filter => quietly,
            _ => &config.log.filter,
        };
        let filter: EnvFilter = filter.parse().with_context(|| format!("log.filter `{filter}`"))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr::Log);
        // What is kept is shown in places that codes would spoil.
        let colours = Colour::Auto.is_on(std::io::stderr().is_terminal());
        let log = log.with_ansi(colours && !stderr::is_held());
        let set: SetFilter = match config.log.format {
            LogFormat::Text => {
                let log = log.with_filter_reloading();
                let handle = log.reload_handle();
                log.init();
                Box::new(move |filter| handle.reload(filter))
            }
            LogFormat::Json => {
                let log = log.json().with_filter_reloading();
                let handle = log.reload_handle();
                log.init();
                Box::new(move |filter| handle.reload(filter))
            }
        };
        Ok((config, LogFilter(set)))
    }

    /// Returns the rules by which plugin files are judged.
    pub(super) fn file_rules(&self, config: &config::Plugins) -> FileRules {
        if self.trust_any_plugin_owner {
            tracing::warn!(
                "--trust-any-plugin-owner: whoever can write a plugin's file can run code in this process"
            );
        }
        FileRules::new(config, self.trust_any_plugin_owner)
    }
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send>;

/// The filter of the log, which can be changed while it is in use.
pub(super) struct LogFilter(SetFilter);

impl LogFilter {
    /// From now on, what the text of `log.filter` says.
    pub(super) fn set(&self, filter: &str) -> anyhow::Result<()> {
        let parsed = filter.parse().with_context(|| format!("log.filter `{filter}`"))?;
        (self.0)(parsed).context("the log does not take another filter")
    }
}

/// Everything short of sampling: plugins loaded, the plan made, exporters created. And what it takes to make others
/// later. With a feed there are none: what is sampled stays here.
pub(super) fn prepare(
    config: &Config,
    interval: Option<Duration>,
    rules: &FileRules,
    feed: Option<Feed>,
) -> anyhow::Result<(Parts, Exporting)> {
    let _first = Turn::first();
    reached("configuration read", monotonic_ns());
    let survey = Survey::take(config)?;
    reached("system probed", monotonic_ns());
    let loaded = load_plugins(config, &survey.capabilities, rules)?;
    reached("plugins loaded", monotonic_ns());
    let plan = plan::make(config, &survey, &loaded.plugins);
    reached("offsets found and confirmed", monotonic_ns());
    if let Some(refusal) = plan.refusal() {
        report_errors(&plan);
        bail!(refusal);
    }
    report(&plan);
    let exporting = Exporting::new(loaded, survey.capabilities, offer(interval));
    let budget = Duration::from_millis(config.shutdown.budget_ms.into());
    let created = match feed {
        None => exporting.start(config)?,
        Some(_) => Vec::new(),
    };
    let exporters = Exporters::new(created, budget);
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let shares = config.shares(crate::bpf::online_cpus().len());
    let parts = Parts {
        sampler: sampler_settings(config, &shares, &plan),
        interval,
        budget: Budget {
            processes: size(shares.max_processes),
            mappings: size(shares.max_mappings),
            executables: size(shares.max_executables),
        },
        profile: crate::profile::Budget {
            stacks: size(shares.max_stacks),
            bytes: bytes(shares.profile_bytes),
        },
        symbolize: symbolize::Options {
            kernel: plan.state("kernel_names") != State::Off,
            inlined: config.symbolize.inlined,
            max_cached: size(shares.max_cached),
            memory: symbolize::Memory {
                cached: bytes(shares.names_bytes),
                kernel: bytes(shares.kernel_names_bytes),
                debug: shares.debug_bytes,
            },
        },
        run: describe_run(&plan, &config.labels)?,
        exporters,
        feed,
        progress: None,
        vitals: Vitals::new(interval),
    };
    Ok((parts, exporting))
}

/// Makes the offer to exporters.
pub(super) fn offer(interval: Option<Duration>) -> Offer {
    Offer {
        formats: vec![BATCH_FORMAT.into()],
        max_bytes: u64::from(u32::MAX),
        value_types: vec!["samples".into(), "cpu".into()],
        names_available: true,
        interval_ms: interval.map_or(0, |interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Starts sampling, and says which CPUs are left out.
pub(super) fn arm(parts: Parts) -> anyhow::Result<Agent> {
    reached("exporters ready", monotonic_ns());
    crate::descriptors::raise_limit();
    let first = Turn::first();
    let agent = Agent::start(parts)?;
    drop(first);
    // From here on files and exporters of others are dealt with.
    release_admin();
    reached("programs loaded, sampling", monotonic_ns());
    for refused in agent.refused_cpus() {
        tracing::warn!("{refused}");
    }
    Ok(agent)
}

/// Says for the first time whose samples are wanted.
pub(super) fn want(agent: &Agent, rules: Rules) -> anyhow::Result<()> {
    match agent.want(rules) {
        true => Ok(()),
        // It waits for nothing else.
        false => bail!("the agent ended before it began; the log says why"),
    }
}

fn sampler_settings(config: &Config, shares: &Shares, plan: &Plan) -> Settings {
    let fact = |name: &str| plan.offset(name).and_then(|value| u32::try_from(value).ok());
    let stack = fact(stacksonde_plugin::fact::TASK_STRUCT_STACK);
    Settings {
        period_ns: 1_000_000_000 / u64::from(config.sampling.frequency_hz.max(1)),
        period_spread: match plan.way(features::SAMPLING_TIMES) {
            features::RANDOM => config.sampling.period_spread,
            _ => 0,
        },
        ring_bytes: shares.ring_bytes,
        sideband_bytes: shares.sideband_bytes,
        entry_registers: stack.zip(fact(stacksonde_plugin::fact::STACK_PT_REGS)),
        user_walk: if plan.mitigates("no_user_reads") { UserWalk::ByKernel } else { UserWalk::ByTables },
        verify_recent: config.sampling.verify_unwinding,
        tables: TableSizes::for_budget(
            shares.max_processes,
            shares.max_mappings,
            shares.unwind_rows_bytes.into(),
            shares.recent_rules_bytes.into(),
        ),
        stack_copies: StackCopies::default(),
        kernel_stacks: plan.state("kernel_stacks") != State::Off,
        cgroup_ids: !matches!(
            plan.capabilities.get("bpf.helper.get_current_cgroup_id"),
            Some(Outcome::Absent { .. })
        ),
        ids: ids(plan),
        notices: match plan.way(features::PROCESS_NOTICES) {
            features::SIDE_BAND => Notices::SideBand,
            features::TRACEPOINTS => Notices::Tracepoints,
            _ => Notices::Nobody,
        },
    }
}

/// Returns the translation of ids into those of our pid namespace.
fn ids(plan: &Plan) -> Ids {
    let PidNamespace::Nested { device, inode } = PidNamespace::detect() else { return Ids::Initial };
    if !PidNamespace::proc_is_ours() {
        tracing::warn!(
            "/proc shows the ids of another pid namespace than ours, so that processes are not told apart; to \
             change that: mount proc in ours (unshare --mount-proc)"
        );
        return Ids::Hidden;
    }
    match plan.way(features::PROCESS_IDS) {
        features::FACTS => plan::own_namespace(plan)
            .map_or(Ids::Hidden, |(facts, namespace)| Ids::Facts { facts, namespace }),
        features::HELPER => Ids::Helper { device, inode },
        _ => Ids::Hidden,
    }
}

/// Says what the operator may want to know, as loudly as it matters; doctor tells all of it.
fn report(plan: &Plan) {
    for (severity, note) in plan.notes() {
        match severity {
            Severity::Debug => tracing::debug!("{note}"),
            Severity::Warning => tracing::warn!("{note}"),
            Severity::Error => tracing::error!("{note}"),
        }
    }
}

/// Logs the errors of a plan by which the agent cannot run, beside the refusal.
fn report_errors(plan: &Plan) {
    for (_, note) in plan.notes().iter().filter(|(severity, _)| *severity == Severity::Error) {
        tracing::error!("{note}");
    }
}

fn describe_run(plan: &Plan, labels: &BTreeMap<String, String>) -> anyhow::Result<Run> {
    let mut run_id = [0; 16];
    // SAFETY: the buffer is 16 bytes long and outlives the call; so few bytes come whole or not at all.
    let got = unsafe { libc::getrandom(run_id.as_mut_ptr().cast(), run_id.len(), 0) };
    if got != 16 {
        bail!("the kernel gave no random bytes for the run's id: {}", std::io::Error::last_os_error());
    }
    let read = |path: &str| {
        String::from_utf8_lossy(std::fs::read(path).unwrap_or_default().trim_ascii()).into_owned()
    };
    let machine_id = u128::from_str_radix(&read("/etc/machine-id"), 16).unwrap_or(0);
    let attributes = [
        ("host.name", read("/proc/sys/kernel/hostname")),
        ("host.arch", host_arch().into()),
        ("os.type", "linux".into()),
        ("os.version", read("/proc/sys/kernel/osrelease")),
        ("telemetry.sdk.name", "stacksonde".into()),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").into()),
        ("stacksonde.plan", serde_json::to_string(plan)?),
    ];
    let mut attributes: Vec<_> = attributes.map(|(key, value)| (key.to_owned(), value)).into();
    attributes.extend(labels.clone());
    Ok(Run { run_id, host_id: machine_id.to_be_bytes(), attributes })
}

/// By the names of OpenTelemetry's semantic conventions.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
