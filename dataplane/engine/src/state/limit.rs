//! `max`: how many states a rule may have, over all shards.
//!
//! Overview: as for all states together, a state is made with a [credit](super::credit), here of its rule's pool. How many a
//! shard uses is not kept with each state that comes and goes, but summed up over the pairs with faces of the rule where it
//! matters: states of rules without `max` cost nothing.
//! Ownership: the pools are shared, the rest is one shard's. Bounds: those of credits; a pool for each rule with `max` that has
//! had states since its pairs last came to rest, of which [`SETTLED`] are looked at in a burst.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::class::Pairs;
use super::credit::{Credits, StatePool};
use super::key::Side;
use super::table::Connections;
use crate::eval::RuleSlot;

/// Rules for which memory is taken at the start.
const RULES_RESERVED: usize = 64;
/// Rules that are looked at in a burst.
const SETTLED: usize = 8;
/// The end of a chain.
const NONE: u32 = u32::MAX;

/// `max` of a rule, or that its states are counted for its `adaptive.*`.
#[derive(Debug)]
pub(crate) struct RuleLimit {
    most: u32,
    /// The nearer to so many, the fewer credits shards keep in stock, which count for states.
    exact_at: u32,
    /// Tells it from those of all other rules.
    serial: u64,
    /// Credits of all shards.
    taken: Arc<AtomicU32>,
}

impl RuleLimit {
    /// Of so many states, of which there are none yet; `serial` is that of the rule's slot.
    pub fn new(most: u32, serial: u64) -> Self {
        Self { most, exact_at: most, serial, taken: Arc::default() }
    }

    /// The same, whose states are compared with numbers up to `end`, too.
    pub fn compared_with(self, end: u32) -> Self {
        Self { exact_at: self.exact_at.min(end), ..self }
    }
}

/// What a shard has of one rule.
#[derive(Debug)]
struct Limited {
    serial: u64,
    exact_at: u32,
    /// The first face of the rule that a pair has.
    first: u32,
    credits: Credits,
}

/// The rules with `max` that have states in a shard.
#[derive(Debug)]
pub(super) struct RuleLimits {
    /// Of the states of all rules.
    pool: StatePool,
    /// By serial.
    rules: Vec<Limited>,
    /// By the number of a pair and side: the next face of the same rule. A face's number is twice its pair's and its side's.
    next: Vec<[u32; 2]>,
    /// The rule that the next burst begins with.
    cursor: usize,
}

impl RuleLimits {
    /// Those of one of the shards between which `pool` is, with memory for so many pairs.
    pub fn new(pool: StatePool, pairs: usize) -> Self {
        let (rules, next) = (Vec::with_capacity(RULES_RESERVED), Vec::with_capacity(pairs));
        Self { pool, rules, next, cursor: 0 }
    }

    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn of(&mut self, limit: &RuleLimit) -> usize {
        self.rules.binary_search_by_key(&limit.serial, |known| known.serial).unwrap_or_else(|at| {
            let credits = Credits::new(self.pool.of_rule(limit.taken.clone(), limit.most));
            let RuleLimit { serial, exact_at, .. } = *limit;
            self.rules.insert(at, Limited { serial, exact_at, first: NONE, credits });
            at
        })
    }

    /// The face behind another one.
    fn behind(&self, face: u32) -> u32 {
        self.next[face as usize / 2][face as usize % 2]
    }

    /// Notes that a pair has a face of the rule at `side`.
    pub fn note(&mut self, limit: &RuleLimit, pair: u32, side: Side) {
        let at = self.of(limit);
        if self.next.len() <= pair as usize {
            self.next.resize(pair as usize + 1, [NONE; 2]);
        }
        let face = 2 * pair + side as u32;
        self.next[pair as usize][side.index()] = core::mem::replace(&mut self.rules[at].first, face);
    }

