use super::*;

const MS: u64 = 1_000_000;

/// A program that works for a share of each period, and what samples of it say.
///
/// Times are in units of the nominal period of the samples.
struct Model {
    spread: u32,
    random: fastrand::Rng,
}

const NOMINAL_NS: u64 = 1_000_000_000;

impl Model {
    fn new(spread: u32, seed: u64) -> Self {
        Self { spread, random: fastrand::Rng::with_seed(seed) }
    }

    /// Samples for `changes` changes of the period, `apart` nominal periods apart in the mean, a program that works for
    /// `duty` of each `period`. Returns the time for which it worked, estimated and true.
    fn estimate(&mut self, changes: usize, apart: f64, period: f64, duty: f64) -> (f64, f64) {
        let (phase, spread) = (self.random.f64(), self.spread);
        let mut periods = Periods::new(NOMINAL_NS, spread, &mut self.random);
        let turn = |ns: u64| ns as f64 / NOMINAL_NS as f64 / period + phase;
        let worked = |turn: f64| (turn.floor() * duty + turn.fract().min(duty)) * period;
        let mut course = Course::new(0, periods.draw());
        let (mut seen, mut at_ns, mut last_ns) = (0.0, 0_u64, 0);
        for _ in 0..changes {
            let until_ns = at_ns + scaled(NOMINAL_NS, apart * (0.5 + self.random.f64()));
            let mut tick_ns = at_ns + course.period_ns();
            while tick_ns <= until_ns {
                if turn(tick_ns).fract() < duty {
                    seen += course.stands_for(tick_ns) as f64 / NOMINAL_NS as f64;
                }
                last_ns = tick_ns;
                tick_ns += course.period_ns();
            }
            at_ns = until_ns;
            course.change(at_ns, periods.draw());
        }
        (seen, worked(turn(last_ns)) - worked(phase))
    }
}

/// Work of which samples are taken.
#[derive(Clone, Copy, Debug)]
struct Case {
    hertz: u64,
    period_s: f64,
    duty: f64,
}

/// Changes of the period during which a program is sampled for one estimate.
const CHANGES: usize = 12;

impl Case {
    /// One at random: rates from 1 to 10,000 Hz, periods from 1 ms to 10 s, shares from 1 to 70 per cent.
    fn draw(random: &mut fastrand::Rng) -> Self {
        let mut log = |from: f64, to: f64| from * (to / from).powf(random.f64());
        Self { hertz: scaled(1, log(1.0, 10_000.0)), period_s: log(0.001, 10.0), duty: log(0.01, 0.7) }
    }

    /// The error of the mean of `times` estimates and their variance, in units of the true share and of the variance of as
    /// many samples at random times (of a Poisson process).
    fn judge(&self, times: usize, seed: u64) -> (f64, f64) {
        let mut model = Model::new(LARGEST_SPREAD, seed);
        let apart = apart(self.hertz);
        let period = self.period_s * self.hertz as f64;
        let whole = CHANGES as f64 * apart * self.duty;
        let error = |(seen, worked)| (seen - worked) / whole;
        let errors: Vec<f64> =
            (0..times).map(|_| error(model.estimate(CHANGES, apart, period, self.duty))).collect();
        let mean = errors.iter().sum::<f64>() / times as f64;
        let variance = errors.iter().map(|error| error * error).sum::<f64>() / times as f64;
        (mean, variance * whole)
    }
}

/// Ticks between two changes at a rate, in the mean.
fn apart(hertz: u64) -> f64 {
    let nominal_ns = 1_000_000_000 / hertz;
    Changes::mean_ns(nominal_ns) as f64 / nominal_ns as f64
}

#[test]
fn the_mean_rate_is_the_nominal_one_and_no_rate_lies_further_below_than_the_spread() {
    let mut random = fastrand::Rng::with_seed(1);
    for spread in [0, 1, 10, 20, 33, 34, 40, 45, 46, 50] {
        let mut periods = Periods::new(NOMINAL_NS, spread, &mut random);
        let rates: Vec<f64> = (0..100_000).map(|_| NOMINAL_NS as f64 / periods.draw() as f64).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 1.0).abs() < 0.005, "{spread}: {mean}");
        let lowest = 1.0 - f64::from(spread) / 100.0;
        let outside = rates.iter().find(|rate| !(lowest - 1e-6..=1.0 / lowest + 1e-6).contains(*rate));
        assert_eq!(outside, None, "{spread}");
    }
}

#[test]
fn a_few_periods_have_the_right_mean_already() {
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..100 {
        let mut periods = Periods::new(NOMINAL_NS, LARGEST_SPREAD, &mut random);
        let rates: f64 = (0..13).map(|_| NOMINAL_NS as f64 / periods.draw() as f64).sum();
        assert!((rates / 13.0 - 1.0).abs() < 0.1, "{rates}");
    }
}

