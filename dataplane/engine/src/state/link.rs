//! Links: the other tuples by which packets of a connection arrive.
//!
//! Overview: a record has the tuple of the packet that made it, as its sender's side sees it. Where translation changes
//! that, packets arrive by other tuples too, and each of those has a link: a cache line that the index leads to as it does
//! to records, with the tuple and the record. A record leads to its first link, that to the next.
//! Which faces a tuple's packets may meet, and at which hook, is its [`Reach`]: pf looks states up by what is on the wire where
//! a packet enters, and by what is between the hooks where it leaves.
//! Life cycle: made behind its record, gone with it; a link to an earlier use of a record's number is never followed.
//! A record's only link mostly has the record's number, so that whoever finds one of the two in the index knows the other: what
//! most packets need of a link their [record carries](super::course).
//! Ownership: one shard. Bounds: room is reserved for twice as many links as records, and takes memory once they are used; index
//! places are shared with the records, of which a forwarded connection has one for its two states.

use core::ops::Range;

use bytemuck::{Zeroable, zeroed_vec};
use ruleset::Direction;
use wire::Af;

use super::adjacency::AdjacencyId;
use super::index::{LinkId, RecordId};
use super::key::{Family, Key, KeyHash, Narrow, Side};
use super::numbers::{Numbered, Numbers};
use super::table::{Connections, Full};
use crate::Address;
use crate::fate::WorkerId;
use crate::intrinsics::prefetch;
use crate::work;

/// At which hooks a tuple's packets meet the faces of its record; sides are the record's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub(crate) struct Reach(u8);

impl Reach {
    /// No face.
    pub const NONE: Self = Self(0);

    /// As this, and the face at `side` where packets meet the hook of `direction`.
    #[must_use]
    pub const fn with(self, direction: Direction, side: Side) -> Self {
        Self(self.0 | Self::bit(direction, side))
    }

    /// What either of the two reaches.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    pub(super) const fn has(self, direction: Direction, side: Side) -> bool {
        self.0 & Self::bit(direction, side) != 0
    }

    const fn bit(direction: Direction, side: Side) -> u8 {
        1 << (2 * direction as u8 + side as u8)
    }
}

/// A further tuple of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLink<'a> {
    pub key: Narrow,
    /// The addresses of the key, of IPv6.
    pub wide: &'a [Address; 2],
    pub hash: KeyHash,
    /// The tuple's low end is the record's high end.
    pub swapped: bool,
    /// Of the tuple.
    pub reach: Reach,
    /// Of the record's own tuple: what is not said any more of a record without links, whose tuple reaches all it has.
    pub own: Reach,
    /// Another worker is the tuple's home, and needs an [alias](super::alias).
    pub foreign: bool,
    /// The record is new, and nobody else has the tuple.
    pub alone: bool,
}

/// One link.
#[derive(Clone, Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Link {
    /// Of a retired link, which one was retired before it.
    key: Narrow,
    pub hash: u64,
    /// The hash of the record's own key.
    own_hash: u64,
    /// Of an [alias](super::alias) the worker.
    record: u32,
    /// The record's, when the link was made.
    generation: u32,
    /// One more than the number of the record's next link; 0 is none.
    next: u32,
    /// By sender: the next hop that the connection remembers, of a record's first link.
    adjacency: [AdjacencyId; 2],
    reach: Reach,
    own: Reach,
    swapped: bool,
    live: bool,
    /// It is no link, but an alias.
    alias: bool,
    /// Another worker is the tuple's home.
    pub foreign: bool,
    /// That worker knows of the link.
    pub told: bool,
    /// It is in the queue of those whose homes are to be told of them.
    pub waits: bool,
    /// One more than the number of the link that its home is told of after this one; 0 is none.
    pub queued: u32,
}

const _: () = assert!(size_of::<Link>() == 64);

impl Link {
    fn next(&self) -> Option<LinkId> {
        self.next.checked_sub(1).map(LinkId)
    }

    /// True if its record was given no link before it.
    pub const fn is_last(&self) -> bool {
        self.next == 0
    }

    /// True if the low end of its tuple is its record's high end.
    pub const fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// The side of the record that is the low side of its tuple.
    #[inline(always)]
    pub const fn low_side(&self) -> Side {
        if self.swapped { Side::High } else { Side::Low }
    }

