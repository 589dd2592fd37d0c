//! A batch made by hand, with the cases that exporters must get right.
//!
//! ```text
//! nginx (100)      threads nginx (100) 5 samples, worker (101) 7 samples, both in
//!                  _start main handle parse(inlined) read | do_syscall_64 vfs_read (kernel)
//! my app;v2 (200)  3 samples, incomplete: operator new, an unnamed frame of /opt/app at 0x2abc
//!                  1 sample, incomplete, without any frame
//! kworker/0:1 (7)  2 samples in kthread worker_thread (kernel)
//! lost             3 because a ring was full, 1 never delivered
//! ```

use stacksonde_batch::tables::{
    Attribute, Frame, Function, KERNEL, Label, Line, Location, Loss, Mapping, NATIVE, Process, Sample, Stack,
    Thread, Timestamp, Value, ValueType,
};
use stacksonde_batch::{Header, NONE, StringId, Writer};

/// All samples of [`batch`].
pub const SAMPLES: u64 = 18;

/// A batch of ten seconds at 100 Hz that ended on 2026-11-24 02:25:10 UTC.
pub fn batch(sequence: u64) -> Vec<u8> {
    let mut by = Hand::new(sequence);
    let kernel = by.mapping(KERNEL, "[kernel.kallsyms]", "", 0xffff_ffff_8100_0000..0xffff_ffff_8200_0000);
    let nginx = by.mapping(NATIVE, "/usr/sbin/nginx", "aabbccdd", 0x1000..0x9000);
    let libc = by.mapping(NATIVE, "/usr/lib/libc.so.6", "00112233", 0x2_8000..0x18_0000);
    let app = by.mapping(NATIVE, "/opt/app", "", 0x2000..0x3000);

    let served = [
        by.location(kernel, 0xffff_ffff_8110_0042, &["vfs_read"]),
        by.location(kernel, 0xffff_ffff_8120_0017, &["do_syscall_64"]),
        by.location(libc, 0x3_0010, &["read"]),
        by.location(nginx, 0x1234, &["parse", "handle"]),
        by.location(nginx, 0x2345, &["main"]),
        by.location(nginx, 0x1010, &["_start"]),
    ];
    let served = by.stack(&served, 2, "complete", true);
    let broken =
        [by.location(app, 0x2abc, &[]), by.location(app, 0x2f00, &["operator new(unsigned long)\n"])];
    let broken = by.stack(&broken, 0, "bad_frame_pointer", false);
    let bare = by.stack(&[], 0, "no_user_registers", false);
    let work = [
        by.location(kernel, 0xffff_ffff_8130_0000, &["worker_thread"]),
        by.location(kernel, 0xffff_ffff_8140_0000, &["kthread"]),
    ];
    let work = by.stack(&work, 2, "kernel_thread", true);

    let process = by.process(100, "nginx", "/usr/sbin/nginx", &[("tier", "front")]);
    let (main, worker) = (by.thread(process, 100, "nginx"), by.thread(process, 101, "worker"));
    let process = by.process(200, "my app;v2", "/opt/app", &[]);
    let app = by.thread(process, 200, "my app;v2");
    let process = by.process(7, "kworker/0:1", "", &[]);
    let kworker = by.thread(process, 7, "kworker/0:1");

    for (thread, stack, count) in
        [(main, served, 5), (worker, served, 7), (app, broken, 3), (app, bare, 1), (kworker, work, 2)]
    {
        by.sample(thread, stack, count);
    }
    by.finish()
}

/// A batch of the same interval in which nothing was sampled.
pub fn empty_batch() -> Vec<u8> {
    Hand::new(1).writer.finish().unwrap()
}

/// Samples of [`large_batch`].
pub const LARGE_SAMPLES: u64 = 10_000;

/// A batch of 10,000 samples over 8,000 stacks of 30 frames, with names.
pub fn large_batch() -> Vec<u8> {
    batch_of(10_000, 8_000, 20_000)
}

/// A batch of so many samples over so many stacks of 30 frames, in so many functions, with names and times.
pub fn batch_of(samples: u32, stacks: u32, functions: u32) -> Vec<u8> {
    batch_numbered(0, samples, stacks, functions)
}

