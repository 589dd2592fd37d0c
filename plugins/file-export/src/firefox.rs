//! The format of the Firefox Profiler (<https://profiler.firefox.com>, "processed profile").
//!
//! Processes and threads are its own; kernel and user code are categories, files subcategories of them. A stack that
//! is not whole begins with `[incomplete: reason]`, of a category of its own.

use crate::naming;
use crate::order;
use crate::summary::Summary;
use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, CategoryPairHandle, CpuDelta, Frame, FrameFlags, FrameInfo, ProcessHandle,
    Profile, ReferenceTimestamp, SamplingInterval, StackHandle, ThreadHandle, Timestamp,
};
use stacksonde_plugin::batch::Batch;
use stacksonde_plugin::batch::tables::{KERNEL, Location};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// Files that are told apart in each category: the format counts them in 16 bits.
const SUBCATEGORIES: usize = 1000;
/// The distance of samples where they are not of a clock; the format cannot leave it out.
const UNKNOWN_PERIOD_NS: u64 = 1_000_000;

/// The profile, to be serialized as JSON.
pub(crate) fn profile(batch: &Batch<'_>) -> io::Result<Profile> {
    let mut to = Translation::of(batch);
    for time in order::by_time(batch) {
        let weight = i32::try_from(time.count).map_err(|_| {
            let message =
                format!("a stack was sampled {} times, and the format's numbers have 31 bits", time.count);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        to.sample(&time, weight);
    }
    Ok(to.profile)
}

/// A batch on its way into a profile.
struct Translation<'b> {
    batch: &'b Batch<'b>,
    profile: Profile,
    period_ns: Option<u64>,
    categories: [Category; 2],
    incomplete: CategoryHandle,
    processes: HashMap<u32, ProcessHandle>,
    threads: HashMap<u32, ThreadHandle>,
    stacks: HashMap<(u32, u32), Option<StackHandle>>,
}

/// User or kernel code.
struct Category {
    handle: CategoryHandle,
    files: HashMap<String, CategoryPairHandle>,
}

impl<'b> Translation<'b> {
    fn of(batch: &'b Batch<'b>) -> Self {
        let summary = Summary::of(batch);
        let header = batch.header();
        let start = Duration::from_nanos(header.unix_ns(header.start_ns));
        let period_ns = summary.period_ns;
        let mut profile = Profile::new(
            &format!("Stacksonde: {}", summary.sentence()),
            ReferenceTimestamp::from_duration_since_unix_epoch(start),
            SamplingInterval::from_nanos(period_ns.unwrap_or(UNKNOWN_PERIOD_NS)),
        );
        // Names are there; nobody is to be asked for more.
        profile.set_symbolicated(true);
        let release = batch.attributes().iter().find(|row| batch.text(row.key) == "os.version");
        profile.set_os_name(&format!("Linux {}", release.map_or("", |row| batch.text(row.value))));
        let mut category = |name, color| profile.add_category(name, color);
        let user = category("User", CategoryColor::Yellow);
        let kernel = category("Kernel", CategoryColor::Blue);
        let incomplete = category("Incomplete", CategoryColor::Red);
        let categories = [user, kernel].map(|handle| Category { handle, files: HashMap::new() });
        let (processes, threads, stacks) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { batch, profile, period_ns, categories, incomplete, processes, threads, stacks }
    }

    fn sample(&mut self, time: &order::Time, weight: i32) {
        let sample = self.batch.samples().get(time.sample).unwrap_or_default();
        let since = time.time_ns.saturating_sub(self.batch.header().start_ns);
        let thread = self.thread(sample.thread);
        let stack = self.stack(sample.thread, sample.stack, thread);
        let cpu = match self.period_ns {
            Some(_) => time.value,
            None => time.count.saturating_mul(UNKNOWN_PERIOD_NS),
        };
        let cpu = CpuDelta::from_nanos(cpu);
        self.profile.add_sample(thread, Timestamp::from_nanos_since_reference(since), stack, cpu, weight);
    }

    fn thread(&mut self, number: u32) -> ThreadHandle {
        if let Some(thread) = self.threads.get(&number) {
            return *thread;
        }
        let batch = self.batch;
        let start = Timestamp::from_nanos_since_reference(0);
        let row = batch.threads().get(number).unwrap_or_default();
        let pid = batch.processes().get(row.process).unwrap_or_default().pid;
        let process = *self
            .processes
            .entry(row.process)
            .or_insert_with(|| self.profile.add_process(&naming::process(batch, row.process), pid, start));
        let thread = self.profile.add_thread(process, row.tid, start, row.tid == pid);
        self.profile.set_thread_name(thread, batch.text(row.comm).trim());
        self.threads.insert(number, thread);
        thread
    }

    fn stack(&mut self, thread_row: u32, number: u32, thread: ThreadHandle) -> Option<StackHandle> {
        if let Some(stack) = self.stacks.get(&(thread_row, number)) {
            return *stack;
        }
        let batch = self.batch;
        let row = batch.stacks().get(number).unwrap_or_default();
        let mut stack = None;
        if row.complete == 0 {
            let name = naming::incomplete(batch, row.outcome);
            stack = Some(self.push(thread, stack, &name, self.incomplete.into()));
        }
        for frame in batch.frames().range(row.frames_start, row.frames_count).rev() {
            let Some(location) = batch.locations().get(frame.location) else { continue };
            let category = self.category(&location);
            for name in naming::functions(batch, &location) {
                stack = Some(self.push(thread, stack, &name, category));
            }
        }
        self.stacks.insert((thread_row, number), stack);
        stack
    }

    fn push(
        &mut self,
        thread: ThreadHandle,
        parent: Option<StackHandle>,
        name: &str,
        category_pair: CategoryPairHandle,
    ) -> StackHandle {
        let frame = Frame::Label(self.profile.intern_string(name));
        let info = FrameInfo { frame, category_pair, flags: FrameFlags::empty() };
        let frame = self.profile.intern_frame(thread, info);
        self.profile.intern_stack(thread, parent, frame)
    }

    /// Kernel or user code, and the file.
    fn category(&mut self, location: &Location) -> CategoryPairHandle {
        let module = naming::module(self.batch, location);
        let file = module.rsplit('/').next().unwrap_or_default();
        let category = &mut self.categories[usize::from(location.kind == KERNEL)];
        if let Some(pair) = category.files.get(file) {
            return *pair;
        }
        if file.is_empty() || category.files.len() >= SUBCATEGORIES {
            return category.handle.into();
        }
        let pair = self.profile.add_subcategory(category.handle, file);
        category.files.insert(file.to_owned(), pair);
        pair
    }
}
