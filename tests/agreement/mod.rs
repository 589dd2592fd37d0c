//! The sampler's stacks beside those of an independent unwinder on the very same samples: each record carries the
//! registers and 64 KiB of the stack, from which elfutils' libdw walks, and for Go's programs a walker by Go's own
//! table.

use stacksonde::bpf::{
    Event, Ids, Message, Notices, Reader, Sampler, Settings, StackCopies, StackCopy, TableSizes, UserWalk,
};
use stacksonde::process::{Budget, Processes};
use stacksonde::unwind::{Tables, Unwinder};
use stacksonde_ebpf::{LEAF_WORDS, STACK_PAGES_MAX, user_end};
use stacksonde_tests::cpu_time::used;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The number of differences that are kept to be shown.
const SHOWN: usize = 5;

/// The result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// Samples in user mode whose copy of the stack the other unwinder was given.
    pub(crate) samples: u64,
    /// Of these, those that it walked to their root.
    pub(crate) walked: u64,
    /// Of these, those for which we have the same addresses, one by one.
    pub(crate) equal: u64,
    /// Samples that we walked to their root.
    pub(crate) complete: u64,
    /// Some of the others.
    pub(crate) different: Vec<String>,
}

impl Agreement {
    /// The share of equal chains in thousandths, rounded down.
    pub(crate) fn per_mille(&self) -> u64 {
        1000 * self.equal / self.walked.max(1)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, walked, equal, complete, .. } = self;
        let per_mille = self.per_mille();
        write!(
            f,
            "{samples} samples, {complete} whole by ours, {walked} by the other, of these {equal} equal ({}.{} %)",
            per_mille / 10,
            per_mille % 10
        )
    }
}

/// Compiles the other unwinder.
///
/// # Errors
///
/// What the compiler says: libdw's headers may be missing (Debian: libdw-dev).
pub(crate) fn compile_reference(folder: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("agreement/reference.c");
    let program = folder.join("reference");
    let output = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).arg("-ldw").output();
    let output = output.map_err(|error| format!("cannot run cc: {error}"))?;
    if !output.status.success() {
        return Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(program)
}

/// Compiles the one for Go's programs.
///
/// # Errors
///
/// What the compiler says, or that there is none.
pub(crate) fn compile_go_reference(folder: &Path) -> Result<PathBuf, String> {
    compile_go(&Path::new(env!("CARGO_MANIFEST_DIR")).join("agreement/reference.go"), folder, "reference-go")
}

/// A program of Go's that does what programs do, without symbols and debug information.
///
/// # Errors
///
/// As above.
pub(crate) fn compile_go_target(folder: &Path) -> Result<PathBuf, String> {
    compile_go(&Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/work.go"), folder, "work-go")
}

fn compile_go(source: &Path, folder: &Path, name: &str) -> Result<PathBuf, String> {
    let program = folder.join(name);
    let output =
        Command::new("go").args(["build", "-ldflags=-s -w", "-o"]).arg(&program).arg(source).output();
    let output = output.map_err(|error| format!("cannot run go: {error}"))?;
    match output.status.success() {
        true => Ok(program),
        false => Err(format!("go: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

struct Walked {
    pc: u64,
    leaf: [u64; LEAF_WORDS],
    stack: StackCopy,
    frames: Vec<u64>,
    end: u8,
}

/// Samples a process until it has used so much CPU time, and holds the two against each other.
///
/// # Panics
///
/// If the machine cannot be sampled, or the process ends.
pub(crate) fn compare(reference: &Path, pid: u32, time: Duration, hertz: u64) -> Agreement {
    let walked = sample(pid, time, hertz);
    let mut other = Command::new(reference)
        .arg(pid.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", reference.display()));
    let mut input = other.stdin.take().unwrap();
    let text = std::thread::scope(|scope| {
        scope.spawn(|| {
            for sample in &walked {
                input.write_all(&encoded(sample)).unwrap();
            }
            drop(input);
        });
        other.wait_with_output().unwrap()
    });
    assert!(text.status.success(), "the other unwinder failed");
    let text = String::from_utf8(text.stdout).unwrap();
    let mut found = Agreement::default();
    for (sample, line) in walked.iter().zip(text.lines()) {
        let mut words = line.split(' ');
        let whole = words.next() == Some("whole");
        let theirs: Vec<u64> = words.map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
        found.samples += 1;
        found.complete += u64::from(sample.end == user_end::COMPLETE);
        found.walked += u64::from(whole);
        if whole && theirs == sample.frames {
            found.equal += 1;
        } else if whole && found.different.len() < SHOWN {
            let end = user_end::name(sample.end);
            found.different.push(format!("ours ({end}): {:x?}\nother: {theirs:x?}", sample.frames));
        }
    }
    assert_eq!(found.samples, walked.len() as u64, "the other unwinder answered for each");
    found
}

/// As reference.c reads it.
fn encoded(sample: &Walked) -> Vec<u8> {
    let stack = &sample.stack;
    let head = [sample.pc].into_iter().chain(sample.leaf);
    let head = head.chain([stack.start, stack.present, stack.bytes.len() as u64]);
    head.flat_map(u64::to_ne_bytes).chain(stack.bytes.iter().copied()).collect()
}

/// Samples of a process in user mode, walked by the sampler and, where tables were wanting, in user space.
fn sample(pid: u32, time: Duration, hertz: u64) -> Vec<Walked> {
    let settings = Settings {
        period_ns: 1_000_000_000 / hertz,
        period_spread: 0,
        ring_bytes: 16 << 20,
        sideband_bytes: 1 << 17,
        entry_registers: None,
        user_walk: UserWalk::ByTables,
        verify_recent: false,
        kernel_stacks: false,
        tables: TableSizes::for_budget(4096, 65536, 8 << 20, 256 << 10),
        stack_copies: StackCopies { pages: u32::try_from(STACK_PAGES_MAX).unwrap(), always: true },
        cgroup_ids: false,
        ids: Ids::Initial,
        notices: Notices::SideBand,
    };
    let mut sampler = Sampler::load(&settings).unwrap();
    let mut unwinder = Unwinder::new(Tables::new(sampler.take_tables().unwrap()), 4096);
    let mut processes = Processes::new(Budget { processes: 4096, mappings: 65536, executables: 4096 });
    let reader = Reader::start(sampler).unwrap();
    let stop = reader.stop_handle();
    let (to, mut messages) = stacksonde::bpf::messages(64);
    let reading = std::thread::spawn(move || reader.run(None, &to));
    let mut has_used = used(&[pid], time);
    let mut walked = Vec::new();
    while let Some(message) = messages.blocking_recv() {
        if has_used(0) {
            stop.stop();
        }
        let Message::Events(events) = message else { continue };
        for event in events {
            match event {
                Event::Notice(notice) => {
                    processes.notice(&notice);
                    unwinder.notice(&notice, &mut processes);
                }
                Event::Sample(mut sample) if sample.pid == pid && sample.kernel.is_empty() => {
                    let rest = sample.rest.clone();
                    unwinder.finish(&mut sample, &mut processes);
                    let Some(rest) = rest.filter(|_| !sample.user.is_empty()) else { continue };
                    walked.push(Walked {
                        pc: sample.user[0],
                        leaf: rest.leaf,
                        stack: rest.stack,
                        frames: sample.user.to_vec(),
                        end: sample.user_end,
                    });
                }
                Event::Sample(_) => {}
            }
        }
    }
    reading.join().unwrap().unwrap();
    walked
}
