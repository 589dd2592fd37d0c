//! The filter at a desk: the verdicts that the host writes beside what the sampler's own C reads.

mod desk;

use desk::{Answer, ask};
use stacksonde::bpf::{Notice, NoticeKind, RawSample, SharedWords};
use stacksonde::config;
use stacksonde::filter::{Filter, Rules, Slots};
use stacksonde_ebpf::tables::WORDS;
use stacksonde_ebpf::{kernel_end, user_end};

const BUCKETS: usize = 64;

fn slots() -> Slots {
    Slots::new(SharedWords::ours((1 + BUCKETS) * WORDS))
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// A filter by these rules, in which forks are noticed.
fn filter(config: config::Filter) -> Filter {
    let mut filter = Filter::new(slots(), 100, false);
    filter.change(Rules::new(&config));
    filter
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[derive(Clone, Copy)]
struct Task {
    pid: u32,
    tid: u32,
    name: [u8; 16],
    cgroup: u64,
}

impl Task {
    fn main(pid: u32, text: &str) -> Self {
        Self { pid, tid: pid, name: name(text), cgroup: 0 }
    }

    fn thread(self, tid: u32, text: &str) -> Self {
        Self { tid, name: name(text), ..self }
    }

    fn ask(self, slots: &Slots) -> Answer {
        ask(slots, self.pid, self.tid, self.name, self.cgroup)
    }

    /// Returns the fate of a sample: whether the kernel keeps it back, else whether it is wanted.
    fn sample(self, filter: &mut Filter) -> Fate {
        if self.ask(filter.slots()).excluded {
            return Fate::KeptBack;
        }
        let sample = RawSample {
            time_ns: 1,
            cpu_time_ns: 1,
            pid: self.pid,
            tid: self.tid,
            cpu: 0,
            cgroup_id: self.cgroup,
            comm: self.name,
            kernel: Box::default(),
            user: Box::default(),
            rest: None,
            urgent: false,
            epoch: 0,
            user_end: user_end::COMPLETE,
            kernel_end: kernel_end::NOT_IN_KERNEL,
        };
        if filter.admits(&sample) { Fate::Wanted } else { Fate::Judged }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Wanted.
    Wanted,
    /// Sent, and not wanted.
    Judged,
    /// Not sent.
    KeptBack,
}
use Fate::{Judged, KeptBack, Wanted};

fn notice(pid: u32, kind: NoticeKind) -> Notice {
    Notice { time_ns: u64::MAX, pid, tid: pid, kind }
}

// No process has ids as large as those in these tests, so `/proc` says nothing of them.
const A: u32 = 5_000_001;
const B: u32 = 5_000_002;
const C: u32 = 5_000_003;

#[test]
fn without_rules_everything_is_wanted_at_the_price_of_a_line() {
    let mut filter = filter(config::Filter::default());
    for pid in [0, 1, A] {
        assert_eq!(Task::main(pid, "any").sample(&mut filter), Wanted);
        let answer = Task::main(pid, "any").ask(filter.slots());
        assert_eq!(answer, Answer { excluded: false, lines: 1, asked_name: false, asked_cgroup: false });
    }
}

#[test]
fn a_tree_is_followed_into_children_and_all_else_is_sent_once() {
    let mut filter = filter(config::Filter { pid: vec![A], ..Default::default() });
    assert_eq!(
        [Task::main(A, "a"), Task::main(B, "b"), Task::main(B, "b")].map(|t| t.sample(&mut filter)),
        [Wanted, Judged, KeptBack]
    );
    // A name says nothing here, and threads are judged as their process is.
    assert_eq!(Task::main(B, "other").thread(9, "worker").sample(&mut filter), KeptBack);
    assert_eq!(
        Task::main(B, "b").ask(filter.slots()),
        Answer { excluded: true, lines: 2, asked_name: false, asked_cgroup: false }
    );
    // The id of the stranger becomes that of a child.
    filter.notice(&notice(B, NoticeKind::Exit));
    filter.notice(&notice(B, NoticeKind::Fork { parent: A }));
    filter.notice(&notice(C, NoticeKind::Fork { parent: B }));
    assert_eq!([B, C].map(|pid| Task::main(pid, "b").sample(&mut filter)), [Wanted, Wanted]);
    filter.notice(&notice(C, NoticeKind::Exit));
    filter.notice(&notice(C, NoticeKind::Fork { parent: 1 }));
    assert_eq!([C, C].map(|pid| Task::main(pid, "b").sample(&mut filter)), [Judged, KeptBack]);
}

#[test]
fn a_denied_name_is_one_verdict_for_all_who_are_called_so() {
    let mut filter = filter(config::Filter { deny_comm: texts(&["cc*", "as"]), ..Default::default() });
    assert_eq!(Task::main(A, "cc1plus").sample(&mut filter), Judged);
    assert_eq!(Task::main(B, "cc1plus").sample(&mut filter), KeptBack, "never seen before, and not sent");
    assert_eq!(Task::main(C, "ld").sample(&mut filter), Wanted);
    assert_eq!(Task::main(C, "as").sample(&mut filter), Judged, "after an exec");
    assert_eq!(Task::main(C, "as").sample(&mut filter), KeptBack);
    assert_eq!(Task::main(C, "ld").sample(&mut filter), Wanted, "after another");
    let answer = Task::main(C, "ld").ask(filter.slots());
    assert_eq!(answer, Answer { excluded: false, lines: 2, asked_name: true, asked_cgroup: false });
}

#[test]
fn threads_are_judged_by_the_name_of_their_process() {
    let mut filter = filter(config::Filter { comm: texts(&["server"]), ..Default::default() });
    let (server, other) = (Task::main(A, "server"), Task::main(B, "other"));
    for (process, parent) in [(A, "server"), (B, "other")] {
        let comm = parent.to_owned();
        filter.notice(&notice(process, NoticeKind::Exec { comm, mappings_follow: true }));
    }
    // Nothing of these ids is in `/proc`: before its main thread was sampled a thread's own name counts.
    assert_eq!(server.sample(&mut filter), Wanted);
    assert_eq!(other.thread(B + 10, "worker").sample(&mut filter), Judged);
    assert_eq!(other.thread(B + 11, "server").sample(&mut filter), KeptBack);
    // The main thread takes another name: seen by the sampler, or noticed.
    assert_eq!(Task::main(B, "server").sample(&mut filter), Wanted);
    assert_eq!(other.sample(&mut filter), Judged);
    assert_eq!(other.thread(B + 11, "x").sample(&mut filter), Judged);
    assert_eq!(other.thread(B + 11, "x").sample(&mut filter), KeptBack);
    filter.notice(&notice(B, NoticeKind::Name { comm: "server".into() }));
    assert_eq!(other.thread(B + 11, "x").sample(&mut filter), Wanted);
}

#[test]
fn a_process_that_moves_to_another_cgroup_is_judged_anew() {
    // No such cgroups are there, so their paths are not known and only what is allowed matters.
    let mut filter = filter(config::Filter { cgroup: texts(&["/nowhere"]), ..Default::default() });
    let at = |cgroup: u64| Task { cgroup: u64::MAX - cgroup, ..Task::main(A, "a") };
    assert_eq!(
        [at(7), at(7), at(8), at(8), at(7)].map(|task| task.sample(&mut filter)),
        [Judged, KeptBack, Judged, KeptBack, Judged]
    );
    let mut slots = slots();
    slots.begin(true, false);
    slots.add_cgroup(at(7).cgroup);
    assert!(at(7).ask(&slots).excluded && !at(8).ask(&slots).excluded);
    assert_eq!(at(7).ask(&slots), Answer { excluded: true, lines: 2, asked_name: false, asked_cgroup: true });
}

#[test]
fn with_every_kind_of_rule_a_sample_touches_four_lines() {
    let mut slots = slots();
    slots.begin(true, true);
    slots.add_cgroup(7);
    slots.add_name(&name("denied"));
    slots.add_process(B, &name("b"), 8);
    let wanted = Task { cgroup: 9, ..Task::main(A, "a") };
    assert_eq!(
        wanted.ask(&slots),
        Answer { excluded: false, lines: 4, asked_name: true, asked_cgroup: true }
    );
    let process = Task { cgroup: 8, ..Task::main(B, "b") };
    assert!(process.ask(&slots).excluded && process.thread(9, "x").ask(&slots).excluded);
    assert!(!Task { cgroup: 9, ..process }.ask(&slots).excluded);
    assert!(!Task { name: name("c"), ..process }.ask(&slots).excluded);
}

#[test]
fn other_rules_hold_at_once_for_what_was_judged_before() {
    let mut filter = filter(config::Filter { deny_comm: texts(&["a"]), ..Default::default() });
    let (a, b) = (Task::main(A, "a"), Task::main(B, "b"));
    assert_eq!([a, a, b].map(|task| task.sample(&mut filter)), [Judged, KeptBack, Wanted]);
    filter.change(Rules::new(&config::Filter { deny_comm: texts(&["b"]), ..Default::default() }));
    assert_eq!([a, b, b].map(|task| task.sample(&mut filter)), [Wanted, Judged, KeptBack]);
    filter.change(Rules::default());
    assert_eq!([a, b].map(|task| task.sample(&mut filter)), [Wanted, Wanted]);
}

#[test]
fn descendants_are_remembered_over_a_change_of_other_rules() {
    let rules = |deny: &[&str]| {
        Rules::new(&config::Filter { pid: vec![A], deny_comm: texts(deny), ..Default::default() })
    };
    let mut filter = Filter::new(slots(), 100, false);
    filter.change(rules(&[]));
    filter.notice(&notice(B, NoticeKind::Fork { parent: A }));
    filter.change(rules(&["none"]));
    assert_eq!(Task::main(B, "b").sample(&mut filter), Wanted, "its parent is not in /proc any more");
    filter.change(Rules::new(&config::Filter { pid: vec![C], ..Default::default() }));
    assert_eq!(Task::main(B, "b").sample(&mut filter), Judged);
}

#[test]
fn lost_notices_make_every_process_be_judged_anew() {
    let mut filter = filter(config::Filter { pid: vec![A], ..Default::default() });
    assert_eq!([B, B].map(|pid| Task::main(pid, "b").sample(&mut filter)), [Judged, KeptBack]);
    filter.notice(&notice(0, NoticeKind::Lost { count: 3 }));
    assert_eq!([B, B].map(|pid| Task::main(pid, "b").sample(&mut filter)), [Judged, KeptBack]);
}

#[test]
fn a_full_table_forgets_verdicts_and_never_mistakes_one_for_another() {
    let mut filter = filter(config::Filter { pid: vec![A], ..Default::default() });
    let mut kept_back = 0;
    for round in 0..3 {
        // Far more than there are slots.
        for pid in 6_000_000..6_002_000 {
            let fate = Task::main(pid, "x").sample(&mut filter);
            assert_ne!(fate, Wanted);
            kept_back += u32::from(fate == KeptBack);
        }
        assert_eq!(Task::main(A, "x").sample(&mut filter), Wanted, "round {round}");
    }
    assert!(kept_back < 100, "nearly each was pushed out before it came again, not {kept_back} of 6000");
    assert!(filter.counters().1.evicted > 5000);
}

#[test]
fn names_differ_in_any_byte() {
    let mut slots = slots();
    slots.begin(false, true);
    let long = "abcdefghijklmno";
    slots.add_name(&name(long));
    assert!(Task::main(A, long).ask(&slots).excluded);
    for at in 0..long.len() {
        let mut other = long.as_bytes().to_vec();
        other[at] = b'_';
        assert!(!Task::main(A, std::str::from_utf8(&other).unwrap()).ask(&slots).excluded, "{at}");
    }
}
