//! Next hops that connections remember, so that their packets need no route lookup.
//!
//! Overview: a record keeps the number of an [`Adjacency`] for each sender. What was decided of the tuple on the way to
//! that next hop (that it may be forwarded at all, the route, both faces) holds as long as neither the ruleset nor the
//! forwarding base changes: with either begins a new epoch, and what was remembered in an earlier one is forgotten when it
//! is met. Life cycle: numbers of earlier epochs are given out again after the sweep has visited every record once.
//! Ownership: the shard. Bounds: [`ADJACENCIES_MAX`] numbers; while there is none, routes are looked up.

use bytemuck::Zeroable;
use hashbrown::HashMap;
use wire::Mac;

use crate::fib::InterfaceId;
use crate::mirror::PlanId;
use crate::rewrite::link;

/// Places for next hops; the first stays empty.
const PLACES: usize = 4096;

/// The most next hops that are remembered at a time, those of earlier epochs included.
const ADJACENCIES_MAX: usize = PLACES - 1;

/// The number of an adjacency; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub(crate) struct AdjacencyId(pub u16);

impl AdjacencyId {
    pub const NONE: Self = Self(0);
}

/// A way through the firewall: where packets come from, and what they need to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

impl Adjacency {
    /// From `arrival` to a next hop at `destination`, by way of `out`, which sends from `source`.
    pub const fn new(
        arrival: InterfaceId,
        out: InterfaceId,
        mtu: u16,
        source: Mac,
        destination: Mac,
    ) -> Self {
        Self { arrival, out, mtu, link: link(destination, source), plan: PlanId::NONE }
    }

    /// From one port of a pair to the other; the Ethernet header stays as it is.
    pub const fn bridged(arrival: InterfaceId, out: InterfaceId, mtu: u16) -> Self {
        Self { arrival, out, mtu, link: [0; 12], plan: PlanId::NONE }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    /// 0 where there never was one.
    epoch: u32,
    adjacency: Adjacency,
}

/// From which interface to which, and in which epoch that was decided: all that an entry begins with, compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg(u64);

impl Entry {
    #[inline(always)]
    const fn leg(&self) -> Leg {
        Leg::new(self.epoch, self.adjacency.arrival, self.adjacency.out)
    }
}

impl Leg {
    #[inline(always)]
    const fn new(epoch: u32, from: InterfaceId, to: InterfaceId) -> Self {
        Self(epoch as u64 | (from.0 as u64) << 32 | (to.0 as u64) << 48)
    }
}

const EMPTY: Entry = Entry { epoch: 0, adjacency: Adjacency::bridged(InterfaceId(0), InterfaceId(0), 0) };

/// Everything that is remembered.
#[derive(Debug)]
pub(crate) struct Adjacencies {
    /// The ruleset and the forwarding base of this epoch.
    seen: Option<(u32, u32)>,
    epoch: u32,
    /// By number: a lookup needs no check of its bounds.
    entries: Box<[Entry; PLACES]>,
    /// Places that were ever taken, the first included.
    taken: usize,
    numbers: HashMap<Adjacency, AdjacencyId>,
    free: Vec<AdjacencyId>,
    /// Records that the sweep has visited in this epoch.
    swept: usize,
    reclaimed: bool,
}

impl Adjacencies {
    pub fn new() -> Self {
        Self {
            seen: None,
            epoch: 0,
            entries: Box::new([EMPTY; PLACES]),
            taken: 1,
            numbers: HashMap::with_capacity(ADJACENCIES_MAX),
            free: Vec::with_capacity(ADJACENCIES_MAX),
            swept: 0,
            reclaimed: false,
        }
    }

    /// Begins a new epoch if the ruleset or the forwarding base is another one than before; true if so.
    #[inline]
    pub fn observe(&mut self, root: u32, fib: u32) -> bool {
        let is_new = self.seen != Some((root, fib));
        if is_new {
            self.renew(root, fib);
        }
        is_new
    }