    /// Forgets a face of a pair that no record has any more.
    pub fn forget(&mut self, limit: &RuleLimit, pair: u32, side: Side) {
        let at = self.of(limit);
        let face = 2 * pair + side as u32;
        let behind = self.behind(face);
        let first = self.rules[at].first;
        if first == face {
            self.rules[at].first = behind;
            return;
        }
        let before = faces(&self.next, first).find(|before| self.behind(*before) == face);
        if let Some(before) = before {
            self.next[before as usize / 2][before as usize % 2] = behind;
        }
    }

    /// Gives back the credits of a rule's states that have gone.
    fn settle_one(&mut self, at: usize, records: impl Fn(u32) -> u32) {
        let limited = &mut self.rules[at];
        let states = faces(&self.next, limited.first).map(|face| records(face / 2)).sum();
        limited.credits.give(limited.credits.used().saturating_sub(states));
        limited.credits.look(limited.exact_at);
    }

    /// Takes a credit for one more state of a rule. `records` is how many records have a pair.
    pub fn take(&mut self, limit: &RuleLimit, records: impl Fn(u32) -> u32) -> bool {
        let at = self.of(limit);
        self.settle_one(at, records);
        self.rules[at].credits.take(limit.most)
    }

    /// How many states a rule has over all shards: those of the others as they were when this one last looked, with their stocks.
    /// `records` is how many records have a pair.
    fn sum(&self, limit: &RuleLimit, records: impl Fn(u32) -> u32) -> u32 {
        let known = self.rules.binary_search_by_key(&limit.serial, |known| known.serial);
        let Ok(at) = known else { return 0 };
        let Limited { first, credits, .. } = &self.rules[at];
        let own: u32 = faces(&self.next, *first).map(|face| records(face / 2)).sum();
        credits.sum() - credits.used() + own
    }

    /// Gives back what other shards may need. To be called once for each burst.
    #[cold]
    pub fn settle(&mut self, records: impl Fn(u32) -> u32) {
        for _ in 0..SETTLED.min(self.rules.len()) {
            self.cursor = if self.cursor < self.rules.len() { self.cursor } else { 0 };
            self.settle_one(self.cursor, &records);
            let limited = &mut self.rules[self.cursor];
            if limited.first == NONE && limited.credits.used() == 0 {
                limited.credits.empty();
                self.rules.remove(self.cursor);
            } else {
                self.cursor += 1;
            }
        }
    }
}

impl Pairs {
    /// How many states the rule of this limit has.
    fn states_of(&self, limit: &RuleLimit) -> u32 {
        self.limits.sum(limit, |number| self.records(number))
    }
}

impl Connections {
    /// How many states a rule has that counts them; none of one that does not.
    #[cold]
    pub(super) fn states_of(&self, rule: &RuleSlot) -> u32 {
        rule.limit.as_ref().map_or(0, |limit| self.pairs.states_of(limit))
    }
}

