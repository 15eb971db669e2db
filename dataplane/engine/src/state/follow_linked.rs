//! The short way of a packet whose connection is translated.
//!
//! Overview: as [`follow`](super::follow), for a record with one further tuple. A packet from the initiator's side is found
//! by the record's own tuple and leaves by the link's, one from the other side the other way round; the link's line has the
//! next hops, and what a rewriting adds to checksums.
//! Bounds: one hot line and one of a link, and half a line of addresses each for IPv6.

use ruleset::Direction;
use wire::checksum::Delta;

use super::adjacency::{Adjacencies, Adjacency, Leg};
use super::follow::{Moment, fits};
use super::index::{LinkId, RecordId};
use super::key::{Family, Narrow, Side};
use super::link::{Deltas, Link};
use super::table::Connections;
use crate::Address;
use crate::mirror::PlanId;
use crate::quick::Quick;

/// What a packet is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The source address in the upper half, the destination in the lower: of IPv4.
    pub ends: u64,
    /// The source port in the upper half.
    pub ports: u32,
    /// Source and destination of IPv6; nothing of IPv4, whose are memory that was never touched.
    pub wide: [Address; 2],
    pub deltas: Deltas,
}

/// A linked record and its first link, as they are found ahead of a packet's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    record: RecordId,
    link: LinkId,
}

impl Way {
    /// There is none.
    pub const NONE: Self = Self { record: RecordId::NONE, link: LinkId(u32::MAX) };

    #[inline(always)]
    pub const fn is_some(&self) -> bool {
        self.record.0 != RecordId::NONE.0
    }

    /// The packet has the record's own tuple, and not the link's.
    #[inline(always)]
    const fn is_own(&self, quick: &Quick) -> bool {
        quick.hint.0 == self.record.0
    }
}

impl Connections {
    /// True if any connection was ever translated.
    #[inline(always)]
    pub const fn has_links(&self) -> bool {
        self.links.used() > 0
    }

    /// What a packet with this hint, whose line [`prefetch_record`] has loaded, takes the short way of a translated connection
    /// by. Starts loading what that reads besides.
    ///
    /// [`prefetch_record`]: Self::prefetch_record
    #[inline(always)]
    pub fn find_way(&self, hint: RecordId, family: Family) -> Way {
        match hint.link() {
            Some(link) => {
                let Some(record) = self.links.get(link).map(Link::record) else { return Way::NONE };
                self.prefetch_record(record);
                if family == Family::Inet6 {
                    self.prefetch_addresses(record);
                }
                Way { record, link }
            }
            None => {
                let found = self.hot.get(hint.0 as usize).and_then(|hot| hot.link());
                let Some(link) = found else { return Way::NONE };
                self.links.prefetch(link);
                if family == Family::Inet6 {
                    self.links.prefetch_addresses(link);
                }
                Way { record: hint, link }
            }
        }
    }

    /// As [`next_hop`](Self::next_hop), of a translated connection.
    #[inline(always)]
    pub fn next_hop_linked<'a>(
        &self,
        quick: &Quick,
        way: &Way,
        adjacencies: &'a Adjacencies,
    ) -> Option<&'a Adjacency> {
        let line = self.links.get(way.link)?;
        let low = if way.is_own(quick) { Side::Low } else { line.low_side() };
        adjacencies.get(line.next_hops()[quick.sender.from(low).index()])
    }

    /// As [`follow`](Self::follow), of a translated connection: where the packet leaves, and what it is to become.
    #[inline(always)]
    pub fn follow_linked<'a>(
        &mut self,
        quick: &Quick,
        way: &Way,
        moment: &Moment,
        leg: Leg,
        adjacencies: &'a Adjacencies,
    ) -> Option<(&'a Adjacency, Change)> {
        // Packets of a burst mostly go the same way.
        if way.is_own(quick) {
            self.follow_by::<true>(quick, way, moment, leg, adjacencies)
        } else {
            self.follow_by::<false>(quick, way, moment, leg, adjacencies)
        }
    }

    /// Follows a packet that was found by its record's own tuple, or by the link's.
    #[inline(always)]
    fn follow_by<'a, const BY_OWN: bool>(
        &mut self,
        quick: &Quick,
        way: &Way,
        moment: &Moment,
        leg: Leg,
        adjacencies: &'a Adjacencies,
    ) -> Option<(&'a Adjacency, Change)> {
        let Way { record, link } = *way;
        let (line, hot) = (self.links.get(link)?, self.hot.get_mut(record.0 as usize)?);
        // A record that leads to this link and to no other: with two, the tuple between the hooks is a third one.
        if hot.link() != Some(link) || !line.is_last() {
            return None;
        }
        let (own, other) = ((hot.narrow(), Side::Low), (line.narrow(), line.low_side()));
        let ((key, low), (new_key, new_low), reach) =
            if BY_OWN { (own, other, line.own()) } else { (other, own, line.reach()) };
        let sender = quick.sender.from(low);
        if *key != quick.key || !reach.has(Direction::In, sender) {
            return None;
        }
        let mut new_wide = [Address(0); 2];
        if quick.key.family() == Family::Inet6 {
            let (own, other) = (&self.wide[record.0 as usize], self.links.addresses(link));
            let (wide, new) = if BY_OWN { (own, other) } else { (other, own) };
            if *wide != quick.wide {
                return None;
            }
            new_wide = *new;
        }
        let (new_key, new_sender) = (*new_key, sender.from(new_low));
        let adjacency = adjacencies.along(line.next_hops()[sender.index()], leg)?;
        let tally = self.pairs.tally(hot.pair())?;
        let is_as_usual =
            adjacency.plan == PlanId::NONE && quick.length <= adjacency.mtu && hot.has_room(sender);
        if !is_as_usual || !fits::<true>(hot, tally.lifetime(), quick, sender, moment) {
            return None;
        }
        hot.touch(moment.now);
        tally.count(sender, u32::from(quick.length));
        hot.count(sender, u32::from(quick.length));
        let deltas = if BY_OWN { line.deltas() } else { line.deltas().reversed() };
        Some((adjacency, change(&new_key, &new_wide, new_sender, deltas)))
    }
}

#[inline(always)]
fn change(key: &Narrow, wide: &[Address; 2], sender: Side, deltas: Deltas) -> Change {
    let (ends, ports) = key.as_sent(sender);
    let wide = [sender, sender.other()].map(|side| wide[side.index()]);
    Change { ends, ports, wide, deltas }
}

impl Deltas {
    fn reversed(self) -> Self {
        let [addresses, both] = [self.addresses, self.both].map(Delta::reversed);
        Self { addresses, both }
    }
}
