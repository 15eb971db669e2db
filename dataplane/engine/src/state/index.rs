//! The index of connections: from hash to record or [link](super::link), in buckets of one cache line.
//!
//! Overview: each hash has two buckets; the second one follows from the first and the tag, so that an entry can be moved
//! between its buckets without looking at its record. An entry goes to its first bucket, to its second if that is full,
//! and if both are, an entry of either is moved to its own other bucket. So a lookup reads at most two lines, an insertion
//! a bounded number, and nothing is ever rehashed. A bucket knows how many entries it has sent to their second: where it has sent
//! none, as most have, a lookup reads one line.
//! Bounds: 10 entries in a bucket, 20 places to probe, filled to three quarters at most.

use bytemuck::{Pod, Zeroable, cast_ref, zeroed_vec};

use super::ahead::Area;
use super::key::KeyHash;
use crate::intrinsics::{equal_tags, prefetch};
use crate::work;

const SLOTS: usize = 10;

/// The most entries that a hash leads to.
pub(super) const PROBES_MAX: usize = 2 * SLOTS;

/// Buckets are filled to this share, in per cent, when the table holds what it was made for.
const LOAD_PERCENT: usize = 75;

/// Words of bits for what was added while a burst is decided: few of its other packets share one by chance.
const FRESH_WORDS: usize = 16;

/// The number of a record. Entries of the index lead to links as well: their numbers begin at [`RecordId::LINKS`], so that no
/// record has one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordId(pub u32);

impl RecordId {
    /// The number that no record has, and no link.
    pub const NONE: Self = Self(u32::MAX);
    /// The first number of a link, as an entry of the index: so many records may there be.
    pub const LINKS: u32 = 1 << 31;

    /// The link that an entry leads to, if it is not a record's.
    #[inline]
    pub const fn link(self) -> Option<LinkId> {
        match self.0.checked_sub(Self::LINKS) {
            Some(number) => Some(LinkId(number)),
            None => None,
        }
    }
}

/// The number of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(pub u32);

impl LinkId {
    /// The link that a record has if it has one, mostly.
    #[inline(always)]
    pub const fn beside(record: RecordId) -> Self {
        Self(record.0)
    }

    /// The record [beside](Self::beside) which the link is, if it is.
    #[inline(always)]
    pub const fn record(self) -> RecordId {
        RecordId(self.0)
    }

    /// What leads to the link in the index.
    #[inline]
    pub const fn entry(self) -> RecordId {
        RecordId(self.0 | RecordId::LINKS)
    }
}

#[derive(Clone, Copy, Debug, Zeroable, Pod)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 marks a free slot.
    tags: [u16; SLOTS],
    /// The slots whose entries are in their second bucket, as bits.
    strays: u16,
    /// How many entries are in their second bucket whose first this is. From the greatest number on it is not counted down any
    /// more.
    sent: u16,
    records: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The slots with this tag, as bits.
    #[inline(always)]
    fn equal(&self, tag: u16) -> u32 {
        equal_tags(cast_ref(self), tag)
    }

    /// The first record whose tag is this one, or none.
    #[inline(always)]
    fn hint(&self, tag: u16) -> RecordId {
        let slot = self.equal(tag).trailing_zeros() as usize;
        self.records.get(slot).map_or(RecordId::NONE, |record| RecordId(*record))
    }

    #[inline(always)]
    fn matches(&self, tag: u16) -> impl Iterator<Item = RecordId> {
        let mut equal = self.equal(tag);
        core::iter::from_fn(move || {
            let slot = equal.trailing_zeros() as usize;
            let record = self.records.get(slot)?;
            equal &= equal - 1;
            Some(RecordId(*record))
        })
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        let slot = self.equal(0).trailing_zeros() as usize;
        (slot < SLOTS).then_some(slot)
    }

    #[inline]
    fn slot_of(&self, tag: u16, record: RecordId) -> Option<usize> {
        let mut equal = self.equal(tag);
        while equal != 0 {
            let slot = equal.trailing_zeros() as usize;
            if self.records[slot] == record.0 {
                return Some(slot);
            }
            equal &= equal - 1;
        }
        None
    }
}

/// Both buckets of a hash are full, and so are the other buckets of their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexFull;

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    /// A bit for each [tag](Self::fresh_bit) that was put into a bucket since it was cleared last.
    fresh: [u64; FRESH_WORDS],
}