/// The same, as the batch of this number of its run.
pub fn batch_numbered(sequence: u64, samples: u32, stacks: u32, functions: u32) -> Vec<u8> {
    const DEPTH: u32 = 30;
    let mut w = Writer::new(Header { sequence, end_ns: 10_000_000_000, ..Header::default() });
    let (kind, unit) = (w.string("samples"), w.string("count"));
    w.value_type(ValueType { kind, unit, per_sample: 1 });
    let (comm, path) = (w.string("program"), w.string("/usr/bin/program"));
    let process = w.process(Process { pid: 100, comm, executable: path, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 100, comm });
    let mapping = w.mapping(Mapping { path, limit: 1 << 30, ..Mapping::default() });
    let locations: Vec<u32> = (0..functions)
        .map(|number: u32| {
            let name = w.string(&format!("program::module_{}::function_{number}", number % 100));
            let function = w.function(Function { name, ..Function::default() });
            let lines_start = w.line(Line { function, line: number, column: 0 });
            let address = u64::from(number) * 16;
            w.location(Location { kind: 0, mapping, address, lines_start, lines_count: 1 })
        })
        .collect();
    let outcome = w.string("complete");
    for stack in 0..stacks {
        let mut frames_start = 0;
        for depth in 0..DEPTH {
            let location = locations[((stack * 31 + depth * 977) % functions) as usize];
            let frame = w.frame(Frame { location });
            if depth == 0 {
                frames_start = frame;
            }
        }
        w.stack(Stack { frames_start, frames_count: DEPTH, kernel_frames: 0, outcome, complete: 1 });
    }
    for sample in 0..samples {
        let timestamps_start =
            w.timestamp(Timestamp { time_ns: u64::from(sample) * 999_999, ..Timestamp::default() });
        let stack = sample % stacks;
        w.sample(Sample {
            thread,
            stack,
            count: 1,
            timestamps_start,
            timestamps_count: 1,
            ..Sample::default()
        });
    }
    w.finish().unwrap()
}

/// CPU time of the samples of [`weighted_batch`], in nanoseconds.
pub const WEIGHTS_NS: [u64; 3] = [10_000_000, 20_000_000, 5_000_000];

/// A batch of three samples of one stack, which stand for different times.
pub fn weighted_batch() -> Vec<u8> {
    let mut w = Writer::new(Header { end_ns: 10_000_000_000, ..Header::default() });
    for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", 10_000_000)] {
        let (kind, unit) = (w.string(kind), w.string(unit));
        w.value_type(ValueType { kind, unit, per_sample });
    }
    let (comm, complete) = (w.string("program"), w.string("complete"));
    let process = w.process(Process { pid: 100, comm, ..Process::default() });
    let thread = w.thread(Thread { process, tid: 100, comm });
    let location = w.location(Location { mapping: NONE, address: 0x1234, ..Location::default() });
    let frames_start = w.frame(Frame { location });
    let stack = Stack { frames_start, frames_count: 1, outcome: complete, complete: 1, kernel_frames: 0 };
    let stack = w.stack(stack);
    for (time_ns, value) in (1..).zip(WEIGHTS_NS) {
        w.timestamp(Timestamp { time_ns, value });
    }
    let values_start = w.value(Value { value: 3 });
    w.value(Value { value: WEIGHTS_NS.iter().sum() });
    let sample = Sample { thread, stack, count: 3, timestamps_count: 3, ..Sample::default() };
    w.sample(Sample { values_start, values_count: 2, ..sample });
    w.finish().unwrap()
}

/// A batch of one sample, of a process, a thread, a function and a file that are all called `name`.
pub fn batch_named(name: &str) -> Vec<u8> {
    let mut by = Hand::new(1);
    let module = by.mapping(NATIVE, name, name, 0x1000..0x2000);
    let location = by.location(module, 0x1234, &[name]);
    let stack = by.stack(&[location], 0, name, false);
    let process = by.process(1, name, name, &[(name, name)]);
    let thread = by.thread(process, 1, name);
    by.sample(thread, stack, 1);
    by.finish()
}

/// A batch of one stack that was sampled `count` times, without times.
pub fn batch_counting(count: u64) -> Vec<u8> {
    let mut by = Hand::new(1);
    let stack = by.stack(&[], 0, "complete", true);
    let process = by.process(1, "many", "", &[]);
    let thread = by.thread(process, 1, "many");
    by.writer.sample(Sample { thread, stack, count, ..Sample::default() });
    by.finish()
}

/// A batch of so many stacks of one sample each, of two functions: a leaf of its own (`leaf_00042`) under one of a
/// thousand at most (`group_042`), a hundred stacks each where there are that many.
pub fn batch_of_distinct(stacks: u32) -> Vec<u8> {
    let mut by = Hand::new(1);
    let module = by.mapping(NATIVE, "/usr/bin/many", "", 0..1 << 40);
    let process = by.process(1, "many", "/usr/bin/many", &[]);
    let thread = by.thread(process, 1, "many");
    let groups = stacks.min(1000);
    let groups: Vec<u32> = (0..groups)
        .map(|group| by.location(module, u64::from(group), &[&format!("group_{group:03}")]))
        .collect();
    for number in 0..stacks {
        let leaf = by.location(module, 1 << 20 | u64::from(number), &[&format!("leaf_{number:05}")]);
        let group = groups[number as usize % groups.len()];
        let stack = by.stack(&[leaf, group], 0, "complete", true);
        by.sample(thread, stack, 1);
    }
    by.finish()
}

