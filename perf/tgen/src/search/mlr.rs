//! Several loss ratios in one search, after the Benchmarking Working Group's MLRsearch: loads are classified by the time that
//! trials lost too much and the time that they did not, so that one bad moment does not spoil an hour; short trials come
//! first and narrow the range for long ones.
//!
//! Overview: [`classify`] says of the trials at one load whether it is a lower bound for a goal, an upper bound, or not
//! decided yet. [`search`] goes through stages whose trials get longer and whose bounds get closer, and in each through the
//! goals. A trial counts for all goals and all later stages.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{Measured, Range, TRIALS_MAX, Trials};

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What a trial may lose: 0 for the non-drop rate, some thousandths for a partial drop rate.
    pub loss_ratio: f64,
    /// The share of time in which trials at a lower bound may lose more, from 0 up to but not including 1.
    pub exceed_ratio: f64,
    /// Seconds of trials in the first stage.
    pub initial_seconds: f64,
    /// Seconds of trials in the last stage; shorter ones count against a load only.
    pub final_seconds: f64,
    /// Seconds of trials that decide a load in the last stage.
    pub sum_seconds: f64,
    /// How far apart the bounds may be, as a share of the upper one.
    pub width: f64,
}

/// What is known of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Whatever trials are to come, it loses little enough.
    Lower,
    /// Whatever trials are to come, it loses too much.
    Upper,
    /// It depends on them.
    Undecided,
}

/// What was found for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The goal.
    pub goal: Goal,
    /// The highest load that is good enough; none if the least one is not.
    pub lower: Option<f64>,
    /// The lowest load that is not; none if the most one is good enough.
    pub upper: Option<f64>,
    /// What was forwarded a second at the lower bound, in all but the share of time that may be worse.
    pub conditional_throughput: Option<f64>,
    /// The bounds are as close as was wanted.
    pub complete: bool,
}

/// A search's end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// For each goal, in their order.
    pub goals: Vec<Found>,
    /// Every trial, in order.
    pub trials: Vec<Measured>,
}

/// How long trials are in a stage, how many seconds of them decide, and how close bounds are to be.
#[derive(Clone, Copy, Debug)]
struct Stage {
    seconds: f64,
    sum: f64,
    width: f64,
}

/// Stages in front of the last.
const STAGES_BEFORE: i32 = 2;

impl Goal {
    fn stages(&self) -> impl Iterator<Item = Stage> + use<'_> {
        (0..=STAGES_BEFORE).map(|number| {
            let before = STAGES_BEFORE - number;
            let share = f64::from(number) / f64::from(STAGES_BEFORE);
            let seconds = self.initial_seconds * (self.final_seconds / self.initial_seconds).powf(share);
            let sum = if before == 0 { self.sum_seconds } else { seconds };
            Stage { seconds, sum, width: self.width * 2_f64.powi(before) }
        })
    }
}

/// Seconds of trials at a load that lost little enough, and of those that did not.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    long_good: f64,
    long_bad: f64,
    short_good: f64,
    short_bad: f64,
}

impl Times {
    fn of(trials: &[Measured], goal: &Goal, seconds: f64) -> Self {
        let mut times = Self::default();
        for trial in trials {
            // Trials that are to be equally long are so but for rounding.
            let long = trial.seconds >= seconds * 0.999;
            let good = trial.loss_ratio <= goal.loss_ratio;
            *match (long, good) {
                (true, true) => &mut times.long_good,
                (true, false) => &mut times.long_bad,
                (false, true) => &mut times.short_good,
                (false, false) => &mut times.short_bad,
            } += trial.seconds;
        }
        times
    }

    /// Seconds that count against the load: short bad trials only as far as short good ones do not make up for them.
    fn bad(&self, exceed_ratio: f64) -> f64 {
        let made_up = self.short_good * exceed_ratio / (1.0 - exceed_ratio);
        self.long_bad + (self.short_bad - made_up).max(0.0)
    }
}

