//! Which memory the next connections take, for whoever has it ready before they come.
//!
//! Overview: arrays of records are used from both ends on, so that what is behind is needed next; the index is touched
//! everywhere as soon as there are connections. Bounds: [`AHEAD`] bytes of each array, in steps of [`STEP`].

use super::record::Hot;
use super::table::Connections;
use crate::Shard;

/// Bytes of an array that are told of before they are used.
const AHEAD: usize = 4 * STEP;

/// A huge page: what is told of changes whenever so much was used.
const STEP: usize = 2 << 20;

/// How many areas there are.
pub const AREAS: usize = 8;

/// A range of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// The first.
    pub begin: usize,
    /// How many.
    pub bytes: usize,
}

impl Area {
    /// Where these are, in whole steps.
    pub(super) fn of<T>(items: &[T]) -> Self {
        if items.is_empty() {
            return Self::default();
        }
        let first = items.as_ptr().addr();
        let begin = first / STEP * STEP;
        Self { begin, bytes: (first - begin + size_of_val(items)).next_multiple_of(STEP) }
    }
}

impl Shard {
    /// Where the memory lies that the next connections take, in whole huge pages, some of which may be in use already.
    pub fn ahead(&self) -> [Area; AREAS] {
        self.connections.ahead()
    }
}

impl Connections {
    fn ahead(&self) -> [Area; AREAS] {
        // Cold halves and links are as long, and addresses of IPv6 half as long.
        let most = (AHEAD / size_of::<Hot>()) as u32;
        let [low, high] = self.numbers.ahead(most);
        let index = if self.numbers.used() > 0 { self.index.area() } else { Area::default() };
        [
            Area::of(&self.hot[low.clone()]),
            Area::of(&self.cold[low.clone()]),
            Area::of(&self.hot[high.clone()]),
            Area::of(&self.cold[high.clone()]),
            Area::of(&self.wide[high.clone()]),
            Area::of(self.links.of_records(low)),
            Area::of(self.links.of_records(high)),
            index,
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::{ShardConfig, WorkerId};

    use super::*;

    fn holds<T>(area: &Area, item: &T) -> bool {
        let first = core::ptr::from_ref(item).addr();
        area.begin <= first && first + size_of::<T>() <= area.begin + area.bytes
    }

    #[test]
    fn what_is_used_next_is_told_ahead_at_both_ends() {
        const RECORDS: usize = 1 << 18;
        let config = ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: RECORDS as u32,
            interfaces: 1,
            key: [1, 2],
        };
        let mut shard = Shard::new(config);
        let [hot, cold, rest @ ..] = shard.ahead();
        let first = &shard.connections;
        assert!(holds(&hot, &first.hot[0]) && holds(&hot, &first.hot[AHEAD / 64 - 1]));
        assert!(holds(&cold, &first.cold[0]) && hot.bytes <= AHEAD + STEP);
        assert_eq!(rest, [Area::default(); 6], "neither IPv6, nor links, nor an entry of the index");
        let (mut before, mut changes) = (hot, 0);
        for number in 0..RECORDS as u32 / 2 {
            let Connections { numbers, hot, .. } = &mut shard.connections;
            numbers.take(number, hot);
            let told = shard.ahead();
            assert!(holds(&told[0], &shard.connections.hot[number as usize + 1]));
            changes += usize::from(told[0] != before);
            before = told[0];
            assert!(told[7].bytes * 10 > RECORDS * 64, "the whole index");
        }
        // Where it begins and where it ends.
        assert!(changes <= 2 * (RECORDS / 2 * 64 / STEP + 1), "{changes} changes");
        let Connections { numbers, hot, .. } = &mut shard.connections;
        numbers.take(RECORDS as u32 - 1, hot);
        let told = shard.ahead();
        let Connections { hot, cold, wide, .. } = &shard.connections;
        let next = RECORDS - 2;
        assert!(holds(&told[2], &hot[next]) && holds(&told[3], &cold[next]) && holds(&told[4], &wide[next]));
    }
}
