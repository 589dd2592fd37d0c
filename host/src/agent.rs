//! Joins the stages with bounded channels; the only file that knows them all.
//!
//! ```text
//! kernel rings ─▶ reader ─Message─▶ profiler ─Profile─▶ publisher ─batch─▶ exporters' queues, the feed
//! ```
//!
//! Each stage is a thread. A stage that is slow holds up the one before it, back to the kernel's
//! rings, whose overflow is counted; exporters hold up nobody, their queues drop and count.

use crate::batch::{self, Run};
use crate::bpf::{
    Event, Haste, LoadError, Message, NoticeKind, Notices, Reader, Sampler, Settings, Stop, messages,
    monotonic_ns,
};
use crate::feed::Feed;
use crate::filter::{Filter, Rules, Slots};
use crate::health::Vitals;
use crate::plugins::Exporters;
use crate::priority;
use crate::process::{Budget, Processes};
use crate::profile::{self, Builder, Profile};
use crate::progress::{Progress, Seen};
use crate::summary::Summary;
use crate::symbolize::{self, KernelCode, Symbolizer};
use crate::unwind::{Tables, Unwinder};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Messages that may wait between reader and profiler: some seconds of them.
const MESSAGES: usize = 64;
/// Profiles that may wait to be published.
const PROFILES: usize = 2;

/// The components of a run, all checked and loaded.
pub struct Parts {
    /// The settings of the sampler.
    pub sampler: Settings,
    /// Length of a profile; `None` for one profile, to the end.
    pub interval: Option<Duration>,
    /// The budget for what is remembered of processes.
    pub budget: Budget,
    /// The budget of one profile.
    pub profile: profile::Budget,
    /// The options for looking up names, where an exporter wants names.
    pub symbolize: symbolize::Options,
    /// The part that is the same in every batch.
    pub run: Run,
    /// The exporters that batches go to.
    pub exporters: Exporters,
    /// A consumer of batches within this process: names in them, and bounded like an exporter's queue.
    pub feed: Option<Feed>,
    /// Live counters for the profile being built.
    pub progress: Option<Progress>,
    /// Counters of what was sampled so far.
    pub vitals: Vitals,
}

/// An agent that samples. Dropping it without [`Agent::stop`] ends sampling, and what was not yet published is lost.
#[derive(Debug)]
pub struct Agent {
    stop: Stop,
    rules: SyncSender<Rules>,
    reader: JoinHandle<Result<(), LoadError>>,
    profiler: JoinHandle<()>,
    publisher: JoinHandle<Summary>,
    refused_cpus: Vec<String>,
    ended: Arc<Notify>,
}

impl Agent {
    /// Loads the sampler and starts it. Samples wait until [`Agent::want`] says whose are wanted.
    pub fn start(parts: Parts) -> Result<Self, LoadError> {
        let Parts { sampler, interval, budget, profile, symbolize, run, exporters, .. } = parts;
        let Parts { feed, progress, vitals, .. } = parts;
        let builder = Builder::new(sampler.period_ns, profile);
        let by_proc = sampler.notices != Notices::SideBand;
        let mut sampler = Sampler::load(&sampler)?;
        let tables = sampler.take_tables().ok_or(LoadError::Missing("tables"))?;
        let slots = Slots::new(sampler.take_filter().ok_or(LoadError::Missing("filter"))?);
        let filter = Filter::new(slots, budget.processes, by_proc);
        let unwinder = Unwinder::new(Tables::new(tables), budget.executables);
        let refused = |(cpu, error): &(u32, std::io::Error)| format!("CPU {cpu} is not sampled: {error}");
        let refused_cpus = sampler.refused_cpus().iter().map(refused).collect();
        let mut reader = Reader::start(sampler)?;
        reader.tell_lost(progress.as_ref().map(Progress::lost));
        let (stop, haste) = (reader.stop_handle(), reader.haste());
        let (rules, wanted) = sync_channel(1);
        let (to_profiler, mut messages) = messages(MESSAGES);
        let (to_publisher, profiles) = sync_channel(PROFILES);
        let ended = Arc::new(Notify::new());
        let publisher = Publisher { run, exporters, feed, symbolize, vitals };
        Ok(Self {
            stop,
            rules,
            reader: spawn("reader", &ended, move || {
                priority::go_first();
                reader.run(interval, &to_profiler)
            })?,
            profiler: spawn("profiler", &ended, move || {
                priority::go_first();
                if let Ok(rules) = wanted.recv() {
                    let processes = Processes::new(budget).unnoticed(by_proc);
                    let sweeps = by_proc.then(Instant::now);
                    let kernel_code = Arc::default();
                    let mut stages =
                        Stages { processes, unwinder, builder, kernel_code, filter, haste, sweeps, progress };
                    stages.filter.change(rules);
                    stages.run(&mut messages, &wanted, &to_publisher);
                }
            })?,
            publisher: spawn("publisher", &ended, move || publisher.run(&profiles))?,
            refused_cpus,
            ended,
        })
    }