/// What trials at one load, of which those of `seconds` and more are long, say about it when `sum` seconds decide.
pub fn classify(trials: &[Measured], goal: &Goal, seconds: f64, sum: f64) -> Class {
    // Sums of times are exact only but for rounding.
    const EPSILON: f64 = 1e-6;
    let times = Times::of(trials, goal, seconds);
    let bad = times.bad(goal.exceed_ratio);
    let whole = (times.long_good + bad).max(sum);
    let allowed = whole * goal.exceed_ratio + EPSILON;
    if bad > allowed {
        Class::Upper
    } else if whole - times.long_good <= allowed {
        Class::Lower
    } else {
        Class::Undecided
    }
}

/// Loads with their trials, the loads in order.
#[derive(Debug, Default)]
struct Known {
    /// By the bits of the load: those of positive numbers are in their order.
    loads: BTreeMap<u64, Vec<Measured>>,
}

impl Known {
    fn enter(&mut self, measured: Measured, load: f64) {
        self.loads.entry(load.to_bits()).or_default().push(measured);
    }

    fn classes(&self, goal: &Goal, stage: &Stage) -> Vec<(f64, Class)> {
        let class = |trials: &[Measured]| classify(trials, goal, stage.seconds, stage.sum);
        self.loads.iter().map(|(bits, trials)| (f64::from_bits(*bits), class(trials))).collect()
    }

    /// The lowest upper bound, and the highest lower bound below it.
    fn bounds(classes: &[(f64, Class)]) -> (Option<f64>, Option<f64>) {
        let upper = classes.iter().find(|(_, class)| *class == Class::Upper).map(|(load, _)| *load);
        let below = |load: f64| upper.is_none_or(|upper| load < upper);
        let lower = classes.iter().rev().find(|(load, class)| *class == Class::Lower && below(*load));
        (lower.map(|(load, _)| *load), upper)
    }
}

/// What to measure next, for a goal in a stage; none if its bounds are close enough. `near` is the lower bound of the stage
/// before, and `steps` counts how often a bound was looked for from the other one: steps double.
fn next(classes: &[(f64, Class)], range: &Range, width: f64, near: f64, steps: &mut i32) -> Option<f64> {
    let (lower, upper) = Known::bounds(classes);
    let mut undecided = classes
        .iter()
        .filter(|(load, class)| {
            *class == Class::Undecided
                && lower.is_none_or(|lower| *load > lower)
                && upper.is_none_or(|upper| *load < upper)
        })
        .map(|(load, _)| *load);
    let mut step = |from: f64| {
        *steps += 1;
        from * width * 2_f64.powi(*steps - 1)
    };
    match (lower, upper) {
        (Some(lower), Some(upper)) if (upper - lower) / upper <= width => None,
        (Some(lower), Some(upper)) => Some(undecided.next().unwrap_or_else(|| {
            // The first estimate is near, the most load may be far.
            (lower + step(lower)).min((lower + upper) / 2.0)
        })),
        (Some(lower), None) if lower >= range.max => None,
        (Some(lower), None) => Some(undecided.next().unwrap_or_else(|| (lower + step(lower)).min(range.max))),
        (None, Some(upper)) if upper <= range.min => None,
        // The highest one below: the nearest to a bound.
        (None, Some(upper)) => {
            Some(undecided.next_back().unwrap_or_else(|| (upper - step(upper)).max(range.min)))
        }
        (None, None) => {
            let distance = |load: &f64| (load - near).abs();
            let nearest = undecided.min_by(|one, other| distance(one).total_cmp(&distance(other)));
            Some(nearest.unwrap_or(range.max))
        }
    }
}

