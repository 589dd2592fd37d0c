//! Who leads a task's process, and when the task began.

use super::search::{is_kernel_pointer, word, words};
use super::threads::{Snapshot, observe};
use super::{Measured, only};
use crate::selfprobe::{Error, Place, Selfprobe};

/// All threads of ours have the same leader, which leads itself; a child process is its own.
pub(super) fn group_leader(probe: &mut Selfprobe) -> Result<Measured, Error> {
    const WHAT: &str = "a pointer to the task that leads our process";
    let candidates = observe(probe, |probe, threads| {
        let mut leaders = Vec::new();
        for (at, leader) in shared_pointers(threads) {
            let own = probe.read(Place::Address(leader.wrapping_add(at as u64)), 8);
            if own.is_ok_and(|look| word(&look.bytes, 0) == Some(leader)) {
                leaders.push(at as u64);
            }
        }
        Ok(leaders)
    })?;
    let mut proved = Vec::new();
    for at in &candidates {
        let (look, _) = probe.read_in_child(Place::Task(*at), 8, 0)?;
        if word(&look.bytes, 0) == Some(look.task) {
            proved.push(*at);
        }
    }
    let value = only(proved, "task_struct", WHAT)?;
    let evidence = format!(
        "the same pointer in three threads, to a task that points to itself there; of {} such only this one \
         points to the task itself in a child process",
        candidates.len()
    );
    Ok(Measured { value, method: "known tasks", evidence })
}

/// Pointers that all threads have at one offset, none to the thread itself.
fn shared_pointers(threads: &[Snapshot]) -> Vec<(usize, u64)> {
    let Some((first, others)) = threads.split_first() else { return Vec::new() };
    let shared = |at: usize, value: u64| {
        is_kernel_pointer(value)
            && threads.iter().all(|thread| value != thread.task)
            && others.iter().all(|other| word(&other.bytes, at) == Some(value))
    };
    words(&first.bytes)
        .zip((0..).step_by(8))
        .filter(|(value, at)| shared(*at, *value))
        .map(|(value, at)| (at, value))
        .collect()
}

/// A task's start lies between the times at which we asked for it and had it, and stays.
pub(super) fn start_time(probe: &mut Selfprobe) -> Result<Measured, Error> {
    let found = observe(probe, |_, threads| Ok(starts(threads)))?;
    // `start_boottime` is taken right after `start_time` (kernel/fork.c) and equals it but for that,
    // if the machine never slept: the earlier one of a pair is the start.
    let (value, twins) = match found[..] {
        [(one, _)] => (one, String::new()),
        [(a, start_a), (b, start_b)] => {
            let (first, second) = if start_a < start_b { (a, b) } else { (b, a) };
            (first, format!("; the one at {second:#x} is later and so is start_boottime"))
        }
        _ => {
            let all = found.iter().map(|(at, _)| *at).collect();
            (only(all, "task_struct", "the time of its start")?, String::new())
        }
    };
    let evidence = format!("in three threads between the times before and after each was started{twins}");
    Ok(Measured { value: value as u64, method: "known times", evidence })
}

/// Offsets whose words are each thread's start, with the first thread's.
fn starts(threads: &[Snapshot]) -> Vec<(usize, u64)> {
    let is_start = |thread: &Snapshot, at: usize| {
        let (before, after) = thread.started_ns;
        word(&thread.bytes, at)
            .is_some_and(|time| (before..=after).contains(&time) && word(&thread.later, at) == Some(time))
    };
    let Some(first) = threads.first() else { return Vec::new() };
    (0..first.bytes.len())
        .step_by(8)
        .filter(|at| threads.iter().all(|thread| is_start(thread, *at)))
        .filter_map(|at| Some((at, word(&first.bytes, at)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(task: u64, started_ns: (u64, u64), values: &[u64], later: &[u64]) -> Snapshot {
        let bytes = |values: &[u64]| values.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Snapshot { task, tid: 1, started_ns, bytes: bytes(values), later: bytes(later) }
    }

    #[test]
    fn a_start_lies_in_the_bracket_of_every_thread_and_stays() {
        let one = thread(0, (100, 110), &[105, 5, 104, 107], &[105, 5, 109, 107]);
        let two = thread(0, (200, 210), &[205, 205, 204, 99], &[205, 205, 209, 99]);
        assert_eq!(starts(&[one.clone(), two]), [(0, 105)]);
        assert_eq!(starts(&[one]), [(0, 105), (24, 107)]);
        assert_eq!(starts(&[]), []);
    }

    #[test]
    fn a_leader_is_what_all_threads_point_to_and_none_is() {
        let leader = 0xffff_8880_0000_1000;
        let one = 0xffff_8880_0000_2000;
        let two = 0xffff_8880_0000_3000;
        let threads = [
            thread(one, (0, 0), &[leader, one, 5, two], &[]),
            thread(two, (0, 0), &[leader, one, 5, two], &[]),
        ];
        assert_eq!(shared_pointers(&threads), [(0, leader)]);
    }
}