    #[cold]
    fn renew(&mut self, root: u32, fib: u32) {
        self.seen = Some((root, fib));
        // 0 is what empty places have.
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.numbers.clear();
        (self.swept, self.reclaimed) = (0, false);
    }

    /// The adjacency of this number, if it is of this epoch.
    #[inline(always)]
    pub fn get(&self, id: AdjacencyId) -> Option<&Adjacency> {
        let entry = &self.entries[usize::from(id.0) % PLACES];
        (entry.epoch == self.epoch).then_some(&entry.adjacency)
    }

    /// What [`along`](Self::along) finds adjacencies of this epoch by.
    #[inline]
    pub const fn leg(&self, from: InterfaceId, to: InterfaceId) -> Leg {
        Leg::new(self.epoch, from, to)
    }

    /// The adjacency of this number, if it leads along this way.
    #[inline(always)]
    pub fn along(&self, id: AdjacencyId, leg: Leg) -> Option<&Adjacency> {
        let entry = &self.entries[usize::from(id.0) % PLACES];
        (entry.leg() == leg).then_some(&entry.adjacency)
    }

    /// The number of an adjacency; none if all are in use.
    pub fn number(&mut self, adjacency: Adjacency, records: usize) -> AdjacencyId {
        if let Some(id) = self.numbers.get(&adjacency) {
            return *id;
        }
        if self.free.is_empty() && self.swept >= records && !self.reclaimed {
            self.reclaim();
        }
        let entry = Entry { epoch: self.epoch, adjacency };
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.taken < PLACES => {
                self.taken += 1;
                AdjacencyId((self.taken - 1) as u16)
            }
            None => return AdjacencyId::NONE,
        };
        self.entries[usize::from(id.0)] = entry;
        self.numbers.insert(adjacency, id);
        id
    }

    /// No record has a number of an earlier epoch any more: they are free.
    fn reclaim(&mut self) {
        self.reclaimed = true;
        let taken = self.entries[..self.taken].iter().enumerate().skip(1);
        let stale = taken.filter(|(_, entry)| entry.epoch != self.epoch);
        self.free.extend(stale.map(|(at, _)| AdjacencyId(at as u16)));
    }

    /// The sweep has visited so many more records, and taken numbers of earlier epochs away from them.
    pub const fn count_swept(&mut self, records: usize) {
        self.swept = self.swept.saturating_add(records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjacency(number: u16) -> Adjacency {
        Adjacency::new(InterfaceId(0), InterfaceId(number), 1500, Mac([0; 6]), Mac([1; 6]))
    }

    #[test]
    fn a_number_means_nothing_in_another_epoch() {
        let mut all = Adjacencies::new();
        all.observe(1, 1);
        let id = all.number(adjacency(7), 100);
        assert_eq!(all.get(id), Some(&adjacency(7)));
        assert_eq!(all.number(adjacency(7), 100), id);
        for (root, fib) in [(1, 2), (2, 2)] {
            all.observe(root, fib);
            assert_eq!(all.get(id), None);
        }
        assert_eq!(all.get(AdjacencyId::NONE), None);
    }

    #[test]
    fn numbers_are_used_again_only_after_a_whole_sweep() {
        let mut all = Adjacencies::new();
        all.observe(1, 1);
        for number in 0..ADJACENCIES_MAX as u16 {
            assert_ne!(all.number(adjacency(number), 100), AdjacencyId::NONE);
        }
        assert_eq!(all.number(adjacency(5000), 100), AdjacencyId::NONE);
        all.observe(1, 2);
        all.count_swept(99);
        assert_eq!(all.number(adjacency(5000), 100), AdjacencyId::NONE);
        all.count_swept(1);
        let id = all.number(adjacency(5000), 100);
        assert_eq!(all.get(id), Some(&adjacency(5000)));
    }
}
