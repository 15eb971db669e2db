//! What a record carries of its [translation](super::super::course), in place of its pair and of what leads to its next hops.
//!
//! Ownership: the record. Bounds: the eight bytes of what it stands in place of.

use wire::checksum::Delta;

use super::super::adjacency::AdjacencyId;
use super::super::course::CourseId;
use super::super::index::LinkId;
use super::{CARRIES_AT, Hot, PairId, end_bits};

/// What a record whose translation is [known by its line alone](super::super::course) has in place of its pair and its next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Carried {
    /// The IPv4 address that one of the ends is given, in network byte order; of IPv6 what it adds to
    /// checksums, as [`of_delta`](Self::of_delta) has it.
    pub address: [u8; 4],
    /// The port that it is given, likewise.
    pub port: [u8; 2],
    pub course: CourseId,
}

impl Carried {
    /// What stands in place of the address where addresses stand beside the record.
    pub const fn of_delta(delta: Delta) -> [u8; 4] {
        let [a, b] = delta.to_ne_bytes();
        [a, b, 0, 0]
    }

    /// [`of_delta`](Self::of_delta) undone.
    #[inline(always)]
    pub const fn delta(&self) -> Delta {
        let [a, b, ..] = self.address;
        Delta::from_ne_bytes([a, b])
    }
}

impl Hot {
    #[inline(always)]
    pub const fn carries(&self) -> bool {
        self.standing[CARRIES_AT] & end_bits::CARRIES != 0
    }

    /// What the record carries of its translation, if it does.
    #[inline(always)]
    pub(in super::super) fn carried(&self) -> Option<Carried> {
        self.carries().then(|| self.as_carried())
    }

    /// As [`Self::carried`]; meaningless of a record that carries nothing.
    #[inline(always)]
    pub(in super::super) const fn as_carried(&self) -> Carried {
        let [AdjacencyId(port), AdjacencyId(course)] = self.adjacency;
        let (address, port) = (self.pair.to_ne_bytes(), port.to_ne_bytes());
        Carried { address, port, course: CourseId(course) }
    }

    /// Has the record, whose first link is beside it, carry its translation.
    pub(in super::super) const fn carry(&mut self, Carried { address, port, course }: Carried) {
        self.standing[CARRIES_AT] |= end_bits::CARRIES;
        self.pair = u32::from_ne_bytes(address);
        self.adjacency = [AdjacencyId(u16::from_ne_bytes(port)), AdjacencyId(course.0)];
    }

    /// Has the record, if it carries its translation, lead to its pair and to its link again.
    #[inline]
    pub const fn lay_down(&mut self, pair: PairId, link: LinkId) {
        if self.carries() {
            self.standing[CARRIES_AT] &= !end_bits::CARRIES;
            self.pair = pair.0;
            self.set_link(Some(link));
        }
    }
}
