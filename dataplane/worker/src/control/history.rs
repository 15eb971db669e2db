//! How many packets were dropped at moments of the past: what rates, and counts since a moment, are made of.
//!
//! Overview: counters only rise; [`History`] keeps copies of them, close together in the last minutes and far apart before.
//! Ownership: the desk, under a lock. Bounds: those of [`RUNGS`]: a day.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ruleset::REASON_COUNT;

/// Between two copies, and how many are kept at that distance.
const RUNGS: [(Duration, usize); 3] =
    [(Duration::from_secs(5), 61), (Duration::from_secs(60), 61), (Duration::from_secs(600), 145)];

/// What was counted at a moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub at: Instant,
    /// Each interface's drops by reason.
    pub drops: Vec<[u64; REASON_COUNT]>,
    /// The epoch of the live root, and what each of its `block` rules had dropped, those that had; none where workers did
    /// not tell in time.
    pub rules: Option<(u32, Vec<(u32, u64)>)>,
}

impl Moment {
    /// What a rule of the root of `epoch` had dropped by then: nothing, if that root came later.
    pub fn rule(&self, epoch: u32, number: u32) -> u64 {
        let rules = self.rules.as_ref().filter(|(of, _)| *of == epoch).map(|(_, rules)| rules);
        let place = rules
            .and_then(|rules| Some(&rules[rules.binary_search_by_key(&number, |(rule, _)| *rule).ok()?]));
        place.map_or(0, |(_, packets)| *packets)
    }
}

/// The copies.
#[derive(Debug, Default)]
pub struct History([VecDeque<Arc<Moment>>; RUNGS.len()]);

impl History {
    /// True if a copy is to be kept.
    pub fn is_due(&self, now: Instant) -> bool {
        is_due(&self.0[0], RUNGS[0].0, now)
    }

    /// Keeps a copy.
    pub fn keep(&mut self, moment: Moment) {
        let moment = Arc::new(moment);
        for (rung, (every, most)) in self.0.iter_mut().zip(RUNGS) {
            if is_due(rung, every, moment.at) {
                if rung.len() >= most {
                    rung.pop_front();
                }
                rung.push_back(moment.clone());
            }
        }
    }

    /// The copy of this moment, or of the last one before that is kept; the oldest if there is none before.
    pub fn at(&self, moment: Instant) -> Option<&Moment> {
        let all = || self.0.iter().flatten().map(Arc::as_ref);
        let before = all().filter(|kept| kept.at <= moment).max_by_key(|kept| kept.at);
        before.or_else(|| all().min_by_key(|kept| kept.at))
    }
}

fn is_due(rung: &VecDeque<Arc<Moment>>, every: Duration, now: Instant) -> bool {
    rung.back().is_none_or(|last| now.saturating_duration_since(last.at) >= every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: Instant, packets: u64) -> Moment {
        let mut drops = [0; REASON_COUNT];
        drops[0] = packets;
        Moment { at, drops: vec![drops], rules: Some((7, vec![(2, packets), (9, 1)])) }
    }

    /// A history of one drop a second.
    fn of_seconds(start: Instant, seconds: u64) -> History {
        let mut history = History::default();
        for second in 0..=seconds {
            let at = start + Duration::from_secs(second);
            if history.is_due(at) {
                history.keep(moment(at, second));
            }
        }
        history
    }

    #[test]
    fn the_past_is_told_exactly_at_first_and_roughly_later() {
        const DAYS_2: u64 = 2 * 86_400;
        let start = Instant::now();
        let history = of_seconds(start, DAYS_2);
        for (ago, step) in [(0, 5), (4, 5), (299, 5), (301, 60), (3_599, 60), (3_700, 600), (86_000, 600)] {
            let then = DAYS_2 - ago;
            let told = history.at(start + Duration::from_secs(then)).unwrap().drops[0][0];
            assert!(told <= then && then - told < step, "{ago} s ago: {told}, not {then}");
        }
        // Two days ago is beyond what is kept.
        let oldest = history.at(start).unwrap().drops[0][0];
        assert!((DAYS_2 - 86_400 - 600..=DAYS_2 - 86_400).contains(&oldest), "{oldest}");
        assert!(history.0.iter().zip(RUNGS).all(|(rung, (_, most))| rung.len() <= most));
    }

    #[test]
    fn rules_of_another_ruleset_count_from_zero() {
        let moment = moment(Instant::now(), 5);
        assert_eq!((moment.rule(7, 2), moment.rule(7, 9), moment.rule(7, 3)), (5, 1, 0));
        assert_eq!(moment.rule(8, 2), 0);
        assert_eq!(Moment { rules: None, ..moment }.rule(7, 2), 0);
    }

    #[test]
    fn nothing_is_told_of_no_past() {
        let now = Instant::now();
        assert!(History::default().at(now).is_none());
        assert!(History::default().is_due(now));
        assert!(!of_seconds(now, 0).is_due(now + Duration::from_secs(4)));
    }
}
