//! Which record a packet meets at a hook.
//!
//! Overview: a key leads to records, by their own tuple or by a [link](super::link); of those that have a face for the packet,
//! pf's order decides. Ownership: one shard. Bounds: the entries of two buckets.

use ruleset::{Direction, Removal};
use wire::Af;

use super::class::Sketch;
use super::index::RecordId;
use super::key::{Key, KeyHash, Narrow, Side};
use super::link::Hit;
use super::table::{Connections, Expiry};
use crate::fate::WorkerId;
use crate::fib::InterfaceId;
use crate::work;

/// What a lookup came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record whose face takes the packet.
    Record(Hit),
    /// The key's records have no face for it.
    Others,
    /// No record has the key, nor a link.
    Nothing,
    /// Another worker has the key's connection.
    Elsewhere(WorkerId),
}

/// What a packet looks for at a hook.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub key: &'a Key,
    pub hash: KeyHash,
    /// The side of the key that the hook's interface is on.
    pub side: Side,
    /// The hook.
    pub direction: Direction,
    pub interface: InterfaceId,
}

impl Connections {
    /// The record of `key` whose face at `side` takes packets of `interface`, the first in pf's order. A face that has
    /// expired is removed when it is met, and counted in `removed`.
    pub fn find(&mut self, wanted: &Wanted<'_>, expiry: &Expiry<'_>, removed: &mut u64) -> Found {
        loop {
            match self.best(wanted) {
                Found::Record(hit)
                    if self.has_expired(hit.record, self.face_of(&hit, wanted.side), expiry) =>
                {
                    let (id, side) = (hit.record, self.face_of(&hit, wanted.side));
                    *removed += u64::from(self.remove_face(id, side, hit.hash, Removal::Expired));
                }
                found => return found,
            }
        }
    }

    fn best(&self, wanted: &Wanted<'_>) -> Found {
        let (mut best, mut known) = (None, false);
        for hit in self.hits(wanted.key, wanted.hash) {
            known = true;
            let Some(floats) = self.takes(&hit, wanted) else { continue };
            best = match best {
                Some(other) if self.stands_before(other, (hit, floats)) => Some(other),
                _ => Some((hit, floats)),
            };
        }
        match best {
            Some((hit, _)) => Found::Record(hit),
            None if known => Found::Others,
            None => self.owner(wanted.key, wanted.hash).map_or(Found::Nothing, Found::Elsewhere),
        }
    }

    /// pf's order of states with one key: those that are bound first, the newest at the head; then those that float, the
    /// oldest first.
    fn stands_before(&self, a: (Hit, bool), b: (Hit, bool)) -> bool {
        let age = |hit: Hit| self.cold[hit.record.0 as usize].id;
        match (a.1, b.1) {
            (false, true) => true,
            (true, false) => false,
            (false, false) => age(a.0) > age(b.0),
            (true, true) => age(a.0) < age(b.0),
        }
    }

    /// Whether a record has the face that is wanted, and if so, whether that floats.
    #[inline]
    fn takes(&self, hit: &Hit, wanted: &Wanted<'_>) -> Option<bool> {
        let class = self.face(hit.record, self.face_of(hit, wanted.side))?;
        let takes =
            class.takes(wanted.interface) && self.reaches(hit, wanted.direction, hit.side(wanted.side));
        takes.then_some(class.interface.is_none())
    }

    /// The side of the face that a hook at `side` of the tuple finds.
    #[inline]
    pub fn face_of(&self, hit: &Hit, side: Side) -> Side {
        self.met_side(hit.record, hit.side(side))
    }

    /// True if record `id` has the face at `side` that a lookup would find for packets of `interface`. False does not mean
    /// that it has none: where a face that is bound may come before this one, only a lookup knows.
    #[inline]
    pub fn has_face(&self, id: RecordId, side: Side, interface: InterfaceId, expiry: &Expiry<'_>) -> bool {
        self.face(id, side).is_some_and(|class| match class.interface {
            Some(own) => own == interface,
            None => self.pairs.all_float(),
        }) && !self.has_expired(id, side, expiry)
    }

    /// The record whose face stands in the way of a new one at `side` of the key: of the same key, binding and direction.
    pub fn rival(&self, key: &Key, hash: KeyHash, side: Side, class: &Sketch<'_>) -> Option<Hit> {
        self.hits(key, hash).find(|hit| {
            let side = hit.side(side);
            self.face(hit.record, side).is_some_and(|own| {
                own.interface == class.interface
                    && own.direction == class.direction
                    && self.reaches(hit, class.direction, side)
            })
        })
    }

    /// True if record `id` is live and has this key.
    #[inline]
    pub(super) fn is_of(&self, id: RecordId, key: &Key) -> bool {
        work::record();
        let at = id.0 as usize;
        self.hot[at].may_be(&Narrow::of(key)) && (key.af == Af::Inet || self.wide[at] == key.address)
    }
}
