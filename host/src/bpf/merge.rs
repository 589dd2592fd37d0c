//! Samples and process events in one time order.

use super::{Notice, RawSample};

/// A sample, or what happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A sample.
    Sample(RawSample),
    /// A notice.
    Notice(Notice),
}

impl Event {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Sample(sample) => sample.time_ns,
            Self::Notice(notice) => notice.time_ns,
        }
    }
}

/// Room for so many events is kept, for the next time.
const ROOM: usize = 1024;

/// Holds what was read until nothing older can still come, then gives it out in time order.
///
/// Each CPU has rings of its own, and they are read one after the other: what was read first
/// from one may be younger than what is read last from another.
#[derive(Debug, Default)]
pub(super) struct Merge {
    held: Vec<Event>,
}

impl Merge {
    pub(super) fn add(&mut self, events: impl IntoIterator<Item = Event>) {
        self.held.extend(events);
    }

    /// Tells whether a sample is held that is to be looked at soon.
    pub(super) fn is_urgent(&self) -> bool {
        self.first_urgent_ns().is_some()
    }

    /// When the first of those was taken, if there is one.
    pub(super) fn first_urgent_ns(&self) -> Option<u64> {
        let urgent = |event: &&Event| matches!(event, Event::Sample(sample) if sample.urgent);
        self.held.iter().filter(urgent).map(Event::time_ns).min()
    }

    /// Everything up to `until_ns`, oldest first; at equal times process events precede samples.
    pub(super) fn take(&mut self, until_ns: u64) -> Vec<Event> {
        self.held.sort_by_key(|event| (event.time_ns(), matches!(event, Event::Sample(_))));
        let later = self.held.partition_point(|event| event.time_ns() <= until_ns);
        let ready = self.held.drain(..later).collect();
        self.held.shrink_to(ROOM);
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::super::NoticeKind;
    use super::*;

    fn notice(time_ns: u64) -> Event {
        Event::Notice(Notice { time_ns, pid: 1, tid: 1, kind: NoticeKind::Exit })
    }

    fn times(events: &[Event]) -> Vec<u64> {
        events.iter().map(Event::time_ns).collect()
    }

    #[test]
    fn gives_out_by_time_and_holds_what_is_too_young() {
        let mut merge = Merge::default();
        merge.add([notice(30), notice(10)]);
        merge.add([notice(20), notice(40)]);
        assert_eq!(times(&merge.take(30)), [10, 20, 30]);
        merge.add([notice(35)]);
        assert_eq!(times(&merge.take(u64::MAX)), [35, 40]);
    }
}