impl Index {
    /// An index for `records` entries.
    pub fn new(records: usize) -> Self {
        let buckets = zeroed_vec(records * 100 / (SLOTS * LOAD_PERCENT) + 1);
        Self { buckets, fresh: [0; FRESH_WORDS] }
    }

    /// Where it lies.
    pub fn area(&self) -> Area {
        Area::of(&self.buckets)
    }

    /// From now on, [`may_be_fresh`](Self::may_be_fresh) tells what is added.
    #[inline]
    pub const fn look_ahead(&mut self) {
        self.fresh = [0; FRESH_WORDS];
    }

    /// True if an entry of this hash was added since [`look_ahead`](Self::look_ahead), and now and then if none was.
    #[inline]
    pub const fn may_be_fresh(&self, hash: KeyHash) -> bool {
        let (word, bit) = Self::fresh_bit(hash.tag());
        self.fresh[word] & bit != 0
    }

    #[inline]
    const fn fresh_bit(tag: u16) -> (usize, u64) {
        // The lowest bit is set in all tags.
        let at = tag as usize >> 1;
        (at / 64 % FRESH_WORDS, 1 << (at % 64))
    }

    /// Starts loading the first bucket of a hash.
    #[inline(always)]
    pub fn prefetch_first(&self, hash: KeyHash) {
        prefetch(&self.buckets[self.place(hash.bucket())]);
    }

    /// True if entries of a hash may be in its second bucket.
    #[inline(always)]
    pub fn leads_on(&self, hash: KeyHash) -> bool {
        self.buckets[self.place(hash.bucket())].sent > 0
    }

    /// Starts loading the second bucket of a hash.
    #[inline(always)]
    pub fn prefetch_second(&self, hash: KeyHash) {
        prefetch(&self.buckets[self.places(hash).1]);
    }

    /// The first record in the first bucket whose tag is that of `hash`, or none.
    #[inline(always)]
    pub fn hint_in_first(&self, hash: KeyHash) -> RecordId {
        work::bucket();
        self.buckets[self.place(hash.bucket())].hint(hash.tag())
    }

    /// As [`Self::hint_in_first`], in the second bucket.
    #[inline(always)]
    pub fn hint_in_second(&self, hash: KeyHash) -> RecordId {
        work::bucket();
        self.buckets[self.places(hash).1].hint(hash.tag())
    }

    /// The records whose tag is that of `hash`, first bucket first.
    #[inline]
    pub fn candidates(&self, hash: KeyHash) -> impl Iterator<Item = RecordId> {
        let (first, second) = self.places(hash);
        work::bucket();
        // Where both are the same bucket it is read once.
        let again = (self.buckets[first].sent > 0 && second != first).then(|| {
            work::bucket();
            self.buckets[second].matches(hash.tag())
        });
        self.buckets[first].matches(hash.tag()).chain(again.into_iter().flatten())
    }

    /// False if there is no entry of this hash.
    #[inline]
    pub fn may_have(&self, hash: KeyHash) -> bool {
        let first = self.place(hash.bucket());
        work::bucket();
        let bucket = &self.buckets[first];
        bucket.equal(hash.tag()) != 0 || (bucket.sent > 0 && self.has_in_second(first, hash.tag()))
    }

