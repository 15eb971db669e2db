//! The short way of a packet whose connection is translated.
//!
//! Overview: as [`follow`](super::follow), for a record with one further tuple. A packet from the initiator's side is found
//! by the record's own tuple and leaves by the link's, one from the other side the other way round; the link's line has the
//! next hops, and what a rewriting adds to checksums.
//! Bounds: one hot line and one of a link, and half a line of addresses each for IPv6.

use ruleset::Direction;
use wire::checksum::Delta;

use super::adjacency::{Adjacencies, Adjacency};
use super::follow::{Moment, fits};
use super::index::{LinkId, RecordId};
use super::key::{Family, Narrow, Side};
use super::link::Deltas;
use super::table::Connections;
use crate::Address;
use crate::intrinsics::prefetch;
use crate::mirror::PlanId;
use crate::quick::Quick;

/// What a packet is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The source address in the upper half, the destination in the lower: of IPv4.
    pub ends: u64,
    /// The source port in the upper half.
    pub ports: u32,
    /// Source and destination of IPv6.
    pub wide: [Address; 2],
    pub deltas: Deltas,
}

/// A linked record, as a packet has found it.
struct Way {
    record: RecordId,
    link: LinkId,
    /// The side of the record that the packet comes from.
    sender: Side,
    /// It came by the record's own tuple.
    by_own: bool,
}

impl Connections {
    /// True if any connection was ever translated.
    #[inline(always)]
    pub const fn has_links(&self) -> bool {
        self.links.used() > 0
    }

    /// Starts loading what the short way of a translated connection reads besides what [`prefetch_record`] has loaded.
    ///
    /// [`prefetch_record`]: Self::prefetch_record
    #[inline(always)]
    pub fn prefetch_linked(&self, hint: RecordId, family: Family) {
        match hint.link() {
            Some(link) => {
                if let Some(record) = self.links.record_of(link) {
                    self.prefetch_record(record);
                    if family == Family::Inet6 {
                        self.prefetch_addresses(record);
                    }
                }
            }
            None => {
                let Some(link) = self.hot.get(hint.0 as usize).and_then(|hot| hot.link()) else { return };
                prefetch(self.links.line(link));
                if family == Family::Inet6 {
                    self.links.prefetch_addresses(link);
                }
            }
        }
    }

    /// As [`follow`](Self::follow), of a translated connection: where the packet leaves, and what it is to become.
    #[inline]
    pub fn follow_linked<'a>(
        &mut self,
        quick: &Quick,
        moment: &Moment,
        adjacencies: &'a Adjacencies,
    ) -> Option<(&'a Adjacency, Change)> {
        let Way { record, link, sender, by_own } = self.way(quick)?;
        let line = self.links.line(link);
        let adjacency = adjacencies.get(line.next_hops()[sender.index()])?;
        let hot = &mut self.hot[record.0 as usize];
        let tally = self.pairs.tally(hot.pair())?;
        let is_as_usual = adjacency.plan == PlanId::NONE
            && adjacency.arrival == moment.arrival
            && quick.length <= adjacency.mtu;
        if !is_as_usual || !hot.as_if_unlinked(|hot| fits(hot, tally.lifetime(), quick, sender, moment)) {
            return None;
        }
        hot.touch(moment.now);
        tally.count(sender, u32::from(quick.length));
        let deltas = line.deltas();
        let change = if by_own {
            let new_sender = if line.is_swapped() { sender.other() } else { sender };
            change(line.narrow(), self.links.addresses(link), new_sender, deltas)
        } else {
            change(hot.narrow(), &self.wide[record.0 as usize], sender, deltas.reversed())
        };
        if hot.count(sender, u32::from(quick.length)) {
            self.spill(record);
        }
        Some((adjacency, change))
    }

    /// The record that a packet's hint leads to, if it has one link and the packet's tuple is the record's own or the link's.
    fn way(&self, quick: &Quick) -> Option<Way> {
        let is_wide = quick.key.family() == Family::Inet6;
        let way = match quick.hint.link() {
            Some(link) => {
                let line = self.links.line_if_of(link, &quick.key)?;
                if is_wide && *self.links.addresses(link) != quick.wide {
                    return None;
                }
                let sender = if line.is_swapped() { quick.sender.other() } else { quick.sender };
                line.reach().has(Direction::In, sender).then_some(())?;
                Way { record: line.record(), link, sender, by_own: false }
            }
            None => {
                let at = quick.hint.0 as usize;
                let hot = self.hot.get(at)?;
                let link = hot.link()?;
                if !hot.has_key(&quick.key) || is_wide && self.wide[at] != quick.wide {
                    return None;
                }
                self.links.line(link).own().has(Direction::In, quick.sender).then_some(())?;
                Way { record: quick.hint, link, sender: quick.sender, by_own: true }
            }
        };
        // A record that leads to this link and to no other: with two, the tuple between the hooks is a third one.
        let only = self.hot.get(way.record.0 as usize)?.link() == Some(way.link)
            && self.links.line(way.link).is_last();
        only.then_some(way)
    }
}

fn change(key: &Narrow, wide: &[Address; 2], sender: Side, deltas: Deltas) -> Change {
    let (ends, ports) = key.as_sent(sender);
    // For IPv4 they are memory that was never touched, and shall not be.
    let wide = match key.family() {
        Family::Inet => [Address(0); 2],
        Family::Inet6 => [sender, sender.other()].map(|side| wide[side.index()]),
    };
    Change { ends, ports, wide, deltas }
}

impl Deltas {
    fn reversed(self) -> Self {
        let [addresses, ports] = [self.addresses, self.ports].map(Delta::reversed);
        Self { addresses, ports }
    }
}
