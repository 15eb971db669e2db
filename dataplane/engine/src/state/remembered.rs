//! A bounded list of what connections remember by number, until the ruleset or the forwarding base changes.
//!
//! Overview: with either change begins a new epoch, and what was numbered in an earlier one is forgotten by each connection
//! when it is met. Life cycle: numbers of earlier epochs are given out again after the sweep has visited every record once.
//! Ownership: the shard. Bounds: `PLACES` less one, as number 0 is none; while there is none, nothing is remembered.

use core::hash::Hash;

use bytemuck::{Zeroable, zeroed_vec};
use hashbrown::HashMap;

/// Something with the epoch in which it was numbered.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C)]
pub(super) struct Entry<T> {
    /// 0 where there never was one.
    pub epoch: u32,
    pub value: T,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Remembered<T, const PLACES: usize> {
    epoch: u32,
    /// By number: a lookup needs no check of its bounds.
    entries: Box<[Entry<T>; PLACES]>,
    /// Places that were ever taken, the first included.
    taken: usize,
    numbers: HashMap<T, u16>,
    free: Vec<u16>,
    /// Records that the sweep has visited in this epoch.
    swept: usize,
    reclaimed: bool,
}

impl<T: Copy + Eq + Hash + Zeroable, const PLACES: usize> Remembered<T, PLACES> {
    /// An empty list; all memory is taken here.
    pub fn new() -> Self {
        const { assert!(PLACES <= 1 << 16, "numbers have 16 bits") };
        let Ok(entries) = zeroed_vec(PLACES).into_boxed_slice().try_into() else {
            unreachable!("as many as there are places")
        };
        Self {
            // 0 is what empty places have.
            epoch: 1,
            entries,
            taken: 1,
            numbers: HashMap::with_capacity(PLACES - 1),
            free: Vec::with_capacity(PLACES - 1),
            swept: 0,
            reclaimed: false,
        }
    }

    /// Begins a new epoch.
    #[cold]
    pub fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.numbers.clear();
        (self.swept, self.reclaimed) = (0, false);
    }

    #[inline(always)]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What has this number, of whatever epoch.
    #[inline(always)]
    pub const fn entry(&self, number: u16) -> &Entry<T> {
        &self.entries[number as usize % PLACES]
    }

    /// What has this number, if it is of this epoch.
    #[inline(always)]
    pub const fn get(&self, number: u16) -> Option<&T> {
        let entry = self.entry(number);
        if entry.epoch == self.epoch { Some(&entry.value) } else { None }
    }

    /// The number of `value`, where so many records were ever used; none if all are in use.
    pub fn number(&mut self, value: T, records: usize) -> Option<u16> {
        if let Some(number) = self.numbers.get(&value) {
            return Some(*number);
        }
        if self.free.is_empty() && self.swept >= records && !self.reclaimed {
            self.reclaim();
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.taken < PLACES => {
                self.taken += 1;
                (self.taken - 1) as u16
            }
            None => return None,
        };
        self.entries[usize::from(number)] = Entry { epoch: self.epoch, value };
        self.numbers.insert(value, number);
        Some(number)
    }

    /// No record has a number of an earlier epoch any more: they are free.
    fn reclaim(&mut self) {
        self.reclaimed = true;
        let taken = self.entries[..self.taken].iter().enumerate().skip(1);
        let stale = taken.filter(|(_, entry)| entry.epoch != self.epoch);
        self.free.extend(stale.map(|(at, _)| at as u16));
    }

    /// The sweep has visited so many more records, and taken numbers of earlier epochs away from them.
    pub const fn count_swept(&mut self, records: usize) {
        self.swept = self.swept.saturating_add(records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Few = Remembered<u64, 8>;

    #[test]
    fn a_number_means_nothing_in_another_epoch() {
        let mut all = Few::new();
        assert_eq!((all.get(0), all.get(1)), (None, None));
        let number = all.number(7, 100).expect("room");
        assert_eq!(all.get(number), Some(&7));
        assert_eq!(all.number(7, 100), Some(number));
        all.renew();
        assert_eq!((all.get(number), all.get(0)), (None, None));
        assert_eq!(all.entry(number).value, 7, "it is known until its number is given out again");
    }

    #[test]
    fn numbers_are_used_again_only_after_a_whole_sweep() {
        let mut all = Few::new();
        all.renew();
        for value in 1..8 {
            assert!(all.number(value, 100).is_some());
        }
        assert_eq!(all.number(50, 100), None);
        all.renew();
        all.count_swept(99);
        assert_eq!(all.number(50, 100), None);
        all.count_swept(1);
        let number = all.number(50, 100).expect("room");
        assert_eq!(all.get(number), Some(&50));
    }
}
