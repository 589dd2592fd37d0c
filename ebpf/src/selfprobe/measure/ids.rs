//! Measures the offsets of a task's ids: `task_struct.thread_pid` points to a `struct pid`, which holds an id for each
//! pid namespace from the initial one down to the task's own.
//!
//! We know our ids in our own namespace. That a number is the level, and not another small number,
//! shows in children that live one and two namespaces deeper.

use super::Measured;
use super::search::{find_half, half, is_kernel_pointer, word, words};
use super::threads::{Snapshot, observe};
use crate::selfprobe::process::DEEPEST;
use crate::selfprobe::{Error, Place, Selfprobe};

/// A `struct pid` with its ids is smaller: 32 namespaces of 16 bytes each, and what is before them.
const PID_BYTES: usize = 768;
/// `sizeof(struct upid)`: an id and a pointer (include/linux/pid.h).
const UPID_BYTES: usize = 16;
/// MAX_PID_NS_LEVEL (kernel/pid_namespace.c).
const DEEPEST_LEVEL: u32 = 32;

/// Offsets of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PidLayout {
    thread_pid: usize,
    level: usize,
    numbers: usize,
    nr: usize,
    own_level: u32,
}

impl PidLayout {
    pub(super) fn thread_pid(&self) -> Measured {
        self.fact(
            self.thread_pid,
            "the pointer behind which each of three threads and four processes has its own id",
        )
    }

    pub(super) fn level(&self) -> Measured {
        let more = format!(
            "{} in our own threads, one more in a child's pid namespace, two more in its child's",
            self.own_level
        );
        self.fact(self.level, &more)
    }

    pub(super) fn numbers(&self) -> Measured {
        self.fact(self.numbers, "our ids lie there, 16 bytes further on for each level")
    }

    pub(super) fn nr(&self) -> Measured {
        self.fact(
            self.nr,
            "the id comes before the pointer to its namespace, which is the same for all of ours",
        )
    }

    fn fact(&self, value: usize, evidence: &str) -> Measured {
        Measured { value: value as u64, method: "known ids", evidence: evidence.into() }
    }
}

/// The `struct pid` of a task, and the ids that it must hold.
struct Seen {
    /// Namespaces deeper than ours.
    depth: usize,
    /// By namespace, ours first; 0 where it is not known.
    ids: [u32; DEEPEST + 1],
    bytes: Vec<u8>,
}

/// A pointer of a task, and where behind it the thread's id lies.
struct Candidate {
    thread_pid: usize,
    id_at: usize,
    seen: Vec<Seen>,
}

pub(super) fn measure(probe: &mut Selfprobe) -> Result<PidLayout, Error> {
    let candidates = observe(probe, candidates)?;
    let mut found = Vec::new();
    for candidate in candidates {
        found.extend(prove(probe, candidate)?);
    }
    super::only(found, "task_struct", "a pointer to ids that follow our pid namespaces")
}

/// The layout, if what children in namespaces of their own show agrees with it.
///
/// A pointer may lead to our ids by chance: into the middle of a `struct pid`, or to its neighbour. Then
/// children do not agree, or no level lies before the ids.
fn prove(probe: &mut Selfprobe, candidate: Candidate) -> Result<Option<PidLayout>, Error> {
    let Candidate { thread_pid, id_at, mut seen } = candidate;
    let behind = Place::Behind { pointer: thread_pid as u64, after: 0 };
    for depth in [0, 0, 1, 2] {
        let (look, ids) = match probe.read_in_child(behind, PID_BYTES, depth) {
            Err(Error::Unreadable { .. }) => return Ok(None),
            other => other?,
        };
        seen.push(Seen { depth, ids: ids.seen, bytes: look.bytes });
        if !seen.iter().all(|seen| seen.agrees(id_at)) {
            return Ok(None);
        }
    }
    let Some(nr) = nr(&seen, id_at) else { return Ok(None) };
    let levels: Vec<_> =
        (0..id_at).step_by(4).filter_map(|at| level(&seen, id_at - nr, at).map(|own| (at, own))).collect();
    let [(level, own_level)] = levels[..] else { return Ok(None) };
    let numbers = id_at - nr - own_level as usize * UPID_BYTES;
    Ok(Some(PidLayout { thread_pid, level, numbers, nr, own_level }))
}

/// Pointers of the threads behind which each has its own id at one place.
fn candidates(probe: &mut Selfprobe, threads: &[Snapshot]) -> Result<Vec<Candidate>, Error> {
    let mut found = Vec::new();
    let Some((first, _)) = threads.split_first() else {
        return Err(Error::NotFound { place: "task_struct", what: "threads" });
    };
    for (_, thread_pid) in
        words(&first.bytes).zip((0..).step_by(8)).filter(|(value, _)| is_kernel_pointer(*value))
    {
        let pointers: Vec<_> = threads.iter().filter_map(|thread| word(&thread.bytes, thread_pid)).collect();
        let distinct = pointers
            .iter()
            .all(|one| is_kernel_pointer(*one) && pointers.iter().filter(|other| *other == one).count() == 1);
        if !distinct || pointers.len() != threads.len() {
            continue;
        }
        let mut seen = Vec::new();
        for (pointer, thread) in pointers.iter().zip(threads) {
            let Ok(look) = probe.read(Place::Address(*pointer), PID_BYTES) else { break };
            seen.push(Seen { depth: 0, ids: [thread.tid, 0, 0], bytes: look.bytes });
        }
        if seen.len() != threads.len() {
            continue;
        }
        for id_at in find_half(&seen[0].bytes, seen[0].ids[0]) {
            if seen.iter().all(|seen| seen.agrees(id_at)) {
                let seen = seen.iter().map(|one| Seen { bytes: one.bytes.clone(), ..*one }).collect();
                found.push(Candidate { thread_pid, id_at, seen });
            }
        }
    }
    Ok(found)
}