/// Searches for all goals at once.
///
/// # Errors
/// A trial cannot be made.
pub fn search(goals: &[Goal], range: &Range, device: &mut dyn Trials) -> Result<Outcome> {
    let mut known = Known::default();
    let mut trials = Vec::new();
    let mut complete = vec![false; goals.len()];
    let mut near = vec![range.max; goals.len()];
    'stages: for number in 0..=STAGES_BEFORE as usize {
        for (at, goal) in goals.iter().enumerate() {
            let stage = goal.stages().nth(number).expect("all goals have as many stages");
            let mut steps = 0;
            while let Some(load) =
                next(&known.classes(goal, &stage), range, stage.width, near[at], &mut steps)
            {
                if trials.len() == TRIALS_MAX {
                    break 'stages;
                }
                let Some(measured) = device.measure(load, stage.seconds)? else { break 'stages };
                known.enter(measured, load);
                trials.push(measured);
                if trials.len() == 1 && measured.loss_ratio > goal.loss_ratio {
                    // What came through of the most load is near what comes through without loss.
                    let estimate = (load * (1.0 - measured.loss_ratio)).max(range.min);
                    let Some(measured) = device.measure(estimate, stage.seconds)? else { break 'stages };
                    known.enter(measured, estimate);
                    trials.push(measured);
                }
            }
            near[at] = Known::bounds(&known.classes(goal, &stage)).0.unwrap_or(range.min);
            complete[at] = number == STAGES_BEFORE as usize;
        }
    }
    let goals = goals.iter().zip(complete).map(|(goal, complete)| found(&known, goal, complete)).collect();
    Ok(Outcome { goals, trials })
}

fn found(known: &Known, goal: &Goal, complete: bool) -> Found {
    let stage = goal.stages().last().expect("there are stages");
    let (lower, upper) = Known::bounds(&known.classes(goal, &stage));
    let conditional_throughput =
        lower.map(|load| load * (1.0 - quantile_loss(&known.loads[&load.to_bits()], goal)));
    Found { goal: *goal, lower, upper, conditional_throughput, complete }
}

/// The loss ratio that long trials kept to in all but the share of time that may be worse.
fn quantile_loss(trials: &[Measured], goal: &Goal) -> f64 {
    let mut long: Vec<(f64, f64)> = trials
        .iter()
        .filter(|trial| trial.seconds >= goal.final_seconds * 0.999)
        .map(|trial| (trial.loss_ratio, trial.seconds))
        .collect();
    long.sort_by(|one, other| one.0.total_cmp(&other.0));
    let total: f64 = long.iter().map(|(_, seconds)| seconds).sum();
    let mut left = total.max(goal.sum_seconds) * (1.0 - goal.exceed_ratio);
    for (loss, seconds) in long {
        left -= seconds;
        if left <= 1e-6 {
            return loss;
        }
    }
    1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simulated::Device;
    use super::super::{Measured, Range};
    use super::{Class, Goal, classify, search};

    const RANGE: Range = Range { min: 1_000.0, max: 14_880_952.0 };
    const NDR: Goal = Goal {
        loss_ratio: 0.0,
        exceed_ratio: 0.5,
        initial_seconds: 1.0,
        final_seconds: 5.0,
        sum_seconds: 21.0,
        width: 0.005,
    };
    const PDR: Goal = Goal { loss_ratio: 0.005, ..NDR };

    fn trials(made: &[(f64, f64)]) -> Vec<Measured> {
        made.iter()
            .map(|&(seconds, loss_ratio)| Measured { load: 1.0, seconds, loss_ratio, tester_limited: false })
            .collect()
    }

    #[test]
    fn loads_are_classified_by_the_time_that_went_well() {
        let of = |goal: &Goal, made: &[(f64, f64)]| classify(&trials(made), goal, 5.0, 21.0);
        let (good, bad) = ((5.0, 0.0), (5.0, 0.1));
        assert_eq!(of(&NDR, &[]), Class::Undecided);
        assert_eq!(of(&NDR, &[good, good]), Class::Undecided, "ten of twenty-one seconds");
        assert_eq!(of(&NDR, &[good, good, good]), Class::Lower, "fifteen");
        assert_eq!(of(&NDR, &[bad, bad]), Class::Undecided);
        assert_eq!(of(&NDR, &[bad, good, bad, bad]), Class::Upper);
        assert_eq!(of(&NDR, &[bad, good, bad, good, good]), Class::Lower, "one bad moment is no matter");
        let short = |loss| (1.0, loss);
        assert_eq!(of(&NDR, &[short(0.0); 100]), Class::Undecided, "short trials are no proof");
        assert_eq!(of(&NDR, &[short(0.1); 11]), Class::Upper, "but a refutation");
        let mixed: Vec<_> = [short(0.1), short(0.0)].repeat(50);
        assert_eq!(of(&NDR, &mixed), Class::Undecided, "unless as many go well");
        assert_eq!(of(&PDR, &[(5.0, 0.005), (5.0, 0.004), (5.0, 0.001)]), Class::Lower);
        let strict = Goal { exceed_ratio: 0.0, ..NDR };
        assert_eq!(of(&strict, &[good, good, good, good]), Class::Undecided);
        assert_eq!(of(&strict, &[good, good, good, good, good]), Class::Lower);
        assert_eq!(of(&strict, &[good, good, good, good, good, short(0.001)]), Class::Upper);
    }

    proptest! {
        #[test]
        fn a_steady_device_is_found_for_both_goals(capacity in 2_000.0..14_000_000.0_f64) {
            let mut device = Device::new(capacity, 0, 1);
            let done = search(&[NDR, PDR], &RANGE, &mut device).expect("trials");
            for (found, edge) in done.goals.iter().zip([capacity, capacity / (1.0 - PDR.loss_ratio)]) {
                let (lower, upper) = (found.lower.expect("a lower bound"), found.upper.expect("an upper bound"));
                prop_assert!(found.complete && lower <= edge * (1.0 + 1e-9) && edge <= upper, "{found:?}");
                prop_assert!((upper - lower) / upper <= NDR.width);
                let through = found.conditional_throughput.expect("at the lower bound");
                prop_assert!(through <= capacity * (1.0 + 1e-9) && through >= lower * (1.0 - PDR.loss_ratio - 1e-9));
            }
            prop_assert!(device.made.0 == done.trials.len() && device.made.0 < 80, "{} trials", device.made.0);
        }

        /// One trial in five loses something at any load: a search that wants no loss at all would find nothing.
        #[test]
        fn a_moody_device_is_found_as_well(capacity in 2_000.0..14_000_000.0_f64, seed: u64) {
            let mut device = Device::new(capacity, 200, seed);
            let done = search(&[NDR, PDR], &RANGE, &mut device).expect("trials");
            for found in &done.goals {
                let (lower, upper) = (found.lower.expect("a lower bound"), found.upper.expect("an upper bound"));
                prop_assert!(lower < upper && (upper - lower) / upper <= NDR.width);
                // Above its capacity every trial loses; what moods cost is at the low side.
                prop_assert!(lower <= capacity / (1.0 - found.goal.loss_ratio) * (1.0 + 1e-9));
                prop_assert!(lower >= capacity * 0.5, "{lower} of {capacity}");
            }
        }
    }

    #[test]
    fn short_trials_come_first_and_save_time() {
        let mut device = Device::new(3_141_593.0, 0, 1);
        let done = search(&[NDR, PDR], &RANGE, &mut device).expect("trials");
        assert_eq!((done.trials[0].load, done.trials[0].seconds), (RANGE.max, 1.0));
        assert_eq!(done.trials.iter().filter(|trial| trial.load == RANGE.max).count(), 1);
        let long = done.trials.iter().filter(|trial| trial.seconds > 4.9).count();
        assert!(long < 30 && device.made.1 < 180.0, "{long} long trials of {:?}", device.made);
    }

    #[test]
    fn the_ends_of_the_range_are_ends() {
        let done = search(&[NDR], &RANGE, &mut Device::new(2e7, 0, 1)).expect("trials");
        assert_eq!((done.goals[0].lower, done.goals[0].upper), (Some(RANGE.max), None));
        let done = search(&[NDR], &RANGE, &mut Device::new(1.0, 0, 1)).expect("trials");
        assert_eq!((done.goals[0].lower, done.goals[0].upper), (None, Some(RANGE.min)));
        assert!(done.goals[0].complete && done.goals[0].conditional_throughput.is_none());
    }

    #[test]
    fn an_interrupted_search_keeps_what_it_has() {
        let mut device = Device::new(3e6, 0, 1);
        device.most = 5;
        let done = search(&[NDR, PDR], &RANGE, &mut device).expect("trials");
        assert!(done.trials.len() == 5 && done.goals.iter().all(|found| !found.complete));
    }
}
