//! The limit on states over all shards: a pool of credits, one for each state that may exist.
//!
//! Overview: a state is made with a credit. Shards take credits from the pool in batches and keep a few in stock, so that
//! hardly any creation touches what other cores write; the batches shrink with what is left, down to single credits, and
//! near the limit every shard gives its stock back. The sum of states never exceeds the limit; a shard may be refused
//! while others have credits in stock, at most a sixteenth of what was left when those were taken.
//! Life cycle: made at the start with as many shards as there are workers. Ownership: the pool is shared, one atomic
//! number; the rest is one shard's. Bounds: at most [`BATCH_MAX`] credits in stock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::flood::Shared;
use crate::sources::Nodes;

/// The most credits that a shard keeps in stock.
const BATCH_MAX: u32 = 64;
/// All stocks together are at most this part of what is left of the limit.
const STOCK_PART: u32 = 16;

/// The states that all shards may have between them, as pf counts states. A clone is the same pool.
#[derive(Clone, Debug)]
pub struct StatePool {
    /// Credits out of the pool: used by states, or in stock.
    taken: Arc<AtomicU32>,
    /// Likewise, of fragments.
    fragments: Arc<AtomicU32>,
    pub(super) handshakes: Arc<Shared>,
    most: u32,
    shards: u32,
    nodes: Arc<Nodes>,
}

impl StatePool {
    /// A pool for so many shards (at least one), of at most `most` states whatever the ruleset allows.
    pub fn new(most: u32, shards: u16) -> Self {
        Self {
            taken: Arc::default(),
            fragments: Arc::default(),
            handshakes: Arc::default(),
            most,
            shards: u32::from(shards.max(1)),
            nodes: Arc::new(Nodes::new(most)),
        }
    }

    /// The most states, whatever the ruleset allows.
    pub const fn most(&self) -> u32 {
        self.most
    }

    /// The pool of the fragments that the same shards may keep between them, in place of states.
    pub(crate) fn of_fragments(&self) -> Self {
        Self { taken: self.fragments.clone(), most: u32::MAX, ..self.clone() }
    }

    /// The pool of the states that a rule may have between the same shards, whose credits are counted in `taken`.
    pub(super) fn of_rule(&self, taken: Arc<AtomicU32>, most: u32) -> Self {
        Self { taken, most, ..self.clone() }
    }

    /// How many states there are in all shards, and credits in their stocks.
    pub fn taken(&self) -> u32 {
        // The number is all that is shared; nothing else is ordered by it.
        self.taken.load(Ordering::Relaxed)
    }

    /// The source nodes of the same shards.
    pub(crate) const fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// How many credits one shard may keep, with so many taken.
    const fn stock(&self, limit: u32, taken: u32) -> u32 {
        let part = limit.saturating_sub(taken) / (STOCK_PART * self.shards);
        if part < BATCH_MAX { part } else { BATCH_MAX }
    }

    /// Takes up to `wanted` credits, as many as `limit` leaves.
    fn draw(&self, wanted: u32, limit: u32) -> u32 {
        let mut drawn = 0;
        let left = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            drawn = wanted.min(limit.saturating_sub(taken));
            (drawn > 0).then_some(taken + drawn)
        });
        if left.is_ok() { drawn } else { 0 }
    }

    fn give_back(&self, credits: u32) {
        self.taken.fetch_sub(credits, Ordering::Relaxed);
    }
}

/// One shard's credits.
#[derive(Debug)]
pub(crate) struct Credits {
    pool: StatePool,
    /// Used by this shard's states.
    used: u32,
    stock: u32,
    /// What the stock may be.
    stock_max: u32,
    /// Taken by the other shards, when this one last looked.
    others: u32,
}

impl Credits {
    pub const fn new(pool: StatePool) -> Self {
        Self { pool, used: 0, stock: 0, stock_max: 0, others: 0 }
    }

    /// The states of this shard.
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// The states of all shards: those of the others as they were at the last [`look`](Self::look), with their stocks.
    #[inline]
    pub const fn sum(&self) -> u32 {
        self.others + self.used
    }

    /// Looks at what the other shards have, once for a burst, and gives back what `limit` no longer lets it keep.
    #[inline]
    pub fn look(&mut self, limit: u32) {
        let taken = self.pool.taken();
        self.others = taken.saturating_sub(self.used + self.stock);
        self.stock_max = self.pool.stock(limit.min(self.pool.most), taken);
        if self.stock > self.stock_max {
            self.trim();
        }
    }

    /// Takes a credit for one more state, unless there are `limit` already.
    #[inline]
    pub fn take(&mut self, limit: u32) -> bool {
        if self.stock == 0 {
            self.stock = self.pool.draw(self.stock_max.max(1), limit.min(self.pool.most));
        }
        let there = self.stock > 0;
        self.stock -= u32::from(there);
        self.used += u32::from(there);
        there
    }

    /// As [`take`](Self::take), for so many states, or for none of them.
    #[inline(always)]
    pub fn take_all(&mut self, states: u32, limit: u32) -> bool {
        if self.stock >= states {
            self.stock -= states;
            self.used += states;
            return true;
        }
        let taken = (0..states).take_while(|_| self.take(limit)).count() as u32;
        if taken < states {
            self.give(taken);
        }
        taken == states
    }