    /// Its tuple, but for IPv6 addresses.
    pub const fn narrow(&self) -> &Narrow {
        &self.key
    }

    /// By sender, the next hops of its record, whose first link it is.
    pub const fn next_hops(&self) -> &[AdjacencyId; 2] {
        &self.adjacency
    }

    /// Which faces packets of its tuple meet.
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    pub const fn set_reach(&mut self, reach: Reach) {
        self.reach = reach;
    }

    /// Which faces packets of the record's own tuple meet.
    pub const fn own(&self) -> Reach {
        self.own
    }

    /// What leads to another worker.
    pub fn alias(key: Narrow, owner: WorkerId) -> Self {
        Self { key, record: owner.0.into(), alias: true, ..Self::default() }
    }

    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Ends its life; it is kept until its home knows.
    pub const fn end(&mut self) {
        self.live = false;
    }

    /// The worker that it leads to, if it is an alias of a key that may be this one: certain for IPv4.
    pub fn owner(&self, key: &Narrow) -> Option<WorkerId> {
        (self.alias && self.key == *key).then_some(WorkerId(self.record as u16))
    }
}

impl Numbered for Link {
    fn retire(&mut self, before: u32) {
        *self = Self { key: Narrow::link(before), ..Self::default() };
    }

    fn next_retired(&self) -> u32 {
        self.key.linked()
    }
}

/// The links of one shard.
#[derive(Debug)]
pub(super) struct Links {
    /// First a line for each number that a record has, then as many for further links and for aliases.
    lines: Vec<Link>,
    /// IPv6 addresses, by link.
    wide: Vec<[Address; 2]>,
    /// Of the second half, from 0 on.
    numbers: Numbers,
    /// How many records there may be.
    records: u32,
    /// There was one.
    in_use: bool,
}

impl Links {
    /// Room for the links of `records` records.
    pub fn new(records: u32) -> Self {
        let size = 2 * records as usize;
        let (lines, wide) = (zeroed_vec(size), zeroed_vec(size));
        Self { lines, wide, numbers: Numbers::new(records), records, in_use: false }
    }

    /// The number that the next link of a record is to have: the record's, if that is free.
    #[inline(always)]
    pub fn next_of(&self, record: RecordId, family: Family) -> Option<LinkId> {
        // What has ended and waits still has a number: another worker is to know of it.
        let own = LinkId::beside(record);
        let taken = |line: &Link| line.live || line.waits;
        if taken(self.line(own)) { self.next(family) } else { Some(own) }
    }

    /// The number that the next alias of `family` is to have.
    pub fn next(&self, family: Family) -> Option<LinkId> {
        self.numbers.next(family).map(|number| LinkId(self.records + number))
    }

    /// Takes a number that was to be given to a line's family for that line, with the addresses of its key, of IPv6.
    #[inline(always)]
    pub fn put(&mut self, id: LinkId, wide: &[Address; 2], line: Link) {
        if let Some(number) = id.0.checked_sub(self.records) {
            self.numbers.take(number, &self.lines[self.records as usize..]);
        }
        self.in_use = true;
        let family = line.key.family();
        self.lines[id.0 as usize] = line;
        if family == Family::Inet6 {
            self.wide[id.0 as usize] = *wide;
        }
    }

    pub fn retire(&mut self, id: LinkId) {
        match id.0.checked_sub(self.records) {
            Some(number) => self.numbers.retire(number, &mut self.lines[self.records as usize..]),
            None => self.lines[id.0 as usize] = Link::default(),
        }
    }

    pub fn line(&self, id: LinkId) -> &Link {
        &self.lines[id.0 as usize]
    }

    /// The addresses of a link of IPv6.
    pub fn addresses(&self, id: LinkId) -> &[Address; 2] {
        &self.wide[id.0 as usize]
    }

    /// The addresses of all links of IPv6, by number.
    #[inline(always)]
    pub fn all_addresses(&self) -> &[[Address; 2]] {
        &self.wide
    }

    pub fn line_mut(&mut self, id: LinkId) -> &mut Link {
        &mut self.lines[id.0 as usize]
    }