    #[inline(never)]
    fn has_in_second(&self, first: usize, tag: u16) -> bool {
        work::bucket();
        self.buckets[self.other_place(first, tag)].equal(tag) != 0
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing was changed.
    #[inline]
    pub fn insert(&mut self, hash: KeyHash, record: RecordId) -> Result<(), IndexFull> {
        match self.put(self.place(hash.bucket()), hash.tag(), record) {
            Some(_) => Ok(()),
            None => self.insert_beyond(hash, record),
        }
    }

    /// Adds an entry whose first bucket is full.
    #[inline(never)]
    fn insert_beyond(&mut self, hash: KeyHash, record: RecordId) -> Result<(), IndexFull> {
        let (first, second) = self.places(hash);
        if self.put_second(first, second, hash.tag(), record) {
            return Ok(());
        }
        if self.make_room(first) {
            let placed = self.put(first, hash.tag(), record);
            debug_assert!(placed.is_some(), "room was made");
            return Ok(());
        }
        if self.make_room(second) {
            let placed = self.put_second(first, second, hash.tag(), record);
            debug_assert!(placed, "room was made");
            return Ok(());
        }
        Err(IndexFull)
    }

    /// Adds an entry to its second bucket; false if that is full.
    fn put_second(&mut self, first: usize, second: usize, tag: u16, record: RecordId) -> bool {
        let Some(slot) = self.put(second, tag, record) else { return false };
        self.buckets[second].strays |= 1 << slot;
        let sent = &mut self.buckets[first].sent;
        *sent = sent.saturating_add(1);
        true
    }

    /// Removes an entry; no effect if it is not there.
    #[inline]
    pub fn remove(&mut self, hash: KeyHash, record: RecordId) {
        let first = self.place(hash.bucket());
        if !self.clear(first, hash.tag(), record) {
            self.remove_from_second(first, hash.tag(), record);
        }
    }

    #[inline(never)]
    fn remove_from_second(&mut self, first: usize, tag: u16, record: RecordId) {
        if self.clear(self.other_place(first, tag), tag, record) {
            self.come_home(first);
        }
    }

    /// An entry whose first bucket this is, is in its second one no longer.
    fn come_home(&mut self, first: usize) {
        let sent = &mut self.buckets[first].sent;
        *sent -= (*sent < u16::MAX) as u16;
    }

    /// Removes an entry from a bucket; false if it is not there.
    #[inline]
    fn clear(&mut self, place: usize, tag: u16, record: RecordId) -> bool {
        work::bucket();
        let bucket = &mut self.buckets[place];
        let slot = bucket.slot_of(tag, record);
        if let Some(slot) = slot {
            bucket.tags[slot] = 0;
            bucket.strays &= !(1 << slot);
        }
        slot.is_some()
    }

    #[inline]
    fn places(&self, hash: KeyHash) -> (usize, usize) {
        let first = self.place(hash.bucket());
        (first, self.other_place(first, hash.tag()))
    }

    /// Maps 32 bits evenly onto the buckets, of which there is any number.
    #[inline(always)]
    const fn place(&self, hash: u32) -> usize {
        // No overflow: there are fewer buckets than records, whose numbers have 32 bits.
        ((hash as u64).wrapping_mul(self.buckets.len() as u64) >> 32) as usize
    }

    /// The other bucket of an entry: its own inverse, because both add up to what the tag says. It is never reachable by
    /// choosing tags alone, because the tag is a part of a keyed hash.
    #[inline(always)]
    const fn other_place(&self, place: usize, tag: u16) -> usize {
        let sum = self.place((tag as u32).wrapping_mul(0x9e37_79b1));
        if sum >= place { sum - place } else { sum.wrapping_add(self.buckets.len()).wrapping_sub(place) }
    }

    /// Adds an entry to a bucket, and returns its slot; `None` if it is full.
    #[inline]
    fn put(&mut self, place: usize, tag: u16, record: RecordId) -> Option<usize> {
        work::bucket();
        let bucket = &mut self.buckets[place];
        let slot = bucket.free_slot()?;
        bucket.tags[slot] = tag;
        bucket.records[slot] = record.0;
        let (word, bit) = Self::fresh_bit(tag);
        self.fresh[word] |= bit;
        Some(slot)
    }

    /// Moves one entry of a full bucket to its other bucket, if any of those has room.
    fn make_room(&mut self, place: usize) -> bool {
        for slot in 0..SLOTS {
            let Bucket { tags, records, strays, .. } = &self.buckets[place];
            let (tag, record, strays) = (tags[slot], RecordId(records[slot]), strays & 1 << slot != 0);
            let other = self.other_place(place, tag);
            if other == place {
                continue;
            }
            let moved = match strays {
                true => self.put(other, tag, record).is_some(),
                false => self.put_second(place, other, tag, record),
            };
            if moved {
                self.buckets[place].tags[slot] = 0;
                self.buckets[place].strays &= !(1 << slot);
                if strays {
                    self.come_home(other);
                }
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A spread of hashes without a generator: SplitMix64.
    fn hash(n: u64) -> KeyHash {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        KeyHash(z ^ (z >> 31))
    }

    #[test]
    fn the_other_place_is_its_own_inverse() {
        let index = Index::new(100_000);
        for n in 0..100_000 {
            let (first, second) = index.places(hash(n));
            assert_eq!(index.other_place(second, hash(n).tag()), first);
        }
    }

    #[test]
    fn holds_all_that_it_was_made_for_and_finds_each() {
        for records in [1, 10, 100, 1_000, 7_500, 100_000] {
            let mut index = Index::new(records);
            for n in 0..records as u64 {
                index.insert(hash(n), RecordId(n as u32)).expect("there is room up to the size asked for");
            }
            for n in 0..records as u64 {
                assert!(index.candidates(hash(n)).any(|found| found.0 == n as u32));
                assert!(index.may_have(hash(n)));
            }
            let others = records as u64..2 * records as u64;
            let mistaken = others.clone().filter(|n| index.may_have(hash(*n))).count();
            assert!(mistaken * 100 < others.count().max(200), "{mistaken}");
        }
    }

    #[test]
    fn a_removed_entry_is_gone_and_the_others_are_not() {
        let mut index = Index::new(1000);
        for n in 0..1000 {
            index.insert(hash(n), RecordId(n as u32)).expect("room");
        }
        for n in (0..1000).step_by(2) {
            index.remove(hash(n), RecordId(n as u32));
        }
        for n in 0..1000 {
            let found = index.candidates(hash(n)).any(|found| found.0 == n as u32);
            assert_eq!(found, n % 2 == 1, "entry {n}");
        }
    }

    /// How many entries of each bucket's own are in their second, as they say themselves.
    fn sent(index: &Index) -> Vec<u16> {
        let mut sent = vec![0; index.buckets.len()];
        for (place, bucket) in index.buckets.iter().enumerate() {
            for slot in (0..SLOTS).filter(|slot| bucket.strays >> slot & 1 != 0) {
                assert_ne!(bucket.tags[slot], 0, "there is an entry");
                sent[index.other_place(place, bucket.tags[slot])] += 1;
            }
        }
        sent
    }

    #[test]
    fn a_bucket_knows_how_many_entries_it_has_sent_to_their_second() {
        // So few places that entries are moved, too, to make room.
        let mut index = Index { buckets: zeroed_vec(40), ..Index::new(1) };
        let mut kept = Vec::new();
        for round in 0..50 {
            let added =
                (round * 1000..).take(400).filter(|n| index.insert(hash(*n), RecordId(*n as u32)).is_ok());
            kept.extend(added);
            assert!(index.buckets.iter().map(|bucket| bucket.sent).eq(sent(&index)), "round {round}");
            for n in &kept {
                assert!(index.candidates(hash(*n)).any(|found| found.0 == *n as u32), "entry {n}");
                assert!(index.may_have(hash(*n)), "entry {n}");
            }
            for n in kept.extract_if(.., |n| *n % 3 != round % 3).collect::<Vec<_>>() {
                index.remove(hash(n), RecordId(n as u32));
            }
        }
        assert!(kept.len() > 50, "{} entries are left", kept.len());
        for n in kept {
            index.remove(hash(n), RecordId(n as u32));
        }
        assert!(
            index
                .buckets
                .iter()
                .all(|bucket| (bucket.sent, bucket.strays, bucket.tags) == (0, 0, [0; SLOTS]))
        );
    }

    #[test]
    fn what_is_added_is_fresh_and_most_other_hashes_are_not() {
        let mut index = Index::new(1000);
        index.insert(hash(1000), RecordId(1000)).expect("room");
        index.look_ahead();
        assert!(!index.may_be_fresh(hash(1000)));
        for n in 0..64 {
            index.insert(hash(n), RecordId(n as u32)).expect("room");
        }
        assert!((0..64).all(|n| index.may_be_fresh(hash(n))));
        let mistaken = (2000..3000).filter(|n| index.may_be_fresh(hash(*n))).count();
        assert!(mistaken < 150, "{mistaken} of 1000");
    }

    #[test]
    fn a_full_index_refuses_and_keeps_what_it_has() {
        let mut index = Index::new(1);
        let same = KeyHash(0x1234_0001_0000_0000);
        let kept: Vec<u32> = (0..100).filter(|&n| index.insert(same, RecordId(n)).is_ok()).collect();
        assert!(kept.len() >= SLOTS && kept.len() <= 2 * SLOTS, "{} entries", kept.len());
        assert_eq!(index.candidates(same).count(), kept.len());
    }
}