    /// Takes the credits of `states` back that have gone.
    #[inline]
    pub fn give(&mut self, states: u32) {
        self.used -= states;
        self.stock += states;
        if self.stock > self.stock_max {
            self.trim();
        }
    }

    /// Gives back all of the stock.
    pub fn empty(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.stock));
    }

    /// Gives back all but half of what it may keep, so that neither the next creation nor the next removal needs the pool.
    #[cold]
    fn trim(&mut self) {
        let keep = self.stock.min(self.stock_max / 2);
        self.pool.give_back(self.stock - keep);
        self.stock = keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u16, most: u32) -> (StatePool, Vec<Credits>) {
        let pool = StatePool::new(most, count);
        let credits = (0..count).map(|_| Credits::new(pool.clone())).collect();
        (pool, credits)
    }

    fn used(credits: &[Credits]) -> u32 {
        credits.iter().map(Credits::used).sum()
    }

    #[test]
    fn alone_a_shard_makes_exactly_as_many_as_the_limit() {
        for limit in [0, 1, 15, 64, 1000, 5000] {
            let (_, mut credits) = shards(1, 5000);
            let mut made = 0;
            while credits[0].take(limit) {
                made += 1;
                credits[0].look(limit);
            }
            assert_eq!((made, credits[0].sum()), (limit, limit));
            credits[0].give(limit.min(3));
            assert_eq!(credits[0].take(limit), limit > 0, "what has gone leaves room");
        }
    }

    #[test]
    fn a_limit_is_never_exceeded_and_all_of_it_is_used_once_every_shard_has_looked() {
        for limit in [7, 64, 500, 20_000] {
            let (pool, mut credits) = shards(4, 20_000);
            let mut random = 1u64;
            for _ in 0..200_000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 60) as usize % 4;
                match (random >> 33) % 16 {
                    0..10 => drop(credits[at].take(limit)),
                    10..13 if credits[at].used() > 0 => credits[at].give(1),
                    _ => credits[at].look(limit),
                }
                assert!(used(&credits) <= limit);
                assert_eq!(pool.taken(), credits.iter().map(|credits| credits.used + credits.stock).sum());
                assert!(credits.iter().all(|credits| credits.stock <= BATCH_MAX));
            }
            // One takes all that is left, while the others only look.
            loop {
                credits.iter_mut().for_each(|credits| credits.look(limit));
                if !credits[0].take(limit) {
                    break;
                }
            }
            assert_eq!(used(&credits), limit, "no credit is lost, and none kept from those who need it");
        }
    }

    /// As in the life of workers: each on a CPU of its own, near the limit all the time.
    #[test]
    fn threads_never_take_more_than_the_limit_between_them() {
        const LIMIT: u32 = 1000;
        let (pool, credits) = shards(4, 20_000);
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (1_u64..)
                .zip(credits)
                .map(|(mut random, mut credits)| {
                    let pool = pool.clone();
                    scope.spawn(move || {
                        for _ in 0..100_000 {
                            random = random
                                .wrapping_mul(6_364_136_223_846_793_005)
                                .wrapping_add(1_442_695_040_888_963_407);
                            match (random >> 33) % 8 {
                                0..4 => drop(credits.take(LIMIT)),
                                4..7 if credits.used() > 0 => credits.give(1),
                                _ => credits.look(LIMIT),
                            }
                            assert!(pool.taken() <= LIMIT);
                        }
                        while credits.take(LIMIT) {
                            credits.look(LIMIT);
                        }
                        credits
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("it never took too many"))
                .collect::<Vec<_>>()
        });
        assert!(used(&made) <= LIMIT && pool.taken() <= LIMIT);
        assert_eq!(pool.taken(), made.iter().map(|credits| credits.used + credits.stock).sum());
    }

    #[test]
    fn all_are_taken_or_none() {
        let (pool, mut credits) = shards(1, 100);
        assert!((0..3).all(|_| credits[0].take_all(2, 7)), "six of seven");
        assert!(!credits[0].take_all(2, 7));
        assert_eq!(credits[0].used(), 6, "the seventh is still there");
        assert!(credits[0].take_all(1, 7) && !credits[0].take_all(1, 7));
        credits[0].empty();
        assert_eq!(pool.taken(), 7);
    }

    #[test]
    fn a_lower_limit_holds_at_the_next_look() {
        let (pool, mut credits) = shards(2, 10_000);
        for _ in 0..100 {
            credits.iter_mut().for_each(|credits| {
                credits.look(10_000);
                assert!(credits.take(10_000));
            });
        }
        assert!(pool.taken() > 200, "there are stocks");
        for credits in &mut credits {
            credits.look(200);
            assert!(!credits.take(200));
        }
        assert_eq!(pool.taken(), 200);
    }

    #[test]
    fn the_sum_is_that_of_all_shards() {
        let (_, mut credits) = shards(3, 160);
        for (at, count) in [(0, 1), (1, 2), (2, 3)] {
            (0..count).for_each(|_| assert!(credits[at].take(100)));
        }
        for credits in &mut credits {
            credits.look(20);
            assert_eq!(credits.sum(), 6);
        }
    }
}