struct Hand {
    writer: Writer,
}

impl Hand {
    fn new(sequence: u64) -> Self {
        let mut writer = Writer::new(Header {
            run_id: [1; 16],
            host_id: [2; 16],
            sequence,
            start_ns: 100_000_000_000,
            end_ns: 110_000_000_000,
            unix_minus_monotonic_ns: 1_795_487_000_000_000_000,
        });
        for (kind, unit, per_sample) in [("samples", "count", 1), ("cpu", "nanoseconds", 10_000_000)] {
            let (kind, unit) = (writer.string(kind), writer.string(unit));
            writer.value_type(ValueType { kind, unit, per_sample });
        }
        Self { writer }
    }

    fn text(&mut self, text: &str) -> StringId {
        self.writer.string(text)
    }

    fn mapping(
        &mut self,
        kind: u32,
        path: &str,
        build_id: &str,
        addresses: std::ops::Range<u64>,
    ) -> (u32, u32) {
        let (path, build_id) = (self.text(path), self.text(build_id));
        let (start, limit, file_offset) = (addresses.start, addresses.end, 0x1000);
        (
            kind,
            self.writer.mapping(Mapping {
                kind,
                path,
                build_id,
                start,
                limit,
                file_offset,
                ..Mapping::default()
            }),
        )
    }

    /// A location with functions, innermost inlined one first.
    fn location(&mut self, (kind, mapping): (u32, u32), address: u64, functions: &[&str]) -> u32 {
        let mut lines_start = 0;
        for (index, name) in (0..).zip(functions) {
            let name = self.text(name);
            let function = self.writer.function(Function { name, ..Function::default() });
            lines_start = self.writer.line(Line { function, line: 10 + index, column: 1 }) - index;
        }
        let lines_count = functions.len().try_into().unwrap();
        self.writer.location(Location { kind, mapping, address, lines_start, lines_count })
    }

    fn stack(&mut self, locations: &[u32], kernel_frames: u32, outcome: &str, complete: bool) -> u32 {
        let mut frames_start = 0;
        for (index, location) in (0..).zip(locations) {
            frames_start = self.writer.frame(Frame { location: *location }) - index;
        }
        let frames_count = locations.len().try_into().unwrap();
        let (outcome, complete) = (self.text(outcome), complete.into());
        self.writer.stack(Stack { frames_start, frames_count, kernel_frames, outcome, complete })
    }

    fn process(&mut self, pid: u32, comm: &str, executable: &str, labels: &[(&str, &str)]) -> u32 {
        let mut labels_start = 0;
        for (index, (key, value)) in (0..).zip(labels) {
            let (key, value) = (self.text(key), self.text(value));
            labels_start = self.writer.label(Label { key, value }) - index;
        }
        let labels_count = labels.len().try_into().unwrap();
        let (comm, executable, cgroup) = (self.text(comm), self.text(executable), self.text("/system.slice"));
        self.writer.process(Process {
            pid,
            parent_pid: 1,
            comm,
            executable,
            cgroup,
            labels_start,
            labels_count,
        })
    }

    fn thread(&mut self, process: u32, tid: u32, comm: &str) -> u32 {
        let comm = self.text(comm);
        self.writer.thread(Thread { process, tid, comm })
    }

    fn sample(&mut self, thread: u32, stack: u32, count: u32) {
        let mut timestamps_start = 0;
        for index in 0..count {
            let time_ns = 100_000_000_000 + u64::from(index) * 10_000_000;
            timestamps_start = self.writer.timestamp(Timestamp { time_ns, ..Timestamp::default() }) - index;
        }
        let timestamps_count = count;
        let count = count.into();
        self.writer.sample(Sample {
            thread,
            stack,
            count,
            timestamps_start,
            timestamps_count,
            ..Sample::default()
        });
    }

    fn finish(mut self) -> Vec<u8> {
        for (reason, count) in [("samples_lost_ring_full", 3), ("samples_lost_not_delivered", 1)] {
            let reason = self.text(reason);
            self.writer.loss(Loss { reason, count });
        }
        for (key, value) in [("host.name", "attic"), ("os.version", "6.18.0")] {
            let (key, value) = (self.text(key), self.text(value));
            self.writer.attribute(Attribute { key, value });
        }
        self.writer.finish().unwrap()
    }
}
