//! Next hops that connections remember, so that their packets need no route lookup.
//!
//! Overview: a record keeps the number of an [`Adjacency`] for each sender. What was decided of the tuple on the way to
//! that next hop (that it may be forwarded at all, the route, both faces) holds as long as neither the ruleset nor the
//! forwarding base changes: with either begins a new epoch, and what was remembered in an earlier one is forgotten when it
//! is met. Life cycle and bounds: those of [`Remembered`], with 4,095 numbers; while there is none, routes are looked up.
//! Ownership: the shard.

use bytemuck::Zeroable;
use wire::Mac;

use super::remembered::{Entry, Remembered};
use crate::fib::InterfaceId;
use crate::mirror::PlanId;
use crate::rewrite::link;
use crate::scrub::Retouch;

/// Places for next hops, those of earlier epochs included; the first stays empty.
const PLACES: usize = 4096;

/// The number of an adjacency; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Zeroable)]
pub(crate) struct AdjacencyId(pub u16);

impl AdjacencyId {
    pub const NONE: Self = Self(0);
}

/// A way through the firewall: where packets come from, and what they need to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Zeroable)]
#[repr(C)]
pub(crate) struct Adjacency {
    pub arrival: InterfaceId,
    pub out: InterfaceId,
    /// The largest IP datagram that the link takes, in bytes.
    pub mtu: u16,
    /// Destination and source of the Ethernet header, where they change.
    pub link: [u8; 12],
    /// By which packets are copied on their way, if they are.
    pub plan: PlanId,
    /// What is changed of their headers beside.
    pub retouch: Retouch,
}

impl Adjacency {
    /// In place of the addresses of a frame that keeps its own.
    const KEPT: [u8; 12] = [0; 12];

    /// From `arrival` to a next hop at `destination`, by way of `out`, which sends from `source`.
    pub const fn new(
        arrival: InterfaceId,
        out: InterfaceId,
        mtu: u16,
        source: Mac,
        destination: Mac,
    ) -> Self {
        Self {
            arrival,
            out,
            mtu,
            link: link(destination, source),
            plan: PlanId::NONE,
            retouch: Retouch::NOTHING,
        }
    }

    /// True from one port of a pair to the other.
    pub fn is_bridged(&self) -> bool {
        self.link == Self::KEPT
    }

    /// From one port of a pair to the other; the Ethernet header stays as it is.
    pub const fn bridged(arrival: InterfaceId, out: InterfaceId, mtu: u16) -> Self {
        Self { arrival, out, mtu, link: Self::KEPT, plan: PlanId::NONE, retouch: Retouch::NOTHING }
    }
}

/// From which interface to which, and in which epoch that was decided: all that an entry begins with, compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg(u64);

impl Entry<Adjacency> {
    #[inline(always)]
    const fn leg(&self) -> Leg {
        Leg::new(self.epoch, self.value.arrival, self.value.out)
    }
}

impl Leg {
    #[inline(always)]
    const fn new(epoch: u32, from: InterfaceId, to: InterfaceId) -> Self {
        Self(epoch as u64 | (from.0 as u64) << 32 | (to.0 as u64) << 48)
    }
}

/// Everything that is remembered.
#[derive(Debug)]
pub(crate) struct Adjacencies {
    /// The ruleset and the forwarding base of this epoch.
    seen: Option<(u32, u32)>,
    all: Remembered<Adjacency, PLACES>,
    /// Some of this epoch have headers changed.
    retouch: bool,
}

impl Adjacencies {
    pub fn new() -> Self {
        Self { seen: None, all: Remembered::new(), retouch: false }
    }

    /// Begins a new epoch if the ruleset or the forwarding base is another one than before; true if so.
    #[inline]
    pub fn observe(&mut self, root: u32, fib: u32) -> bool {
        let is_new = self.seen != Some((root, fib));
        if is_new {
            self.seen = Some((root, fib));
            self.all.renew();
            self.retouch = false;
        }
        is_new
    }

    /// The adjacency of this number, if it is of this epoch.
    #[inline(always)]
    pub const fn get(&self, id: AdjacencyId) -> Option<&Adjacency> {
        self.all.get(id.0)
    }

    /// The adjacency of this number, of whatever epoch.
    #[inline(always)]
    pub const fn of(&self, id: AdjacencyId) -> &Adjacency {
        &self.all.entry(id.0).value
    }

    /// What [`along`](Self::along) finds adjacencies of this epoch by.
    #[inline]
    pub const fn leg(&self, from: InterfaceId, to: InterfaceId) -> Leg {
        Leg::new(self.all.epoch(), from, to)
    }

    /// The adjacency of this number, if it leads along this way.
    #[inline(always)]
    pub fn along(&self, id: AdjacencyId, leg: Leg) -> Option<&Adjacency> {
        let entry = self.all.entry(id.0);
        (entry.leg() == leg).then_some(&entry.value)
    }

    /// True if packets of some connections have their headers changed.
    #[inline(always)]
    pub const fn retouch(&self) -> bool {
        self.retouch
    }

    /// The number of an adjacency; none if all are in use.
    pub fn number(&mut self, adjacency: Adjacency, records: usize) -> AdjacencyId {
        self.retouch |= !adjacency.retouch.is_nothing();
        self.all.number(adjacency, records).map_or(AdjacencyId::NONE, AdjacencyId)
    }

    /// The sweep has visited so many more records, and taken numbers of earlier epochs away from them.
    pub const fn count_swept(&mut self, records: usize) {
        self.all.count_swept(records);
    }
}
