//! The tuples of a translated connection, as its packets have them in front of, between and behind the hooks.
//!
//! Overview: of pf's two states of a forwarded connection, the first has on the wire what the sender sent and between the
//! hooks what translation made of it; the second has that between the hooks, and on the wire what leaves. A record's own
//! tuple is the first of the three; those that differ from it have [links](super::link), whose reach tells which they are.
//! Ownership: one shard. Bounds: a record has two links at most.

use ruleset::Direction;
use wire::{Af, Port};

use super::class::Class;
use super::index::RecordId;
use super::key::{Key, KeyHash, Narrow, Side};
use super::link::{NewLink, Reach};
use super::table::{Connections, Full};
use crate::af_to::proto_in;
use crate::{Address, Tuple};

/// Both ends, by side of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    af: Af,
    address: [Address; 2],
    port: [Port; 2],
}

impl Ends {
    pub fn of(key: &Key, swapped: bool) -> Self {
        let Key { af, mut address, mut port, .. } = *key;
        if swapped {
            address.swap(0, 1);
            port.swap(0, 1);
        }
        Self { af, address, port }
    }

    /// The tuple of a packet from one side to the other, in all else `like` another, perhaps of the other family.
    pub fn tuple(&self, sender: Side, like: Tuple) -> Tuple {
        let (src, dst) = (sender.index(), sender.other().index());
        Tuple {
            af: self.af,
            proto: proto_in(self.af, like.proto),
            src: self.address[src],
            dst: self.address[dst],
            sport: self.port[src],
            dport: self.port[dst],
            ..like
        }
    }

    /// The family of both.
    pub const fn af(&self) -> Af {
        self.af
    }

    /// Address and port of an end.
    pub const fn end(&self, side: Side) -> (Address, Port) {
        (self.address[side.index()], self.port[side.index()])
    }
}

/// What a translated connection's packets are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuples {
    /// The side of the packet that made the record.
    pub initiator: Side,
    /// On the initiator's wire.
    pub near: Ends,
    /// Between the hooks.
    pub between: Ends,
    /// On the other end's wire.
    pub far: Ends,
}

impl Tuples {
    /// True if the other end is of the other family.
    pub fn crosses(&self) -> bool {
        self.near.af != self.far.af
    }

    /// In front of and behind the hook of `direction`, of packets that the initiator sends.
    pub const fn at(&self, direction: Direction) -> [Ends; 2] {
        match direction {
            Direction::In => [self.near, self.between],
            Direction::Out => [self.between, self.far],
        }
    }
}

/// What a packet, the first of its connection, became at a hook.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turned<'a> {
    /// The record that it made, or that it met before.
    pub record: RecordId,
    /// Of the record's own key.
    pub own_hash: KeyHash,
    pub initiator: Side,
    pub direction: Direction,
    pub key: &'a Key,
    pub hash: KeyHash,
    /// The side of its sender, in `key`.
    pub sender: Side,
    /// Another worker is the home of `key`.
    pub foreign: bool,
}

/// What one hook alone has made of the first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTuple {
    pub direction: Direction,
    pub key: Narrow,
    /// The addresses of the key, of IPv6.
    pub wide: [Address; 2],
    pub hash: KeyHash,
    /// The side of its sender, in `key`.
    pub sender: Side,
    /// Another worker is the home of `key`.
    pub foreign: bool,
}

impl Connections {
    /// The side of a record at which its face is that packets from the other side meet, too: of one that is of two families,
    /// whose only face is where its first packet came in.
    #[inline]
    fn crossing(&self, record: RecordId) -> Option<Side> {
        let line = self.links.line(self.first_link(record)?);
        let crosses = line.narrow().family() != self.hot[record.0 as usize].family();
        crosses.then(|| if line.own().has(Direction::In, Side::Low) { Side::Low } else { Side::High })
    }

    /// The side of the face that packets meet of which `side` is their hook's.
    #[inline]
    pub fn met_side(&self, record: RecordId, side: Side) -> Side {
        self.crossing(record).unwrap_or(side)
    }

    /// True if packets of this tuple, in either direction, belong to a connection, be it another worker's.
    pub fn is_taken(&self, key: &Key, hash: KeyHash) -> bool {
        self.knows(key, hash) || self.owner(key, hash).is_some()
    }

    /// As [`is_taken`](Self::is_taken), of a key and its IPv6 addresses.
    pub fn has_taken(&self, key: &Narrow, wide: &[Address; 2], hash: KeyHash) -> bool {
        self.is_taken(&key.widened(wide), hash)
    }

    /// False if nobody has a key of this hash; true of some keys in 10,000 that nobody has, as well.
    #[inline(always)]
    pub fn may_be_taken(&self, hash: KeyHash) -> bool {
        self.index.may_have(hash)
    }

    /// True if packets of this tuple belong to another connection than those of the key `own`.
    pub fn is_anothers(&self, key: &Key, hash: KeyHash, own: &Key) -> bool {
        self.hits(key, hash).any(|hit| self.key(hit.record) != *own) || self.owner(key, hash).is_some()
    }

