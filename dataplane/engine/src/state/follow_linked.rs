//! The short way of a packet whose connection is translated.
//!
//! Overview: as [`follow`](super::follow), for a record that [carries](super::course) its translation. A packet from the
//! side whose end is known by the record's own tuple leaves by the link's, one from the other side the other way round.
//! What either tuple is follows from the other and from what is carried, and what a rewriting adds to checksums from both.
//! Bounds: one hot line, as without translation; for IPv6 half a line of addresses of each tuple besides.

use wire::checksum::Delta;

use super::adjacency::{Adjacencies, Adjacency, AdjacencyId, Leg};
use super::course::{Course, Which};
use super::follow::{Moment, fits};
use super::index::{LinkId, RecordId};
use super::key::{Family, Narrow};
use super::record::{Carried, Hot};
use super::table::Connections;
use crate::Address;
use crate::quick::Quick;

/// What a packet of IPv4 is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub end: Which,
    /// In network byte order.
    pub address: [u8; 4],
    /// Likewise.
    pub port: [u8; 2],
}

/// What a packet of IPv6 is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WideChange<'a> {
    pub end: Which,
    pub address: &'a Address,
    /// In network byte order.
    pub port: [u8; 2],
    /// Of both addresses and ports.
    pub delta: Delta,
}

/// By which tuple packets find the record of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its only one.
    Plain,
    /// The record's own, where it carries its translation.
    Own,
    /// That of the link beside it.
    Link,
}

impl Connections {
    /// True if any connection was ever translated.
    #[inline(always)]
    pub const fn has_links(&self) -> bool {
        self.links.in_use()
    }

    /// Starts loading what a packet with this hint is followed by, where connections may be translated.
    #[inline(always)]
    pub fn prefetch_either(&self, hint: RecordId, family: Family) {
        let link = hint.link();
        let record = link.map_or(hint, LinkId::record);
        self.prefetch_record(record);
        if family == Family::Inet6 {
            self.prefetch_addresses(record);
            self.links.prefetch_addresses(LinkId::beside(record));
        }
    }

    /// By which tuple a packet with this hint was found.
    #[inline(always)]
    pub fn way(&self, hint: RecordId) -> Way {
        match (hint.link(), self.hot.get(hint.0 as usize)) {
            (Some(_), _) => Way::Link,
            (None, Some(hot)) if hot.carries() => Way::Own,
            _ => Way::Plain,
        }
    }

