//! How the packets of translated connections go, as far as many connections have it in common.
//!
//! Overview: a translated record that remembers its next hops in both directions *carries its translation*: in place of its
//! pair and its next hops, its line has the address and the port that one of its ends is given, and the number of a
//! [`Course`], which has the rest. So packets of either tuple are followed by that line alone; the [link](super::link)
//! beside the record is read by hooks, listings and removal. What is carried is laid down again before anything of it
//! changes. Life cycle and bounds: those of [`Remembered`], with 65,535 numbers; while there is none, packets meet the hooks.
//! Ownership: the shard.

use bytemuck::Zeroable;
use ruleset::Direction;
use wire::checksum::Delta;

use super::adjacency::{Adjacencies, AdjacencyId};
use super::index::{LinkId, RecordId};
use super::key::{Family, Key, Side};
use super::link::Link;
use super::record::{Carried, PairId};
use super::remembered::Remembered;
use super::table::Connections;
use super::tuples::Ends;
use crate::mirror::PlanId;

const PLACES: usize = 1 << 16;

/// All courses that are remembered.
pub(super) type Courses = Remembered<Course, PLACES>;

/// The number of a course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CourseId(pub u16);

/// Which end of a packet is given another address and another port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Zeroable)]
#[repr(u8)]
pub(crate) enum Which {
    Source = 0,
    Destination = 1,
}

/// What translated connections have in common. Of what there are two of, one is of the packets that come by the record's own tuple,
/// the other of those that come by the link's: each from one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Zeroable)]
#[repr(C)]
pub(super) struct Course {
    /// The record's faces.
    pub pair: PairId,
    next_hop: [AdjacencyId; 2],
    /// The record's side that they come from.
    sender: [Side; 2],
    /// The side of their own tuple that they come from.
    met: [Side; 2],
    end: [Which; 2],
    /// The side that is given another address, another port, or both: of the record's own tuple, and of the link's.
    pub given: [Side; 2],
}

impl Course {
    #[inline(always)]
    pub const fn next_hop<const BY_OWN: bool>(&self) -> AdjacencyId {
        self.next_hop[!BY_OWN as usize]
    }

    #[inline(always)]
    pub const fn sender<const BY_OWN: bool>(&self) -> Side {
        self.sender[!BY_OWN as usize]
    }

    #[inline(always)]
    pub const fn met<const BY_OWN: bool>(&self) -> Side {
        self.met[!BY_OWN as usize]
    }

    #[inline(always)]
    pub const fn end<const BY_OWN: bool>(&self) -> Which {
        self.end[!BY_OWN as usize]
    }
}

impl Connections {
    /// What was decided of connections does not hold any more.
    pub fn forget_courses(&mut self) {
        self.courses.renew();
    }

    /// The faces of a record.
    #[inline]
    pub(super) fn pair(&self, id: RecordId) -> PairId {
        let hot = &self.hot[id.0 as usize];
        match hot.carried() {
            None => hot.pair(),
            Some(carried) => self.courses.entry(carried.course.0).value.pair,
        }
    }

    /// Has a record carry its translation, if that is of the plainest kind and the record remembers where packets of both its
    /// sides go.
    pub(super) fn carry(&mut self, id: RecordId, adjacencies: &Adjacencies) {
        let link = LinkId::beside(id);
        if self.first_link(id) != Some(link) {
            return;
        }
        let line = self.links.line(link);
        // With two links, the tuple between the hooks is a third one.
        if !line.is_last() || !line.next_hops().iter().all(|hop| is_plain(*hop, adjacencies)) {
            return;
        }
        let keys = [self.key(id), self.link_key(link)];
        let (own, other) = (Ends::of(&keys[0], false), Ends::of(&keys[1], line.is_swapped()));
        let (Some(given), Some(answering)) = (given(&own, &other), answering(line)) else { return };
        let (address, port) = other.end(given);
        let address = match self.hot[id.0 as usize].family() {
            Family::Inet => address.v4().to_be_bytes(),
            // Addresses stand beside records and links: what they add to checksums is carried.
            Family::Inet6 => Carried::of_delta(delta(&keys[0], &keys[1])),
        };
        let (low, sender) = (line.low_side(), [answering.other(), answering]);
        let course = Course {
            pair: self.pair(id),
            next_hop: sender.map(|side| line.next_hops()[side.index()]),
            sender,
            met: [sender[0], sender[1].from(low)],
            end: sender.map(|side| if side == given { Which::Source } else { Which::Destination }),
            given: [given, given.from(low)],
        };
        if let Some(number) = self.courses.number(course, self.numbers.used()) {
            let carried = Carried { address, port: port.0.to_be_bytes(), course: CourseId(number) };
            self.hot[id.0 as usize].carry(carried);
        }
    }

    /// Has a record that carries its translation have its pair and its link in its line again; no effect on others.
    #[inline]
    pub(super) fn lay_down(&mut self, id: RecordId) {
        if self.hot[id.0 as usize].carries() {
            let pair = self.pair(id);
            self.hot[id.0 as usize].lay_down(pair, LinkId::beside(id));
        }
    }

    /// True if a record carries what was numbered in an earlier epoch.
    #[inline]
    pub(super) fn is_stale(&self, carried: Carried) -> bool {
        self.courses.get(carried.course.0).is_none()
    }
}

/// How checksums of both addresses and ports change from one key to another; the way back is [`reversed`](Delta::reversed). A sum
/// does not depend on the order of what is added, so which end is the low one does not matter.
pub(super) fn delta(old: &Key, new: &Key) -> Delta {
    let addresses = [old, new].map(|key| key.address.map(|address| address.0.to_be_bytes()));
    let ports = [old, new].map(|key| key.port.map(|port| port.0.to_be_bytes()));
    let addresses = Delta::of(addresses[0].as_flattened(), addresses[1].as_flattened());
    addresses.and(Delta::of(ports[0].as_flattened(), ports[1].as_flattened()))
}

/// The side of the end that differs, if one does and the other does not.
fn given(own: &Ends, other: &Ends) -> Option<Side> {
    let differs = |side| own.end(side) != other.end(side);
    match Side::BOTH.map(differs) {
        [true, false] if own.af() == other.af() => Some(Side::Low),
        [false, true] if own.af() == other.af() => Some(Side::High),
        _ => None,
    }
}

/// The side whose packets enter by the tuple of a record's only link, if those of the other side enter by the record's own.
fn answering(line: &Link) -> Option<Side> {
    let enters =
        |side: &Side| line.reach().has(Direction::In, *side) && line.own().has(Direction::In, side.other());
    Side::BOTH.into_iter().find(enters)
}

/// True if packets go to a next hop of this epoch, and are not copied on the way.
fn is_plain(hop: AdjacencyId, adjacencies: &Adjacencies) -> bool {
    adjacencies.get(hop).is_some_and(|adjacency| adjacency.plan == PlanId::NONE)
}