impl Seen {
    /// Tells whether the ids lie there, one for each namespace.
    fn agrees(&self, id_at: usize) -> bool {
        self.ids.iter().take(self.depth + 1).enumerate().all(|(level, id)| {
            let found = half(&self.bytes, id_at + level * UPID_BYTES);
            found.is_some_and(|found| *id == 0 || found == *id)
        })
    }
}

/// Returns the offset of the id in a `struct upid`: before the pointer to its namespace, or after it.
fn nr(seen: &[Seen], id_at: usize) -> Option<usize> {
    let word_at = id_at - id_at % 8;
    let namespace = |seen: &Seen, at: usize| word(&seen.bytes, at).filter(|value| is_kernel_pointer(*value));
    let is_namespace = |at: usize| {
        let ours: Vec<_> = seen.iter().map(|seen| namespace(seen, at)).collect();
        let same = ours.first().copied().flatten().is_some() && ours.iter().all(|one| *one == ours[0]);
        // In a deeper namespace the next one is another.
        same && seen
            .iter()
            .filter(|seen| seen.depth > 0)
            .all(|seen| namespace(seen, at + UPID_BYTES).is_some_and(|next| Some(next) != ours[0]))
    };
    if is_namespace(word_at + 8) {
        return Some(id_at - word_at);
    }
    let before = word_at.checked_sub(8).filter(|at| is_namespace(*at));
    before.map(|at| id_at - at)
}

/// Our own level, if the half word at `at` is the level in everything that was seen.
fn level(seen: &[Seen], own_upid: usize, at: usize) -> Option<u32> {
    let own = half(&seen.first()?.bytes, at).filter(|own| *own < DEEPEST_LEVEL)?;
    let deeper = |seen: &Seen| u32::try_from(seen.depth).ok().map(|depth| own + depth);
    let numbers = own_upid.checked_sub(own as usize * UPID_BYTES)?;
    (numbers >= at + 4 && seen.iter().all(|seen| half(&seen.bytes, at) == deeper(seen))).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u64 = 0xffff_8880_0000_1000;

    /// count, level, 8 bytes of something, then the ids.
    fn pid(count: u32, level: u32, ids: &[(u32, u64)]) -> Vec<u8> {
        let mut bytes = [count, level, 3, 4].map(u32::to_ne_bytes).concat();
        for (id, namespace) in ids {
            bytes.extend(u64::from(*id).to_ne_bytes());
            bytes.extend(namespace.to_ne_bytes());
        }
        bytes.resize(PID_BYTES, 0);
        bytes
    }

    fn seen(own_level: u32) -> Vec<Seen> {
        let outer: Vec<_> = (0..own_level).map(|level| (500 + level, OURS - 0x100)).collect();
        let with = |more: &[(u32, u64)]| [&outer[..], more].concat();
        let level = own_level;
        vec![
            Seen { depth: 0, ids: [41, 0, 0], bytes: pid(1, level, &with(&[(41, OURS)])) },
            Seen { depth: 0, ids: [42, 0, 0], bytes: pid(3, level, &with(&[(42, OURS)])) },
            Seen { depth: 1, ids: [43, 1, 0], bytes: pid(2, level + 1, &with(&[(43, OURS), (1, OURS + 8)])) },
            Seen {
                depth: 2,
                ids: [0, 2, 1],
                bytes: pid(1, level + 2, &with(&[(44, OURS), (2, OURS + 16), (1, OURS + 24)])),
            },
        ]
    }

    #[test]
    fn finds_level_and_ids_in_any_namespace() {
        for own in [0, 1, 5] {
            let seen = seen(own);
            let id_at = 16 + own as usize * UPID_BYTES;
            assert!(seen.iter().all(|seen| seen.agrees(id_at)));
            assert!(!seen.iter().all(|seen| seen.agrees(id_at + 4)));
            assert_eq!(nr(&seen, id_at), Some(0));
            let levels: Vec<_> =
                (0..id_at).step_by(4).filter(|at| level(&seen, id_at, *at).is_some()).collect();
            assert_eq!(levels, [4]);
            assert_eq!(level(&seen, id_at, 4), Some(own));
        }
    }

    #[test]
    fn finds_an_id_behind_its_namespace() {
        let mut turned = seen(0);
        for seen in &mut turned {
            for upid in seen.bytes[16..].chunks_exact_mut(UPID_BYTES) {
                upid.rotate_left(8);
            }
        }
        assert_eq!(nr(&turned, 24), Some(8));
    }

    #[test]
    fn a_number_that_does_not_follow_the_depth_is_not_the_level() {
        let mut seen = seen(0);
        seen[3].bytes[4..8].copy_from_slice(&7u32.to_ne_bytes());
        assert!((0..16).step_by(4).all(|at| level(&seen, 16, at).is_none()));
    }
}