    /// As [`next_hop`](Self::next_hop), of a translated connection, which was found by its record's own tuple or by its link's.
    #[inline(always)]
    pub fn next_hop_linked<'a, const BY_OWN: bool>(
        &self,
        quick: &Quick,
        adjacencies: &'a Adjacencies,
    ) -> Option<&'a Adjacency> {
        let carried = self.hot.get(of::<BY_OWN>(quick.hint).0 as usize)?.carried()?;
        adjacencies.get(self.courses.get(carried.course.0)?.next_hop::<BY_OWN>())
    }

    /// As [`follow`](Self::follow), of a translated connection, which was found by its record's own tuple or by its link's. What is
    /// to become of the packet, [`change`](Self::change) and [`wide_change`](Self::wide_change) tell afterwards.
    #[inline(always)]
    pub fn follow_linked<const BY_OWN: bool>(
        &mut self,
        quick: &Quick,
        moment: &Moment,
        leg: Leg,
        adjacencies: &Adjacencies,
    ) -> Option<()> {
        let at = of::<BY_OWN>(quick.hint).0 as usize;
        let hot = self.hot.get_mut(at)?;
        let carried = hot.carried()?;
        let course = &self.courses.entry(carried.course.0).value;
        let adjacency = adjacencies.along(course.next_hop::<BY_OWN>(), leg)?;
        let sender = course.sender::<BY_OWN>();
        let is_found = match (quick.key.family(), BY_OWN) {
            (Family::Inet, true) => hot.has_key(&quick.key),
            (Family::Inet, false) => is_linked(hot.narrow(), &carried, course, &quick.key),
            (Family::Inet6, true) => hot.has_key(&quick.key) && self.wide.get(at) == Some(&quick.wide),
            (Family::Inet6, false) => {
                is_linked_but_for_addresses(hot.narrow(), &carried, course, &quick.key)
                    && self.links.all_addresses().get(at) == Some(&quick.wide)
            }
        };
        if !is_found || quick.sender != course.met::<BY_OWN>() {
            return None;
        }
        let tally = self.pairs.tally(course.pair)?;
        let is_as_usual = quick.length <= adjacency.mtu && hot.has_room(sender);
        if !is_as_usual || !fits::<true>(hot, tally.lifetime(), quick, sender, moment) {
            return None;
        }
        hot.touch(moment.now);
        tally.count(sender, u32::from(quick.length));
        hot.count(sender, u32::from(quick.length));
        Some(())
    }

    /// The record of a packet that was followed.
    #[inline(always)]
    pub fn followed<const BY_OWN: bool>(&self, quick: &Quick) -> Option<&Hot> {
        self.hot.get(of::<BY_OWN>(quick.hint).0 as usize)
    }

    /// What a packet of IPv4 that was followed is to become, and the next hop that it goes to, as its record has it.
    #[inline(always)]
    pub fn change<const BY_OWN: bool>(&self, hot: &Hot) -> (Change, AdjacencyId) {
        let carried = hot.as_carried();
        let course = &self.courses.entry(carried.course.0).value;
        let (own, given) = (hot.narrow(), course.given[0]);
        let (address, port) = match BY_OWN {
            true => (carried.address, carried.port),
            false => (own.address(given).to_be_bytes(), own.port(given).0.to_be_bytes()),
        };
        (Change { end: course.end::<BY_OWN>(), address, port }, course.next_hop::<BY_OWN>())
    }

    /// As [`change`](Self::change), of IPv6, whose addresses stand beside the record and its link.
    #[inline(always)]
    pub fn wide_change<const BY_OWN: bool>(
        &self,
        quick: &Quick,
        hot: &Hot,
    ) -> Option<(WideChange<'_>, AdjacencyId)> {
        let at = of::<BY_OWN>(quick.hint).0 as usize;
        let carried = hot.as_carried();
        let course = &self.courses.entry(carried.course.0).value;
        // Addresses stand in the order of their own tuple.
        let [own_side, side] = course.given;
        let (address, port, delta) = match BY_OWN {
            true => (&self.links.all_addresses().get(at)?[side.index()], carried.port, carried.delta()),
            false => {
                let port = hot.narrow().port(own_side).0.to_be_bytes();
                (&self.wide.get(at)?[own_side.index()], port, carried.delta().reversed())
            }
        };
        let change = WideChange { end: course.end::<BY_OWN>(), address, port, delta };
        Some((change, course.next_hop::<BY_OWN>()))
    }
}

/// True if a tuple of IPv4 is that of the link beside a record: as the record's own, with what that carries at one of the ends.
#[inline(always)]
fn is_linked(own: &Narrow, carried: &Carried, course: &Course, key: &Narrow) -> bool {
    let [own_side, side] = course.given;
    let given = key.address(side) ^ u32::from_be_bytes(carried.address);
    let other = key.address(side.other()) ^ own.address(own_side.other());
    given | other == 0 && is_linked_but_for_addresses(own, carried, course, key)
}

/// As [`is_linked`], where the addresses stand elsewhere.
#[inline(always)]
fn is_linked_but_for_addresses(own: &Narrow, carried: &Carried, course: &Course, key: &Narrow) -> bool {
    let [own_side, side] = course.given;
    let given = key.port(side).0 ^ u16::from_be_bytes(carried.port);
    let other = key.port(side.other()).0 ^ own.port(own_side.other()).0;
    given | other == 0 && key.about() == own.about()
}

/// The record that a hint leads to by its own tuple, or by that of the link beside it; a number that no record has if it leads
/// there by the other one, or nowhere.
#[inline(always)]
const fn of<const BY_OWN: bool>(hint: RecordId) -> RecordId {
    if BY_OWN { hint } else { RecordId(hint.0 ^ RecordId::LINKS) }
}
