//! Which records are in use, or which [links](super::link): their numbers, given out so that memory that was never needed is
//! never touched.
//!
//! Overview: records that have never been used lie in one gap. IPv4 takes numbers from its lower end on and IPv6 from its
//! upper end down, so that the addresses of IPv6, which lie beside the records, take memory only where there are some. A
//! record that is retired joins the list of the end that it lies at, threaded through the retired records themselves; the
//! last one retired, which caches may still have, is the first to be used again. Where the gap is closed, either family
//! takes what the other has retired. Ownership: one shard. Bounds: everything takes constant time.

use core::ops::Range;

use super::key::Family;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// What is numbered. While it is retired, it keeps which one was retired before it.
pub(super) trait Numbered {
    /// Retires it after this one.
    fn retire(&mut self, before: u32);

    /// The one that was retired before this one, which is retired.
    fn next_retired(&self) -> u32;
}

/// Which numbers are in use.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The gap: the numbers that were never given out.
    gap: Range<u32>,
    capacity: u32,
    /// The record that was retired last, at each end.
    retired: [u32; 2],
}

impl Numbers {
    /// Numbers below `capacity`, all of them unused.
    pub const fn new(capacity: u32) -> Self {
        Self { gap: 0..capacity, capacity, retired: [NONE; 2] }
    }

    /// The number that a record of `family` is to have.
    #[inline(always)]
    pub fn next(&self, family: Family) -> Option<u32> {
        let [own, other] = match family {
            Family::Inet => self.retired,
            Family::Inet6 => [self.retired[1], self.retired[0]],
        };
        let number = if own != NONE {
            own
        } else if self.gap.is_empty() {
            other
        } else if family == Family::Inet {
            self.gap.start
        } else {
            self.gap.end - 1
        };
        (number != NONE).then_some(number)
    }

    /// Takes a number that is the [`next`](Self::next) of some family, before its record is written.
    #[inline(always)]
    pub fn take<T: Numbered>(&mut self, number: u32, all: &[T]) {
        let end = self.end_of(number);
        if self.retired[end] == number {
            self.retired[end] = all[number as usize].next_retired();
        } else if number == self.gap.start {
            self.gap.start += 1;
        } else {
            debug_assert_eq!(number + 1, self.gap.end, "a next number");
            self.gap.end -= 1;
        }
    }

    /// Retires a record.
    #[inline]
    pub fn retire<T: Numbered>(&mut self, number: u32, all: &mut [T]) {
        let end = self.end_of(number);
        all[number as usize].retire(self.retired[end]);
        self.retired[end] = number;
    }

    #[inline]
    const fn end_of(&self, number: u32) -> usize {
        (number >= self.gap.end) as usize
    }

    /// How many numbers have ever been given out.
    #[inline]
    pub const fn used(&self) -> usize {
        (self.capacity - (self.gap.end - self.gap.start)) as usize
    }

    /// The numbers that are given out next once those that were retired are, at most `most` at each end: at the upper one only
    /// if some of it are in use.
    pub fn ahead(&self, most: u32) -> [Range<usize>; 2] {
        let Range { start, end } = self.gap;
        let low = start..start.saturating_add(most).min(end);
        let high = if end < self.capacity { end.saturating_sub(most).max(start)..end } else { end..end };
        [low, high].map(|run| run.start as usize..run.end as usize)
    }

    /// Numbers in a row that were given out, from `from` on, at most `most`; empty if there is none any more.
    pub fn run(&self, from: u32, most: usize) -> Range<u32> {
        let begin = self.at_or_after(from);
        let end = if begin < self.gap.start { self.gap.start } else { self.capacity };
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        begin..begin.saturating_add(most).min(end)
    }

    /// The first number from `from` on that was given out, round the end; there is one.
    #[inline]
    pub const fn around(&self, from: u32) -> u32 {
        let at = self.at_or_after(from);
        if at < self.capacity { at } else { self.at_or_after(0) }
    }

    #[inline]
    const fn at_or_after(&self, from: u32) -> u32 {
        if from >= self.gap.start && from < self.gap.end { self.gap.end } else { from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::record::Hot;

    fn give(numbers: &mut Numbers, hot: &[Hot], family: Family) -> Option<u32> {
        let number = numbers.next(family)?;
        numbers.take(number, hot);
        Some(number)
    }

    #[test]
    fn families_take_numbers_from_either_end_until_they_meet() {
        let (mut numbers, hot) = (Numbers::new(5), vec![Hot::default(); 5]);
        let order = [Family::Inet, Family::Inet6, Family::Inet6, Family::Inet, Family::Inet6];
        let given = order.map(|family| give(&mut numbers, &hot, family));
        assert_eq!(given, [Some(0), Some(4), Some(3), Some(1), Some(2)]);
        assert_eq!(order.map(|family| give(&mut numbers, &hot, family)), [None; 5]);
        assert_eq!(numbers.used(), 5);
    }

    #[test]
    fn what_was_never_given_out_is_passed_over() {
        let (mut numbers, hot) = (Numbers::new(100), vec![Hot::default(); 100]);
        for family in [Family::Inet, Family::Inet, Family::Inet6] {
            assert!(give(&mut numbers, &hot, family).is_some());
        }
        assert_eq!(numbers.used(), 3);
        assert_eq!([0, 1, 2, 98, 99, 100].map(|from| numbers.around(from)), [0, 1, 99, 99, 99, 0]);
        assert_eq!(
            [(0, 10), (0, 1), (1, 10), (2, 10)].map(|(from, most)| numbers.run(from, most)),
            [0..2, 0..1, 1..2, 99..100]
        );
        assert!(numbers.run(100, 10).is_empty());
        assert!(Numbers::new(3).run(0, 10).is_empty());
    }

    #[test]
    fn retired_numbers_are_given_out_before_new_ones_and_to_anybody_in_need() {
        let (mut numbers, mut hot) = (Numbers::new(4), vec![Hot::default(); 4]);
        for _ in 0..3 {
            assert!(give(&mut numbers, &hot, Family::Inet).is_some());
        }
        for number in [0, 2] {
            numbers.retire(number, &mut hot);
        }
        assert_eq!(give(&mut numbers, &hot, Family::Inet), Some(2));
        assert_eq!(
            give(&mut numbers, &hot, Family::Inet6),
            Some(3),
            "what was never used comes before another's"
        );
        assert_eq!(give(&mut numbers, &hot, Family::Inet6), Some(0));
        assert_eq!(give(&mut numbers, &hot, Family::Inet6), None);
        for number in [0, 3] {
            numbers.retire(number, &mut hot);
        }
        assert_eq!(give(&mut numbers, &hot, Family::Inet6), Some(3));
        assert_eq!(give(&mut numbers, &hot, Family::Inet), Some(0));
        assert_eq!(numbers.used(), 4);
    }
}
