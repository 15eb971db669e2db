//! One field of packets: which rules accept which of its values.
//!
//! Overview: the ends of all the ranges that rules accept cut a field's values into intervals, each with the vector of the
//! rules that accept it. The interval of a value is found in a tree of sorted starts.
//! Bounds: twice as many intervals as ranges, and one more; a rule has at most two ranges.

use crate::eval::filter::Filter;

use super::vectors::{Loom, Vector, Weaver};

/// The value of a field.
pub(in crate::eval) trait Value: Copy + Ord {
    const MIN: Self;
    const MAX: Self;

    /// The next one; none behind the last.
    fn next(self) -> Option<Self>;

    /// The one before; none before the first.
    fn previous(self) -> Option<Self>;
}

macro_rules! values {
    ($($kind:ty),*) => { $(
        impl Value for $kind {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    )* };
}

values!(u8, u16, u32, u128);

/// The values that a rule accepts: at most two ranges, which do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::eval) struct Accepted<V>([Option<(V, V)>; 2]);

impl<V: Value> Accepted<V> {
    pub const ALL: Self = Self([Some((V::MIN, V::MAX)), None]);
    pub const NONE: Self = Self([None, None]);

    /// From `first` to `last`; nothing if that is before it.
    pub fn between(first: V, last: V) -> Self {
        Self([(first <= last).then_some((first, last)), None])
    }

    /// What [`between`](Self::between) does not accept.
    pub fn outside(first: V, last: V) -> Self {
        if first > last {
            return Self::ALL;
        }
        Self([first.previous().map(|end| (V::MIN, end)), last.next().map(|begin| (begin, V::MAX))])
    }

    /// The first and the last of each range.
    pub fn ranges(self) -> impl Iterator<Item = (V, V)> {
        self.0.into_iter().flatten()
    }
}

impl Accepted<u128> {
    /// Those of the values that fit 32 bits.
    pub fn low(self) -> Accepted<u32> {
        Accepted(self.0.map(|range| {
            let (first, last) = range?;
            Some((u32::try_from(first).ok()?, u32::try_from(last).unwrap_or(u32::MAX)))
        }))
    }
}

/// Starts in a node.
const WIDTH: usize = 16;

/// A field's intervals.
#[derive(Debug)]
pub(super) struct Dimension<V> {
    /// Sorted starts of intervals, or of nodes in the level below, each of which begins with its start; padded.
    top: [V; WIDTH],
    /// The levels below, of as many nodes as the level above has starts. The last level is that of the intervals.
    levels: Vec<Vec<[V; WIDTH]>>,
    /// By interval.
    vectors: Vec<Vector>,
}

impl<V: Value> Dimension<V> {
    /// The intervals of rules, in their order; `None` if every rule accepts every value.
    pub fn new(
        weaver: &mut Weaver,
        rules: &[&Filter],
        accepted: impl Fn(&Filter) -> Accepted<V>,
    ) -> Option<Self> {
        let accepted: Vec<Accepted<V>> = rules.iter().map(|rule| accepted(rule)).collect();
        if accepted.iter().all(|accepted| *accepted == Accepted::ALL) {
            return None;
        }
        let mut ends: Vec<(V, usize)> = Vec::with_capacity(2 * accepted.len());
        for (rule, accepted) in accepted.iter().enumerate() {
            for (first, last) in accepted.0.iter().flatten() {
                ends.push((*first, rule));
                ends.extend(last.next().map(|behind| (behind, rule)));
            }
        }
        ends.sort_unstable();
        let mut loom = Loom::new(accepted.len());
        let (mut starts, mut vectors) = (vec![V::MIN], Vec::new());
        for flips in ends.chunk_by(|a, b| a.0 == b.0) {
            if flips[0].0 > V::MIN {
                vectors.push(loom.store(weaver));
                starts.push(flips[0].0);
            }
            flips.iter().for_each(|(_, rule)| loom.flip(*rule));
        }
        vectors.push(loom.store(weaver));
        let (top, levels) = tree(&starts);
        Some(Self { top, levels, vectors })
    }

    /// The rules that accept a value.
    #[inline(always)]
    pub fn accepting(&self, value: V) -> Vector {
        let mut at = last_start(&self.top, value);
        for level in &self.levels {
            // Behind the last node there is only what pads it: starts at the greatest value.
            at = at.min(level.len() - 1);
            at = at * WIDTH + last_start(&level[at], value);
        }
        self.vectors[at.min(self.vectors.len() - 1)]
    }
}

/// The last start of a node that is not behind a value; the first one never is.
#[inline]
fn last_start<V: Value>(node: &[V; WIDTH], value: V) -> usize {
    // Steps without a branch: which way they go is as good as random.
    let step = |at: usize, size: usize| at | if node[(at | size) % WIDTH] <= value { size } else { 0 };
    [8, 4, 2, 1].into_iter().fold(0, step)
}

/// The starts as a tree: the topmost node, and the levels below.
fn tree<V: Value>(starts: &[V]) -> ([V; WIDTH], Vec<Vec<[V; WIDTH]>>) {
    let node = |starts: &[V]| core::array::from_fn(|at| starts.get(at).copied().unwrap_or(V::MAX));
    let mut levels: Vec<Vec<[V; WIDTH]>> = Vec::new();
    let mut starts = starts.to_vec();
    while starts.len() > WIDTH {
        let level: Vec<[V; WIDTH]> = starts.chunks(WIDTH).map(node).collect();
        starts = level.iter().map(|node| node[0]).collect();
        levels.push(level);
    }
    levels.reverse();
    (node(&starts), levels)
}