    /// True if packets of this tuple that come from `side` of its key are the answers to a translated connection.
    pub fn is_answered(&self, key: &Key, hash: KeyHash, side: Side) -> bool {
        self.hits(key, hash)
            .any(|hit| hit.link.is_some() && self.reaches(&hit, Direction::In, hit.side(side)))
    }

    /// What the rule that made the face at `side` was asked about: the tuple of the first packet in front of its hook.
    pub fn asked_for(&self, record: RecordId, class: &Class, side: Side) -> Tuple {
        let key = self.key(record);
        let Key { af, proto, zone, address: [src, dst], port: [sport, dport] } = key;
        let [asked, _] = match self.tuples(record) {
            Some(tuples) => tuples.at(class.direction),
            None => [Ends::of(&key, false); 2],
        };
        asked.tuple(class.maker(side), Tuple { af, proto, zone, src, dst, sport, dport })
    }

    /// The tuples of a record's packets; `None` if they are translated at neither hook.
    pub fn tuples(&self, record: RecordId) -> Option<Tuples> {
        let first = self.first_link(record)?;
        let own = self.links.line(first).own();
        let initiator = if own.has(Direction::In, Side::Low) { Side::Low } else { Side::High };
        let other = initiator.other();
        let near = Ends::of(&self.key(record), false);
        let (mut between, mut far) = (None, None);
        let mut next = Some(first);
        while let Some(id) = next {
            let reach = self.links.line(id).reach();
            let ends = Ends::of(&self.link_key(id), self.is_swapped(id));
            if reach.has(Direction::Out, other) {
                between.get_or_insert(ends);
            }
            if reach.has(Direction::In, other) {
                far.get_or_insert(ends);
            }
            next = self.next_link(id);
        }
        let between = between.or(far.filter(|far| far.af != near.af)).unwrap_or(near);
        Some(Tuples { initiator, near, between, far: far.unwrap_or(between) })
    }

    /// What both ends of a packet that has passed both hooks were as its sender sent it, if it was translated. `sender` is a
    /// side of its key.
    pub fn as_sent(&self, key: &Key, hash: KeyHash, sender: Side) -> Option<(Ends, Side)> {
        self.hits(key, hash).find_map(|hit| {
            let (tuples, sender) = (self.tuples(hit.record)?, hit.side(sender));
            match (hit.link, sender == tuples.initiator) {
                (Some(_), true) => Some((tuples.near, sender)),
                (None, false) => Some((tuples.far, sender)),
                _ => None,
            }
        })
    }

    /// Has packets find a connection by what a hook has made of its first packet.
    ///
    /// # Errors
    /// [`Full::Shard`]; nothing was changed then.
    pub fn add_tuple(&mut self, turned: &Turned<'_>) -> Result<(), Full> {
        let Turned { record, own_hash, initiator, direction, key, hash, sender, foreign } = *turned;
        let [near, between, wire] = reaches(initiator);
        // Translated before, the record's own tuple is not what packets have between the hooks.
        let before = self.first_link(record);
        let (reach, own) = match (direction, before) {
            _ if key.af != self.key(record).af => (wire, near),
            (Direction::Out, Some(_)) => (wire, near),
            (direction, _) => reach_of_only(direction, initiator),
        };
        let new = NewLink {
            key: Narrow::of(key),
            wide: &key.address,
            hash,
            swapped: sender != initiator,
            reach,
            own,
            foreign,
            alone: false,
        };
        self.link(record, own_hash, &new)?;
        if let Some(before) = before {
            self.links.line_mut(before).set_reach(between);
        }
        Ok(())
    }

    /// Has packets find a connection that is new by what one hook alone has made of its first packet: a tuple that nobody has.
    ///
    /// # Errors
    /// [`Full::Shard`]; nothing was changed then.
    #[inline(always)]
    pub fn add_new_tuple(
        &mut self,
        record: RecordId,
        (own_hash, initiator): (KeyHash, Side),
        new: &NewTuple,
    ) -> Result<(), Full> {
        let NewTuple { direction, key, ref wide, hash, sender, foreign } = *new;
        let (reach, own) = reach_of_only(direction, initiator);
        let swapped = sender != initiator;
        let new = NewLink { key, wide, hash, swapped, reach, own, foreign, alone: true };
        self.link(record, own_hash, &new).map(drop)
    }
}

/// Which faces packets meet by a tuple in front of, between and behind the hooks of the first one.
#[inline]
const fn reaches(initiator: Side) -> [Reach; 3] {
    let other = initiator.other();
    let between = Reach::NONE.with(Direction::Out, initiator).with(Direction::Out, other);
    [Reach::NONE.with(Direction::In, initiator), between, Reach::NONE.with(Direction::In, other)]
}

/// Which faces packets meet by the tuple that the hook of `direction` alone has made of the record's own, and which by that.
#[inline]
const fn reach_of_only(direction: Direction, initiator: Side) -> (Reach, Reach) {
    let [near, between, wire] = reaches(initiator);
    match direction {
        Direction::In => (between.union(wire), near),
        Direction::Out => (wire, between.union(near)),
    }
}