    /// CPUs that are not sampled, each a sentence.
    pub fn refused_cpus(&self) -> &[String] {
        &self.refused_cpus
    }

    /// Says whose samples are wanted: of those from the start on, and later of those from then on. Without it
    /// nothing is profiled. False if the rules before are still waiting, so that these were not taken.
    #[must_use]
    pub fn want(&self, rules: Rules) -> bool {
        self.rules.try_send(rules).is_ok()
    }

    /// A way to say whose samples are wanted, for another thread, as [`Agent::want`] does.
    pub fn wanted(&self) -> Wanted {
        Wanted(self.rules.clone())
    }

    /// Ends when a stage ended, which none does without being asked to unless it failed.
    pub async fn failure(&self) {
        self.ended.notified().await;
    }

    /// Stops the ticks, publishes what is left, and waits for the exporters within their budget.
    pub fn stop(self) -> Result<Summary, Failed> {
        self.stop.stop();
        drop(self.rules);
        self.reader.join().map_err(|_| Failed::Panicked("reader"))?.map_err(Failed::Reader)?;
        self.profiler.join().map_err(|_| Failed::Panicked("profiler"))?;
        self.publisher.join().map_err(|_| Failed::Panicked("publisher"))
    }
}

/// See [`Agent::wanted`].
#[derive(Clone, Debug)]
pub struct Wanted(SyncSender<Rules>);

impl Wanted {
    /// Says whose samples are wanted from now on; false if the rules before are still waiting.
    #[must_use]
    pub fn change(&self, rules: Rules) -> bool {
        self.0.try_send(rules).is_ok()
    }
}

/// Why an agent ended otherwise than by being stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The kernel's rings could not be read any more.
    #[error("reading samples failed: {0}")]
    Reader(LoadError),
    /// A stage panicked.
    #[error("the stage `{0}` panicked; please report it with the log")]
    Panicked(&'static str),
}