#[test]
fn no_program_hides_between_the_samples_whatever_its_period_and_the_rate() {
    let mut random = fastrand::Rng::with_seed(2);
    let (mut cases, mut biases) = (Vec::new(), Vec::new());
    for seed in 0..1000 {
        let case = Case::draw(&mut random);
        let ticks = CHANGES as f64 * apart(case.hertz);
        // So that each case takes about as long.
        let times = (1..1500).take_while(|times| f64::from(*times) * ticks < 400_000.0).count().max(20);
        let (bias, variance) = case.judge(times, seed);
        // A mean of so many estimates is itself an estimate.
        let error = (variance.max(0.5) / (ticks * case.duty) / times as f64).sqrt();
        assert!(bias.abs() < 0.01 + 5.0 * error, "{case:?}: {bias:+.4}");
        biases.push((bias, error));
        // A variance takes many estimates.
        cases.extend((times > 200).then_some((variance, case)));
    }
    // What is common to all shows in their mean, since errors at random do not.
    let weight = |error: f64| 1.0 / (error * error);
    let all: f64 = biases.iter().map(|(_, error)| weight(*error)).sum();
    let bias = biases.iter().map(|(bias, error)| bias * weight(*error)).sum::<f64>() / all;
    // The worst by chance and the worst by nature are told apart by more estimates.
    cases.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worst = cases[..20].iter().map(|(_, case)| (case.judge(60_000, 3).1, case));
    let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("bias of {} {bias:+.5}, worst variance {worst:?} of {}", biases.len(), cases.len());
    assert!(bias.abs() < 0.002, "{bias}");
    assert!(worst.0 < 1.2, "{worst:?}");
}

#[test]
fn at_a_fixed_period_a_program_in_step_is_seen_always_or_never() {
    let mut model = Model::new(0, 3);
    let seen: Vec<f64> =
        (0..50).map(|_| model.estimate(1, 1000.0, 19.0, 0.02)).map(|(seen, worked)| seen / worked).collect();
    assert!(seen.iter().all(|share| *share == 0.0 || *share > 2.0), "{seen:?}");
    assert!(seen.contains(&0.0), "{seen:?}");
}

#[test]
fn ticks_are_due_and_stand_for_time_across_changes() {
    let mut course = Course::new(1000 * MS, 10 * MS);
    assert_eq!((course.due(1004 * MS), course.due(1016 * MS), course.due(1104 * MS)), (0, 1, 9));
    assert_eq!((course.stands_for(1010 * MS), course.stands_for(1100 * MS)), (10 * MS, 10 * MS));
    // After ten ticks and six tenths of one it counts again.
    course.change(1106 * MS, 20 * MS);
    assert_eq!(course.due(1106 * MS), 10);
    assert_eq!((course.due(1140 * MS), course.due(1146 * MS)), (11, 11));
    // The tenth was late; the first one of the new period stands for the rest of the old one, too.
    assert_eq!(course.stands_for(1107 * MS), 10 * MS);
    assert_eq!((course.stands_for(1126 * MS), course.stands_for(1146 * MS)), (26 * MS, 20 * MS));
    // Changed twice before a tick came: nothing is forgotten.
    course.change(1150 * MS, 30 * MS);
    course.change(1160 * MS, 5 * MS);
    assert_eq!(course.stands_for(1165 * MS), (5 + 10 + 4) * MS);
    assert_eq!(course.due(1170 * MS), 10 + 2 + 1);
}

#[test]
fn changes_come_neither_too_often_nor_in_step() {
    let mut random = fastrand::Rng::with_seed(5);
    for (hertz, mean_ms) in [(1, 26_000), (19, 1368), (97, 494), (1000, 250), (10_000, 250)] {
        let nominal_ns = 1_000_000_000 / hertz;
        let mut changes = Changes::new(nominal_ns, 0, &mut random);
        let first = std::iter::repeat_with(|| {
            changes.advance(changes.next_ns(), &mut random);
            changes.next_ns()
        });
        let first = first.take_while(|next_ns| *next_ns < 40 * nominal_ns.max(25 * MS)).count();
        assert!((3..=24).contains(&first), "{hertz} Hz: {first} at first");
        changes.advance(1_000_000 * MS, &mut random);
        let (mut last, mut gaps) = (changes.next_ns(), Vec::new());
        for _ in 0..2000 {
            changes.advance(last, &mut random);
            gaps.push((changes.next_ns() - last) / MS);
            last = changes.next_ns();
        }
        let mean = gaps.iter().sum::<u64>() / 2000;
        assert!(mean.abs_diff(mean_ms) * 20 < mean_ms, "{hertz} Hz: {mean} ms");
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(*least * 10 < mean_ms * 6 && *most * 10 > mean_ms * 14, "{hertz} Hz: {least} to {most} ms");
    }
}