/// The faces from one on.
fn faces(next: &[[u32; 2]], first: u32) -> impl Iterator<Item = u32> {
    let existing = |face: u32| (face != NONE).then_some(face);
    core::iter::successors(existing(first), move |face| {
        existing(next[*face as usize / 2][*face as usize % 2])
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A shard's states of one rule: all in pair 0.
    struct Shard {
        limits: RuleLimits,
        states: Cell<u32>,
    }

    impl Shard {
        fn new(shards: u16, limit: &RuleLimit) -> Self {
            let mut limits = RuleLimits::new(StatePool::new(1, shards), 1);
            limits.note(limit, 0, Side::Low);
            Self { limits, states: Cell::new(0) }
        }

        fn make(&mut self, limit: &RuleLimit) -> bool {
            let made = self.limits.take(limit, |_| self.states.get());
            self.states.set(self.states.get() + u32::from(made));
            made
        }

        fn settle(&mut self) {
            self.limits.settle(|_| self.states.get());
        }
    }

    #[test]
    fn alone_a_shard_makes_exactly_as_many_states_as_the_rule_allows() {
        for most in [1, 7, 64, 5000] {
            let limit = RuleLimit::new(most, 1);
            let mut shard = Shard::new(1, &limit);
            let mut made = 0;
            while shard.make(&limit) {
                made += 1;
            }
            assert_eq!(made, most);
            shard.states.set(most - 1);
            assert!(shard.make(&limit) && !shard.make(&limit), "one has gone");
        }
    }

    #[test]
    fn shards_never_make_more_than_the_rule_allows_and_together_as_many() {
        for most in [3, 100, 3000] {
            let limit = RuleLimit::new(most, 1);
            let mut shards: Vec<Shard> = (0..3).map(|_| Shard::new(3, &limit)).collect();
            let mut random = 1u64;
            for _ in 0..50_000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let shard = &mut shards[(random >> 60) as usize % 3];
                match (random >> 33) % 16 {
                    0..10 => drop(shard.make(&limit)),
                    10..13 => shard.states.set(shard.states.get().saturating_sub(1)),
                    _ => shard.settle(),
                }
                assert!(shards.iter().map(|shard| shard.states.get()).sum::<u32>() <= most);
            }
            loop {
                shards.iter_mut().for_each(Shard::settle);
                if !shards[0].make(&limit) {
                    break;
                }
            }
            assert_eq!(shards.iter().map(|shard| shard.states.get()).sum::<u32>(), most);
        }
    }

    #[test]
    fn shards_keep_less_in_stock_the_nearer_states_are_to_what_they_are_compared_with() {
        for (end, error) in [(12, 0), (1000, 1000 / 16)] {
            let limit = RuleLimit::new(u32::MAX, 1).compared_with(end);
            let mut shards: Vec<Shard> = (0..3).map(|_| Shard::new(3, &limit)).collect();
            for number in 0..20 {
                shards.iter_mut().for_each(Shard::settle);
                assert!(shards.iter_mut().all(|shard| shard.make(&limit)), "there is no limit");
                shards.iter_mut().for_each(Shard::settle);
                for shard in &shards {
                    let sum = shard.limits.sum(&limit, |_| shard.states.get());
                    assert!((0..=error).contains(&(sum - 3 * (number + 1))), "{sum} after {number}");
                }
            }
        }
    }

    #[test]
    fn a_rule_without_pairs_is_forgotten_with_all_its_credits() {
        let limit = RuleLimit::new(1000, 1);
        let mut shard = Shard::new(1, &limit);
        assert!(shard.make(&limit));
        shard.settle();
        assert!(shard.make(&limit));
        assert!(limit.taken.load(std::sync::atomic::Ordering::Relaxed) > 2, "there is a stock");
        shard.states.set(0);
        shard.settle();
        assert!(!shard.limits.is_empty(), "its pair rests");
        shard.limits.forget(&limit, 0, Side::Low);
        shard.settle();
        assert!(shard.limits.is_empty());
        assert_eq!(limit.taken.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn states_are_those_of_all_pairs_with_faces_of_the_rule() {
        let (limit, other) = (RuleLimit::new(100, 7), RuleLimit::new(100, 3));
        let mut limits = RuleLimits::new(StatePool::new(1, 1), 4);
        for (limit, pair, side) in [
            (&limit, 0, Side::Low),
            (&other, 0, Side::High),
            (&limit, 3, Side::Low),
            (&limit, 3, Side::High),
            (&limit, 1, Side::High),
        ] {
            limits.note(limit, pair, side);
        }
        let faces_of = |limits: &RuleLimits, rule: usize| {
            let mut faces: Vec<u32> = faces(&limits.next, limits.rules[rule].first).collect();
            faces.sort_unstable();
            faces
        };
        assert_eq!([0, 1].map(|rule| faces_of(&limits, rule)), [vec![1], vec![0, 3, 6, 7]]);
        limits.forget(&limit, 3, Side::Low);
        assert_eq!(faces_of(&limits, 1), [0, 3, 7]);
        limits.forget(&limit, 1, Side::High);
        assert_eq!(faces_of(&limits, 1), [0, 7]);
        limits.forget(&limit, 0, Side::Low);
        assert_eq!(faces_of(&limits, 1), [7]);
        limits.note(&limit, 0, Side::Low);
        assert_eq!(faces_of(&limits, 1), [0, 7]);
    }
}
