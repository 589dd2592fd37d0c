//! Periods at random, so that no program hides between the samples.
//!
//! Much of what machines do is periodic by the clock that times the samples, too: at a fixed period its phase would never
//! change, and it would be seen always or never. So each CPU's event gets another period now and then
//! (`PERF_EVENT_IOC_PERIOD`), and a sample stands for the time since the sample before.
//!
//! The kernel begins to count again when a period changes (kernel/events/core.c, `__perf_event_period`), and goes on telling
//! programs the period with which the event was opened (`perf_swevent_hrtimer`, `last_period`). So it is kept here
//! what each tick stands for: its period, and for the first tick after a change what had passed of the period before.

use std::collections::VecDeque;

/// The largest spread, in per cent: wider ones bring larger errors, not smaller ones.
pub const LARGEST_SPREAD: u32 = 50;

/// The distribution of periods.
///
/// A program that works every `T` seconds is in step with every rate of `n / T`. What its estimate is worth depends on
/// how much time is spent at such rates: with the density `h` of rates over time, in units of the mean rate, the
/// variance for work of the frequency `f` is that of random sampling times the sum of `h(f / n) / n` over all `n`. So
/// rates reach down to `a`, and `h` has steps of 1, 1/2 and 1/6 from `a`, `2a` and `3a` on, up to where the mean is
/// right: with these the sum is the same at all low frequencies, and no distribution has a lower maximum.
///
/// Each is drawn at random, but not without regard to those before: where they lie in the distribution, they are a golden
/// section of a turn apart, so that a few of them have the right mean already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Periods {
    nominal_ns: u64,
    /// The lowest rate and the highest, in units of the nominal one.
    lowest: f64,
    highest: f64,
    /// The place of the last one in the distribution, from 0 to 1.
    place: f64,
}

/// The larger part of the golden section.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The heights of the steps of the density, each as wide as the lowest rate.
const STEPS: [f64; 3] = [1.0, 1.0 / 2.0, 1.0 / 6.0];

impl Periods {
    /// Periods whose rate is that of `nominal_ns` in the mean, and at its lowest so many per cent below
    /// ([`LARGEST_SPREAD`] at most). 0: the period is fixed.
    pub fn new(nominal_ns: u64, spread: u32, random: &mut fastrand::Rng) -> Self {
        let lowest = 1.0 - f64::from(spread.min(LARGEST_SPREAD)) / 100.0;
        let squared = lowest * lowest;
        // Solutions of: the integral of q h(q) is that of h(q), with the end in the first step, the second, the third.
        let highest = if lowest >= 2.0 / 3.0 {
            2.0 - lowest
        } else if lowest >= 6.0 / 11.0 {
            1.0 + (1.0 - 2.0 * squared).sqrt()
        } else {
            1.0 + (1.0 + 12.0 * lowest - 24.0 * squared).sqrt()
        };
        Self { nominal_ns, lowest, highest, place: random.f64() }
    }