/// Starts a stage; `ended` is told when it ends, be it by a panic.
fn spawn<T: Send + 'static>(
    name: &str,
    ended: &Arc<Notify>,
    stage: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LoadError> {
    struct Ends(Arc<Notify>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let ends = Ends(ended.clone());
    let run = move || {
        let _ends = ends;
        priority::go_as_usual();
        stage()
    };
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(LoadError::Wait)
}

/// The time between two scans of `/proc` where process events are lacking.
const SWEEP: Duration = Duration::from_secs(1);

/// The stages between raw samples and profiles.
struct Stages {
    filter: Filter,
    processes: Processes,
    unwinder: Unwinder,
    builder: Builder,
    kernel_code: Arc<KernelCode>,
    haste: Haste,
    /// When `/proc` was last looked through; `None` if everything is noticed.
    sweeps: Option<Instant>,
    progress: Option<Progress>,
}

impl Stages {
    fn run(
        mut self,
        messages: &mut mpsc::Receiver<Message>,
        wanted: &Receiver<Rules>,
        to: &SyncSender<Profile>,
    ) {
        while let Some(message) = messages.blocking_recv() {
            self.look_around(wanted);
            match message {
                Message::Events(events) => events.into_iter().for_each(|event| self.take(event)),
                Message::Interval(interval) => {
                    let table = self.processes.counters();
                    let unwound = self.unwinder.counters();
                    let filtered = self.filter.counters();
                    tracing::debug!(ticks = ?interval.ticks, frames = ?interval.frames, ?table, ?unwound, ?filtered, "interval is over");
                    let mut profile = self.builder.finish(&interval, self.processes.reader().take_unread());
                    profile.mappings_left_out = table.mappings_left_out;
                    profile.kernel_code = Arc::clone(&self.kernel_code);
                    self.unwinder.keep(&profile.frames);
                    if to.send(profile).is_err() {
                        return;
                    }
                    self.processes.next_interval();
                    self.filter.next_interval();
                }
            }
        }
    }

    /// Takes new rules, and looks for other changes that no message reports.
    fn look_around(&mut self, wanted: &Receiver<Rules>) {
        if let Ok(rules) = wanted.try_recv() {
            self.filter.change(rules);
        }
        self.filter.recheck(monotonic_ns());
        if self.sweeps.is_some_and(|swept| swept.elapsed() >= SWEEP) {
            self.sweeps = Some(Instant::now());
            self.filter.forget(&self.processes.sweep());
            self.unwinder.forget_processes();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Notice(notice) => {
                if matches!(notice.kind, NoticeKind::KernelCode { .. }) {
                    return Arc::make_mut(&mut self.kernel_code).notice(&notice);
                }
                self.filter.notice(&notice);
                self.processes.notice(&notice);
                if self.unwinder.notice(&notice, &mut self.processes) {
                    self.haste.note(notice.time_ns);
                }
            }
            Event::Sample(mut sample) if self.filter.admits(&sample) => {
                self.processes.recognise(&sample);
                // Of a process that our pid namespace does not show no mapping is known.
                if sample.pid != 0 {
                    self.unwinder.finish(&mut sample, &mut self.processes);
                }
                let sample = self.processes.attribute(sample);
                let seen = self.progress.as_ref().map(|_| Seen::of(&sample));
                if self.builder.add(sample)
                    && let (Some(progress), Some(seen)) = (&self.progress, seen)
                {
                    progress.add(&seen);
                }
            }
            Event::Sample(sample) => {
                // It may have been wanted before.
                self.processes.forget(sample.pid);
                self.unwinder.forget_process(sample.pid);
                self.builder.exclude();
                if let Some(progress) = &self.progress {
                    progress.exclude();
                }
            }
        }
    }
}

/// The stage between profiles and exporters.
struct Publisher {
    run: Run,
    exporters: Exporters,
    feed: Option<Feed>,
    symbolize: symbolize::Options,
    vitals: Vitals,
}

impl Publisher {
    fn run(self, profiles: &Receiver<Profile>) -> Summary {
        let mut symbolizer: Option<Symbolizer> = None;
        // Counted by those before it.
        let mut counted = symbolize::SymbolizeCounters::default();
        let mut summary = Summary::default();
        for (sequence, mut profile) in (0..).zip(profiles) {
            let mut nameless = vec![Arc::new([]) as symbolize::Names; profile.frames.len()];
            let mut names = None;
            // Another exporter may come to want them while they are looked up, or before.
            loop {
                if names.is_none() && (self.feed.is_some() || self.exporters.want_names()) {
                    let symbolizer = symbolizer.get_or_insert_with(|| Symbolizer::new(self.symbolize));
                    symbolizer.take_kernel_code(&profile.kernel_code);
                    let mut found = symbolizer.names(&profile.frames);
                    symbolize::correct_interrupted(&mut profile, &found);
                    found.extend(symbolizer.names(&profile.frames[found.len()..]));
                    nameless.resize(found.len(), Arc::new([]));
                    names = Some(found);
                    summary.names = counted;
                    summary.names += symbolizer.counters();
                    summary.split_names = symbolizer.split_names().to_vec();
                    self.vitals.set_names(summary.names);
                }
                let all_got_it = self.exporters.each(names.is_some(), |exporter| {
                    let names = names.as_ref().filter(|_| exporter.wants().names).unwrap_or(&nameless);
                    let batch = self.batch(sequence, &profile, names, exporter.take_dropped(), &mut summary);
                    batch.into_iter().for_each(|batch| exporter.submit(batch));
                });
                if all_got_it {
                    break;
                }
            }
            summary.add(&profile, names.as_ref().unwrap_or(&nameless));
            self.vitals.add(&profile);
            if let Some(feed) = &self.feed {
                let names = names.as_ref().unwrap_or(&nameless);
                let batch = self.batch(sequence, &profile, names, feed.take_dropped(), &mut summary);
                batch.into_iter().for_each(|batch| feed.push(batch));
            }
            if names.is_none() {
                // Nobody wants them any more.
                counted = summary.names;
                symbolizer = None;
            }
        }
        summary.exporters = self.exporters.shutdown();
        summary
    }

    /// A profile as a batch. What a consumer's queue dropped is told in its next batch, so each gets its own.
    fn batch(
        &self,
        sequence: u64,
        profile: &Profile,
        names: &[symbolize::Names],
        dropped: batch::Dropped,
        summary: &mut Summary,
    ) -> Option<Arc<[u8]>> {
        match batch::write(&self.run, sequence, profile, names, &dropped) {
            Ok(batch) => Some(batch.into()),
            Err(error) => {
                tracing::error!(%error, "a profile could not be put into a batch");
                summary.losses.add(crate::telemetry::Loss::NotWritten, profile.sample_count());
                self.vitals.lose(crate::telemetry::Loss::NotWritten, profile.sample_count());
                None
            }
        }
    }
}
