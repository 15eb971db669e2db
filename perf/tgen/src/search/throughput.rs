//! Throughput as RFC 2544 §26.1 has it: the highest load at which nothing is lost, by bisection.

use anyhow::Result;
use serde::Serialize;

use super::{Measured, Range, TRIALS_MAX, Trials};

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Where.
    pub range: Range,
    /// How far apart the highest load without loss and the lowest with loss may be, as a share of the latter.
    pub width: f64,
    /// Seconds of each trial; RFC 2544 wants 60.
    pub seconds: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// The highest load without loss; none if the least one loses.
    pub rate: Option<f64>,
    /// The lowest load with loss above it; none if the most one loses nothing.
    pub lossy: Option<f64>,
    /// It is as exact as was wanted.
    pub complete: bool,
    /// Every trial, in order.
    pub trials: Vec<Measured>,
}

/// Searches.
///
/// # Errors
/// A trial cannot be made.
pub fn search(goal: &Goal, device: &mut dyn Trials) -> Result<Throughput> {
    let Range { min, max } = goal.range;
    let mut found = Throughput { rate: None, lossy: None, complete: false, trials: Vec::new() };
    let mut load = max;
    while found.trials.len() < TRIALS_MAX {
        let Some(measured) = device.measure(load, goal.seconds)? else { return Ok(found) };
        found.trials.push(measured);
        *(if measured.loss_ratio > 0.0 { &mut found.lossy } else { &mut found.rate }) = Some(load);
        load = match (found.rate, found.lossy) {
            (Some(rate), Some(lossy)) if (lossy - rate) / lossy > goal.width => (rate + lossy) / 2.0,
            (None, Some(lossy)) if lossy > min => {
                let middle = (min + lossy) / 2.0;
                // Close to the least load it is tried itself.
                if (lossy - min) / lossy > goal.width { middle } else { min }
            }
            _ => {
                found.complete = true;
                return Ok(found);
            }
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Range;
    use super::super::simulated::Device;
    use super::{Goal, search};

    const GOAL: Goal = Goal { range: Range { min: 1_000.0, max: 14_880_952.0 }, width: 0.01, seconds: 60.0 };

    proptest! {
        #[test]
        fn what_a_device_takes_is_found_as_exactly_as_wanted(capacity in 1_000.0..14_880_952.0_f64) {
            let mut device = Device::new(capacity, 0, 1);
            let found = search(&GOAL, &mut device).expect("trials");
            let (rate, lossy) = (found.rate.expect("above the least"), found.lossy.expect("below the most"));
            prop_assert!(rate <= capacity && capacity < lossy && (lossy - rate) / lossy <= GOAL.width);
            prop_assert!(found.complete && found.trials.len() <= 25, "{} trials", found.trials.len());
        }
    }

    #[test]
    fn a_device_at_line_rate_takes_one_trial() {
        let found = search(&GOAL, &mut Device::new(2e7, 0, 1)).expect("trials");
        assert_eq!((found.rate, found.lossy, found.trials.len()), (Some(GOAL.range.max), None, 1));
    }

    #[test]
    fn a_device_that_takes_nothing_is_told_as_such() {
        let found = search(&GOAL, &mut Device::new(0.5, 0, 1)).expect("trials");
        assert_eq!((found.rate, found.lossy, found.complete), (None, Some(GOAL.range.min), true));
    }

    #[test]
    fn an_interrupted_search_keeps_what_it_has() {
        let mut device = Device::new(1e6, 0, 1);
        device.most = 6;
        let found = search(&GOAL, &mut device).expect("trials");
        assert!(!found.complete && found.trials.len() == 6 && found.lossy.is_some());
    }
}
