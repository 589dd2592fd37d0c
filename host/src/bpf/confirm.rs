//! Confirming facts on our own task before anything relies on them.

use stacksonde_ebpf::selfprobe::{Error, Place, Selfprobe, Trigger, on_another_thread};

/// Proves that `*(task + task_struct_stack) + stack_pt_regs` is where the kernel keeps the
/// registers with which a thread entered it: values planted in our own registers are there, and
/// others after them, on this thread and on a second one.
///
/// Both in bytes, as the facts `task_struct.stack` and `stack.pt_regs`. `triggers`: the ways in which
/// the analysis program may be run.
pub fn confirm_entry_registers(
    task_struct_stack: u64,
    stack_pt_regs: u64,
    triggers: &[Trigger],
) -> Result<(), Error> {
    Selfprobe::open(triggers)?.confirm(task_struct_stack, stack_pt_regs)
}

/// Offsets of a task's ids, in bytes, as the facts of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdFacts {
    /// `task_struct.group_leader`
    pub group_leader: u32,
    /// `task_struct.thread_pid`
    pub thread_pid: u32,
    /// `pid.level`
    pub level: u32,
    /// `pid.numbers`
    pub numbers: u32,
    /// `upid.nr`
    pub nr: u32,
}

/// Our own pid namespace, as tasks show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnNamespace {
    /// The depth of the pid namespace; 0 is the initial one.
    pub level: u32,
    /// Its address in the kernel: the only thing that no other namespace of that depth shares.
    pub address: u64,
}

/// Proves that the facts lead to our own ids: this thread's, its process', and those of a second thread.
pub fn confirm_ids(facts: &IdFacts, triggers: &[Trigger]) -> Result<OwnNamespace, Error> {
    let mut probe = Selfprobe::open(triggers)?;
    let here = ids_here(&mut probe, facts)?;
    let there = on_another_thread(|| ids_here(&mut probe, facts))??;
    if here == there { Ok(here) } else { Err(Error::NotFound { place: "struct pid", what: "one namespace" }) }
}

/// `sizeof(struct upid)`: an id and a pointer (include/linux/pid.h).
const UPID_BYTES: u64 = 16;

fn ids_here(probe: &mut Selfprobe, facts: &IdFacts) -> Result<OwnNamespace, Error> {
    // SAFETY: plain questions.
    let (tid, pid) = unsafe { (libc::gettid().cast_unsigned(), libc::getpid().cast_unsigned()) };
    let pointer = u64::from(facts.thread_pid);
    let own = probe.read(Place::Behind { pointer, after: u64::from(facts.level) }, 4)?;
    let level = half(&own.bytes);
    let (namespace, found) = upid(probe, facts, Place::Behind { pointer, after: after(facts, level) })?;
    expect(found, tid)?;

    let leader = probe.read(Place::Behind { pointer: u64::from(facts.group_leader), after: pointer }, 8)?;
    let leader = word(&leader.bytes).wrapping_add(after(facts, level));
    let (of_leader, found) = upid(probe, facts, Place::Address(leader))?;
    expect(found, pid)?;
    if namespace != of_leader {
        return Err(Error::NotFound { place: "struct pid", what: "the namespace of our process" });
    }
    Ok(OwnNamespace { level, address: namespace })
}

/// From a `struct pid` to the entry of one level.
fn after(facts: &IdFacts, level: u32) -> u64 {
    u64::from(facts.numbers) + u64::from(level) * UPID_BYTES
}

/// Namespace and id of an entry.
fn upid(probe: &mut Selfprobe, facts: &IdFacts, place: Place) -> Result<(u64, u32), Error> {
    let bytes = probe.read(place, 16)?.bytes;
    let (first, second) = (word(&bytes), word(bytes.get(8..).unwrap_or_default()));
    let at = usize::try_from(facts.nr).unwrap_or(0);
    Ok((if facts.nr < 8 { second } else { first }, half(bytes.get(at..).unwrap_or_default())))
}

fn expect(found: u32, expected: u32) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::OtherId { found, expected }) }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

fn half(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |half| u32::from_ne_bytes(*half))
}