    /// The lines with these numbers of records; none before there is a link.
    pub fn of_records(&self, numbers: Range<usize>) -> &[Link] {
        if self.in_use { &self.lines[numbers] } else { &[] }
    }

    /// True if there was ever a link, or an alias.
    #[inline(always)]
    pub const fn in_use(&self) -> bool {
        self.in_use
    }

    /// Starts loading a link; no effect if there is none of this number.
    #[inline]
    pub fn prefetch(&self, id: LinkId) {
        if let Some(line) = self.lines.get(id.0 as usize) {
            prefetch(line);
        }
    }

    /// As [`Self::prefetch`], of its IPv6 addresses.
    #[inline]
    pub fn prefetch_addresses(&self, id: LinkId) {
        if let Some(wide) = self.wide.get(id.0 as usize) {
            prefetch(wide);
        }
    }

    fn is_of(&self, id: LinkId, key: &Key) -> bool {
        work::record();
        let line = self.line(id);
        line.live
            && line.key == Narrow::of(key)
            && (key.af == Af::Inet || self.wide[id.0 as usize] == key.address)
    }

    pub fn key(&self, id: LinkId) -> Key {
        self.line(id).key.widened(&self.wide[id.0 as usize])
    }
}

/// A record, found by one of its tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub record: RecordId,
    /// The hash of the record's own key.
    pub hash: KeyHash,
    /// The link with the tuple by which it was found; none if that was its own.
    pub link: Option<LinkId>,
    swapped: bool,
}

impl Hit {
    /// A record found by its own tuple.
    pub const fn own(record: RecordId, hash: KeyHash) -> Self {
        Self { record, hash, link: None, swapped: false }
    }

    /// The record's side that is this side of the tuple.
    #[inline]
    pub const fn side(&self, side: Side) -> Side {
        if self.swapped { side.other() } else { side }
    }
}

impl Connections {
    /// The records of a key, by their own tuple or by a link.
    pub(super) fn hits(&self, key: &Key, hash: KeyHash) -> impl Iterator<Item = Hit> {
        self.index.candidates(hash).filter_map(move |entry| match entry.link() {
            None => self.is_of(entry, key).then(|| Hit::own(entry, hash)),
            Some(link) => self.follow_link(link, key),
        })
    }

    #[cold]
    fn follow_link(&self, id: LinkId, key: &Key) -> Option<Hit> {
        if !self.links.is_of(id, key) {
            return None;
        }
        let line = self.links.line(id);
        let at = line.record as usize;
        let lives = self.hot[at].is_live() && self.cold[at].generation == line.generation;
        lives.then_some(Hit {
            record: RecordId(line.record),
            hash: KeyHash(line.own_hash),
            link: Some(id),
            swapped: line.swapped,
        })
    }

    /// Whether the tuple by which a record was found leads packets at the hook of `direction` to its face at `side`.
    #[inline]
    pub(super) fn reaches(&self, hit: &Hit, direction: Direction, side: Side) -> bool {
        let reach = match (hit.link, self.first_link(hit.record)) {
            (Some(link), _) => self.links.line(link).reach,
            (None, Some(first)) => self.links.line(first).own,
            (None, None) => return true,
        };
        reach.has(direction, side)
    }

    /// The next hops that a record remembers, by sender.
    #[inline]
    pub(super) fn next_hops(&self, id: RecordId) -> &[AdjacencyId; 2] {
        match self.first_link(id) {
            None => self.hot[id.0 as usize].adjacency(),
            Some(first) => &self.links.line(first).adjacency,
        }
    }

    /// As [`Self::next_hops`], to be changed: what the record carries is laid down.
    #[inline]
    pub(super) fn next_hops_mut(&mut self, id: RecordId) -> &mut [AdjacencyId; 2] {
        self.lay_down(id);
        let hot = &mut self.hot[id.0 as usize];
        match hot.link(id) {
            None => hot.adjacency_mut(),
            Some(first) => &mut self.links.line_mut(first).adjacency,
        }
    }