    /// Draws a period, in nanoseconds.
    pub fn draw(&mut self) -> u64 {
        self.place = (self.place + GOLDEN).fract();
        let ends = [1.0, 2.0, 3.0, 4.0].map(|step| (step * self.lowest).min(self.highest));
        let masses = [0, 1, 2].map(|step| (ends[step + 1] - ends[step]) * STEPS[step]);
        let mut left = self.place * masses.iter().sum::<f64>();
        let mut rate = self.highest;
        for (step, mass) in masses.iter().enumerate() {
            if left < *mass {
                rate = ends[step] + left / STEPS[step];
                break;
            }
            left -= mass;
        }
        scaled(self.nominal_ns, 1.0 / rate)
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn scaled(ns: u64, by: f64) -> u64 {
    (ns as f64 * by) as u64
}

/// The times at which periods change.
///
/// They depend on nothing but chance: right after a change no CPU ticks for a while, so whatever determined them would be
/// seen less than it is.
#[derive(Clone, Debug)]
pub struct Changes {
    nominal_ns: u64,
    began_ns: u64,
    next_ns: u64,
}

impl Changes {
    /// Ticks between two changes that are enough, where they do not come faster than [`Self::FASTEST_NS`] nor slower than
    /// [`Self::SLOWEST_NS`].
    const TICKS: u64 = 48;
    /// Ticks between two changes at least: before the first of them there is a gap.
    const TICKS_LEAST: u64 = 26;
    const FASTEST_NS: u64 = 250_000_000;
    const SLOWEST_NS: u64 = 1_250_000_000;
    /// Changes come faster at the beginning, so that a short recording has samples at several rates, too: after so many
    /// ticks at least, and after an eighth of the time that has passed.
    const TICKS_AT_FIRST: u64 = 6;
    const AT_FIRST_NS: u64 = 50_000_000;
    const PART: u64 = 8;

    /// Changes of ticks of this period from `now_ns` on.
    pub fn new(nominal_ns: u64, now_ns: u64, random: &mut fastrand::Rng) -> Self {
        let mut changes = Self { nominal_ns, began_ns: now_ns, next_ns: now_ns };
        changes.advance(now_ns, random);
        changes
    }

    /// Returns the mean time between two changes.
    fn mean_ns(nominal_ns: u64) -> u64 {
        (Self::TICKS * nominal_ns)
            .clamp(Self::FASTEST_NS, Self::SLOWEST_NS)
            .max(Self::TICKS_LEAST * nominal_ns)
    }

    /// The time of the next change: CLOCK_MONOTONIC, nanoseconds.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Draws the time of the change after the one that is due.
    pub fn advance(&mut self, now_ns: u64, random: &mut fastrand::Rng) {
        let at_first_ns = (now_ns.saturating_sub(self.began_ns) / Self::PART)
            .max(Self::TICKS_AT_FIRST * self.nominal_ns)
            .max(Self::AT_FIRST_NS);
        let mean_ns = Self::mean_ns(self.nominal_ns).min(at_first_ns);
        self.next_ns = now_ns + scaled(mean_ns, 0.5 + random.f64());
    }
}

/// Ticks of one CPU between two changes of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// CLOCK_MONOTONIC, nanoseconds; its first tick comes a period later.
    start_ns: u64,
    period_ns: u64,
    /// Time since the last tick before, which its first tick stands for, too.
    carried_ns: u64,
}

/// Ticks of one CPU as they are due, from when its event was switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The latest segments, the last one under way.
    segments: VecDeque<Segment>,
    /// Ticks that were due in the segments before the last.
    due_before: u64,
}

/// Segments that are remembered: records of a few may lie in rings at once.
const SEGMENTS: usize = 64;

impl Course {
    /// An event that was switched on at `start_ns`.
    pub fn new(start_ns: u64, period_ns: u64) -> Self {
        let first = Segment { start_ns, period_ns: period_ns.max(1), carried_ns: 0 };
        Self { segments: [first].into(), due_before: 0 }
    }

    /// The period in force, in nanoseconds.
    pub fn period_ns(&self) -> u64 {
        self.segments.back().map_or(1, |segment| segment.period_ns)
    }

    /// Begins to count again at `at_ns`, with another period.
    pub fn change(&mut self, at_ns: u64, period_ns: u64) {
        let Some(last) = self.segments.back() else { return };
        let elapsed_ns = at_ns.saturating_sub(last.start_ns);
        let ticks = elapsed_ns / last.period_ns;
        let carried_ns = match ticks {
            0 => elapsed_ns + last.carried_ns,
            _ => elapsed_ns % last.period_ns,
        };
        self.due_before += ticks;
        if self.segments.len() >= SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(Segment { start_ns: at_ns, period_ns: period_ns.max(1), carried_ns });
    }

    /// Counts the ticks that were due until `at_ns`, which lies after the last change. One that is due for less than half a
    /// period may be on its way, and is not counted.
    pub fn due(&self, at_ns: u64) -> u64 {
        let Some(last) = self.segments.back() else { return 0 };
        let settled_ns = at_ns.saturating_sub(last.period_ns / 2);
        self.due_before + settled_ns.saturating_sub(last.start_ns) / last.period_ns
    }

    /// Returns the time for which a tick stands that came at `at_ns`, in nanoseconds.
    pub fn stands_for(&self, at_ns: u64) -> u64 {
        // What comes within half a period of a change was on its way before.
        let began = |segment: &&Segment| segment.start_ns + segment.period_ns / 2 <= at_ns;
        let Some(segment) = self.segments.iter().rev().find(began).or(self.segments.front()) else {
            return 0;
        };
        let is_first = at_ns.saturating_sub(segment.start_ns) < segment.period_ns + segment.period_ns / 2;
        segment.period_ns + if is_first { segment.carried_ns } else { 0 }
    }
}

#[cfg(test)]
mod tests;