    /// Starts loading what the next record of a family takes besides its own line: the cold one, and that of its link.
    #[inline(always)]
    pub fn prefetch_next_lines(&self, family: Family) {
        if let Some(number) = self.numbers.next(family) {
            self.links.prefetch(LinkId(number));
            if let Some(cold) = self.cold.get(number as usize) {
                prefetch(cold);
            }
        }
    }

    /// Starts loading what leads to the link that a record mostly has if it has one.
    #[inline(always)]
    pub fn prefetch_way_to_link(&self, record: RecordId) {
        if self.hot[record.0 as usize].is_far_reaching() {
            self.index.prefetch_first(KeyHash(self.links.line(LinkId::beside(record)).hash));
        }
    }

    fn first_link_laid_down(&mut self, record: RecordId) -> Option<LinkId> {
        self.lay_down(record);
        self.first_link(record)
    }

    /// Has packets of a further tuple find a record, whose own key's hash is `own_hash`.
    ///
    /// # Errors
    /// [`Full::Shard`]; nothing was changed then.
    #[inline(always)]
    pub fn link(&mut self, record: RecordId, own_hash: KeyHash, new: &NewLink<'_>) -> Result<LinkId, Full> {
        let id = self.links.next_of(record, new.key.family()).ok_or(Full::Shard)?;
        self.index.insert(new.hash, id.entry()).map_err(|_| Full::Shard)?;
        // A new record has neither a translation to lay down nor a link.
        let first = if new.alone { None } else { self.first_link_laid_down(record) };
        let line = Link {
            key: new.key,
            hash: new.hash.0,
            own_hash: own_hash.0,
            record: record.0,
            generation: self.cold[record.0 as usize].generation,
            next: first.map_or(0, |first| first.0 + 1),
            reach: new.reach,
            own: new.own,
            swapped: new.swapped,
            live: true,
            foreign: new.foreign,
            ..Link::default()
        };
        self.links.put(id, new.wide, line);
        if new.foreign {
            self.strangers += 1;
            self.queue(id);
        }
        self.hot[record.0 as usize].set_link(Some(id));
        if !new.alone {
            // Of whoever has the tuple, lookups choose from now on.
            self.forget_routes(&new.key.widened(new.wide), new.hash);
        }
        Ok(id)
    }

    /// Has packets find `to` by the further tuples of `from`, a record with the same key.
    ///
    /// # Errors
    /// [`Full::Shard`]; `to` has some of the links then.
    pub(super) fn copy_links(&mut self, from: RecordId, to: RecordId) -> Result<(), Full> {
        let mut next = self.first_link(from);
        while let Some(id) = next {
            let line = self.links.line(id).clone();
            next = line.next();
            let wide = *self.links.addresses(id);
            let new = NewLink {
                key: *line.narrow(),
                wide: &wide,
                hash: KeyHash(line.hash),
                swapped: line.swapped,
                reach: line.reach,
                own: line.own,
                foreign: line.foreign,
                alone: false,
            };
            self.link(to, KeyHash(line.own_hash), &new)?;
        }
        Ok(())
    }

    /// Removes the links of a record.
    pub(super) fn drop_links(&mut self, record: RecordId) {
        self.lay_down(record);
        let mut next = self.first_link(record);
        while let Some(id) = next {
            let line = self.links.line(id);
            next = line.next();
            self.index.remove(KeyHash(line.hash), id.entry());
            match line.foreign {
                true => {
                    self.strangers -= 1;
                    self.drop_foreign(id);
                }
                false => self.links.retire(id),
            }
        }
        self.hot[record.0 as usize].set_link(None);
    }
}

impl Connections {
    /// The first link of a record, which is the last that it was given.
    #[inline]
    pub fn first_link(&self, record: RecordId) -> Option<LinkId> {
        self.hot[record.0 as usize].link(record)
    }

    /// The link that the record was given before this one.
    pub fn next_link(&self, link: LinkId) -> Option<LinkId> {
        self.links.line(link).next()
    }

    /// The tuple of a link.
    pub fn link_key(&self, link: LinkId) -> Key {
        self.links.key(link)
    }

    /// Whether the low end of a link's tuple is its record's high end.
    pub fn is_swapped(&self, link: LinkId) -> bool {
        self.links.line(link).is_swapped()
    }
}

#[cfg(test)]
mod tests;
