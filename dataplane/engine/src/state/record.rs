//! One connection: two cache lines, and a half for the addresses of IPv6.
//!
//! Overview: a record stands for pf's two states of a forwarded connection, one face on each side. What a packet touches
//! is in [`Hot`]; what only listings, removal and rare events need is in [`Cold`]. Numbers are indexed by [`Side`].
//! Life cycle: zeroes, which are no live record, until it is used. Bounds: sizes are asserted below.

mod carried;

use core::time::Duration;

use bytemuck::Zeroable;
use ruleset::{PeerState, Timeout};
use wire::Seq;

use super::adjacency::AdjacencyId;
use super::index::{LinkId, RecordId};
use super::key::{Family, Key, Narrow, Side};
use super::numbers::Numbered;
use crate::track::{self, Advance, End, Peer, Plain};
use crate::{Address, Tick};

pub(super) use carried::Carried;

/// Time in sixteenths of a second since the start: fine enough for time-outs in seconds. It wraps after 8 years, so it has
/// no order: what counts is how much has passed, exact up to half of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub(crate) struct Sixteenths(pub u32);

impl Sixteenths {
    pub const PER_SECOND: u32 = 16;

    #[inline]
    pub const fn of(now: Tick) -> Self {
        Self((now.0 / (1_000_000_000 / Self::PER_SECOND as u64)) as u32)
    }

    /// So many sixteenths, as time.
    pub const fn lasting(sixteenths: u32) -> Duration {
        Duration::from_micros(1_000_000 / Self::PER_SECOND as u64 * sixteenths as u64)
    }

    /// The sixteenths from `earlier` on; none if that is later, as a clock that was set back has it.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        let passed = self.0.wrapping_sub(earlier.0);
        if passed > i32::MAX as u32 { 0 } else { passed }
    }
}

/// The number of a pair-class: what the faces of a record are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Zeroable)]
pub(crate) struct PairId(pub u32);

/// Of what is kept of each end in a byte.
mod end_bits {
    /// The shift of its windows.
    pub const SHIFT: u8 = 0xf;
    /// It announced a shift.
    pub const SCALED: u8 = 1 << 4;
    /// It has been heard.
    pub const SEEN: u8 = 1 << 5;
    /// Of the low side: the high side sent the packet that made the record.
    pub const MADE_BY_HIGH: u8 = 1 << 6;
    /// Of the low side: [faces](super::super::numbering) change sequence numbers.
    pub const RENUMBERED: u8 = 1 << 7;
    /// Of the high side: [timestamps](super::super::stamps) are looked at.
    pub const STAMPED: u8 = 1 << 6;
    /// Of the high side: the record [carries](super::super::course) its translation.
    pub const CARRIES: u8 = 1 << 7;
    /// What is not of an end, but of the record.
    pub const OF_RECORD: u8 = MADE_BY_HIGH | RENUMBERED | STAMPED | CARRIES;
}

/// Places in what a record's standing is.
const CARRIES_AT: usize = Side::High.index();
const STATE: usize = 2;
const TIMER: usize = 3;

/// Beside the class of the timer.
const LIVE: u8 = 1 << 7;
/// Likewise: packets of the connection come by other tuples too, and their [link](super::link) stands where next hops are
/// remembered otherwise. What looks at this byte as a whole sees a connection out of the ordinary.
const LINKED: u8 = 1 << 6;
/// Likewise: the [home](super::alias) of the connection is another worker.
const PLACED: u8 = 1 << 5;

const _: () = assert!(Timeout::ALL.len() <= PLACED as usize);

/// What every packet of a connection reads or writes.
#[derive(Clone, Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Hot {
    /// IPv6 addresses are beside the record.
    key: Narrow,
    ends: [HotEnd; 2],
    /// In one word, as they are looked at together: of each end the [`end_bits`]; at [`STATE`] a [`PeerState`] in each half, the
    /// low side's in the low one; at [`TIMER`] the class of the timer, [`LIVE`], [`LINKED`] and [`PLACED`].
    standing: [u8; 4],
    last_seen: u32,
    /// Of a record that carries its translation, the address that is [`Carried`].
    pair: u32,
    /// By sender: the next hop that the connection remembers. Of a [`LINKED`] record, the halves of its link's number; of one that
    /// carries its translation, the port and the course that are [`Carried`].
    adjacency: [AdjacencyId; 2],
}

#[derive(Clone, Debug, Default, Zeroable)]
#[repr(C)]
struct HotEnd {
    seqlo: u32,
    seqhi: u32,
    bytes: u32,
    max_win: u16,
    packets: u16,
}

/// What packets seldom touch.
#[derive(Clone, Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Cold {
    /// pf's id of the low side's face; the high side's is one more.
    pub id: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
    pub created: Sixteenths,
    /// Counts the uses of this record, so that a link to an earlier one is known to be stale.
    pub generation: u32,
    /// One more than the number of the record with the other face of the connection; 0 is none.
    twin: u32,
    twin_generation: u32,
}

/// A link to the record that holds the other face of the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Twin {
    pub record: u32,
    pub generation: u32,
}

const _: () = assert!(size_of::<Hot>() == 64 && size_of::<Cold>() == 64);

/// Packets from one side before they are [spilt](Hot::spill): of at most 2^16 bytes each, they fit 31 bits, so that the packet
/// counter alone protects both.
const PACKETS_MAX: u16 = 1 << 15;

/// The states of peers by their numbers.
const PEER_STATES: [PeerState; 16] = {
    let mut states = [PeerState::Closed; 16];
    let all = [
        PeerState::Closed,
        PeerState::SynSent,
        PeerState::Established,
        PeerState::Closing,
        PeerState::FinWait2,
        PeerState::TimeWait,
        PeerState::ProxySrc,
        PeerState::ProxyDst,
        PeerState::NoTraffic,
        PeerState::Single,
        PeerState::Multiple,
    ];
    let mut i = 0;
    while i < all.len() {
        states[all[i] as usize] = all[i];
        i += 1;
    }
    states
};

/// The bits of the timer's byte by which a record is known to be out of the ordinary.
const fn looked_at(may_link: bool) -> u8 {
    if may_link { !(PLACED | LINKED) } else { !PLACED }
}

const fn nibble(pair: u8, side: Side) -> u8 {
    pair >> (4 * side as u8) & 0xf
}

const fn with_nibble(pair: u8, side: Side, value: u8) -> u8 {
    let shift = 4 * side as u8;
    pair & !(0xf << shift) | value << shift
}

/// What is kept of an end in a byte, but for who made the record.
#[inline]
fn bits_of(peer: &Peer) -> u8 {
    let scale = peer.wscale.map_or(0, |shift| end_bits::SCALED | shift & end_bits::SHIFT);
    scale | if peer.seen { end_bits::SEEN } else { 0 }
}

impl HotEnd {
    #[inline]
    const fn of(peer: &Peer) -> Self {
        Self { seqlo: peer.seqlo.0, seqhi: peer.seqhi.0, bytes: 0, max_win: peer.max_win, packets: 0 }
    }
}

impl Hot {
    /// A live record for a key, which a packet from `maker` made, with its two ends, the maker's first.
    #[inline(always)]
    pub fn new(
        key: Narrow,
        maker: Side,
        (own, other): &(Peer, Peer),
        pair: PairId,
        (timeout, now): (Timeout, Sixteenths),
    ) -> Self {
        let timer = timeout as u8 | LIVE;
        let mut hot = Self {
            key,
            ends: [HotEnd::default(), HotEnd::default()],
            standing: [0, 0, with_nibble(own.state as u8 * 0x11, maker.other(), other.state as u8), timer],
            last_seen: now.0,
            pair: pair.0,
            adjacency: [AdjacencyId::NONE; 2],
        };
        // Which side is the maker's is as good as random: by index, and not by a branch.
        let (own_at, other_at) = (maker.index(), maker.other().index());
        hot.ends[own_at] = HotEnd::of(own);
        hot.ends[other_at] = HotEnd::of(other);
        hot.standing[own_at] = bits_of(own);
        hot.standing[other_at] = bits_of(other);
        hot.standing[0] |= maker as u8 * end_bits::MADE_BY_HIGH;
        hot
    }

    /// True if the record is live and may be the key's: certain for IPv4, for IPv6 the addresses are still to be compared.
    #[inline(always)]
    pub fn may_be(&self, key: &Narrow) -> bool {
        self.has_key(key) && self.is_live()
    }

    /// As [`Self::may_be`], but for whether the record is live: followed is only what is.
    #[inline(always)]
    pub fn has_key(&self, key: &Narrow) -> bool {
        self.key == *key
    }

    /// The key, given the addresses kept beside the record for IPv6.
    pub fn key(&self, wide: &[Address; 2]) -> Key {
        self.key.widened(wide)
    }

    pub const fn family(&self) -> Family {
        self.key.family()
    }

    #[inline(always)]
    pub const fn is_live(&self) -> bool {
        self.standing[TIMER] & LIVE != 0
    }

    /// The first link of the record, which has number `own`, if packets come by other tuples too.
    #[inline(always)]
    pub fn link(&self, own: RecordId) -> Option<LinkId> {
        if self.standing[TIMER] & LINKED == 0 {
            return None;
        }
        let [low, high] = self.adjacency.map(|half| u32::from(half.0));
        Some(if self.carries() { LinkId::beside(own) } else { LinkId(high << 16 | low) })
    }

    /// Notes that the connection's home is another worker.
    pub const fn set_placed(&mut self) {
        self.standing[TIMER] |= PLACED;
    }

    pub const fn is_placed(&self) -> bool {
        self.standing[TIMER] & PLACED != 0
    }

    /// True if [faces](super::numbering) change sequence numbers.
    #[inline]
    pub const fn is_renumbered(&self) -> bool {
        self.standing[0] & end_bits::RENUMBERED != 0
    }

    pub const fn set_renumbered(&mut self) {
        self.standing[0] |= end_bits::RENUMBERED;
    }

    /// True if [timestamps](super::stamps) are looked at.
    #[inline]
    pub const fn is_stamped(&self) -> bool {
        self.standing[1] & end_bits::STAMPED != 0
    }

    pub const fn set_stamped(&mut self) {
        self.standing[1] |= end_bits::STAMPED;
    }

    /// True if more than its entry of the index goes with the record.
    #[inline]
    pub const fn is_far_reaching(&self) -> bool {
        self.standing[TIMER] & (LINKED | PLACED) != 0
    }

    /// Ends the record's life, but for its key, and keeps in it which one came before it.
    pub const fn leave(&mut self, before: u32) {
        self.standing[TIMER] = 0;
        self.pair = before;
    }

    /// The record that left before this one, which has left.
    pub const fn left_before(&self) -> u32 {
        self.pair
    }

    /// Has the record lead to its first link, or to none.
    pub const fn set_link(&mut self, link: Option<LinkId>) {
        match link {
            Some(LinkId(number)) => {
                self.standing[TIMER] |= LINKED;
                self.adjacency = [AdjacencyId(number as u16), AdjacencyId((number >> 16) as u16)];
            }
            None => {
                self.standing[TIMER] &= !LINKED;
                self.adjacency = [AdjacencyId::NONE; 2];
            }
        }
    }

    #[inline]
    pub fn peer(&self, side: Side) -> Peer {
        let (end, bits) = (&self.ends[side.index()], self.standing[side.index()]);
        Peer {
            state: PEER_STATES[nibble(self.standing[STATE], side) as usize],
            seen: bits & end_bits::SEEN != 0,
            seqlo: Seq(end.seqlo),
            seqhi: Seq(end.seqhi),
            max_win: end.max_win,
            wscale: (bits & end_bits::SCALED != 0).then_some(bits & end_bits::SHIFT),
            seqdiff: 0,
        }
    }

    /// How far both ends have come, in a form to be compared.
    #[inline]
    pub const fn levels(&self) -> u8 {
        self.standing[STATE]
    }

    /// True if the end that made the record has sent a SYN that is not acknowledged.
    #[inline]
    pub const fn is_half_open(&self) -> bool {
        let maker = if self.standing[0] & end_bits::MADE_BY_HIGH == 0 { Side::Low } else { Side::High };
        nibble(self.standing[STATE], maker) == PeerState::SynSent as u8
    }

    #[inline]
    pub fn set_peer(&mut self, side: Side, peer: &Peer) {
        let end = &mut self.ends[side.index()];
        (end.seqlo, end.seqhi, end.max_win) = (peer.seqlo.0, peer.seqhi.0, peer.max_win);
        self.standing[STATE] = with_nibble(self.standing[STATE], side, peer.state as u8);
        let bits = &mut self.standing[side.index()];
        *bits = *bits & end_bits::OF_RECORD | bits_of(peer);
    }

    #[inline]
    pub fn timeout(&self) -> Timeout {
        Timeout::ALL[usize::from(self.standing[TIMER] & (PLACED - 1))]
    }

    #[inline]
    pub const fn last_seen(&self) -> Sixteenths {
        Sixteenths(self.last_seen)
    }

    #[inline]
    pub const fn refresh(&mut self, timeout: Timeout, now: Sixteenths) {
        self.standing[TIMER] = timeout as u8 | LIVE | self.standing[TIMER] & (LINKED | PLACED);
        self.last_seen = now.0;
    }

    /// The faces; meaningless of a record that carries its translation.
    #[inline]
    pub const fn pair(&self) -> PairId {
        PairId(self.pair)
    }

    pub const fn set_pair(&mut self, pair: PairId) {
        self.pair = pair.0;
    }

    /// The next hops that are remembered, by sender; meaningless of a record that has a link, which keeps them.
    #[inline(always)]
    pub const fn adjacency(&self) -> &[AdjacencyId; 2] {
        &self.adjacency
    }

    /// As [`Self::adjacency`], to be changed.
    #[inline(always)]
    pub const fn adjacency_mut(&mut self) -> &mut [AdjacencyId; 2] {
        &mut self.adjacency
    }

    /// The key, but for IPv6 addresses.
    #[inline(always)]
    pub const fn narrow(&self) -> &Narrow {
        &self.key
    }

    /// Both ends' bits, the states and the timer.
    #[inline(always)]
    const fn standing(&self) -> u32 {
        u32::from_le_bytes(self.standing)
    }

    /// Follows a segment between two established ends as `track::tcp` would, strictly; false if that must judge, and
    /// nothing is changed then. A record with a link is out of the ordinary unless it `MAY_LINK`.
    #[inline(always)]
    pub fn follow_tcp<const MAY_LINK: bool>(&mut self, sender: Side, segment: &Plain) -> bool {
        const BOTH: u8 = PeerState::Established as u8 | (PeerState::Established as u8) << 4;
        const LOW: u8 = end_bits::SEEN | end_bits::RENUMBERED;
        const ESTABLISHED: u32 =
            u32::from_le_bytes([end_bits::SEEN, end_bits::SEEN, BOTH, Timeout::TcpEstablished as u8 | LIVE]);
        let looked_at = const { u32::from_le_bytes([LOW, end_bits::SEEN, 0xff, looked_at(MAY_LINK)]) };
        const SCALED: u32 = u32::from_le_bytes([end_bits::SCALED, end_bits::SCALED, 0, 0]);
        let standing = self.standing();
        if standing & looked_at != ESTABLISHED {
            return false;
        }
        // Windows are shifted only if both ends said so.
        let shift = if standing & SCALED == SCALED { end_bits::SHIFT } else { 0 };
        let (from, to) = (self.end(sender, shift), self.end(sender.other(), shift));
        let Some(Advance { seqlo, max_win, seqhi }) = track::established(&from, &to, segment) else {
            return false;
        };
        let own = &mut self.ends[sender.index()];
        (own.seqlo, own.max_win) = (seqlo.0, max_win);
        self.ends[sender.other().index()].seqhi = seqhi.0;
        true
    }

    #[inline(always)]
    const fn end(&self, side: Side, shift: u8) -> End {
        let end = &self.ends[side.index()];
        let shift = self.standing[side.index()] & shift;
        End { seqlo: Seq(end.seqlo), seqhi: Seq(end.seqhi), max_win: end.max_win, shift }
    }

    /// True if a further datagram changes nothing: both ends have been heard, and the timer is the one for that.
    #[inline(always)]
    pub const fn follow_udp<const MAY_LINK: bool>(&self) -> bool {
        const BOTH: u8 = PeerState::Multiple as u8 | (PeerState::Multiple as u8) << 4;
        const MULTIPLE: u32 = u32::from_le_bytes([0, 0, BOTH, Timeout::UdpMultiple as u8 | LIVE]);
        let looked_at = const { u32::from_le_bytes([0, 0, 0xff, looked_at(MAY_LINK)]) };
        self.standing() & looked_at == MULTIPLE
    }

    /// Restarts the timer in the class that it is in.
    #[inline(always)]
    pub const fn touch(&mut self, now: Sixteenths) {
        self.last_seen = now.0;
    }

    /// Counts a packet from one side. True if the 16 and 32 bits here are to be [spilt](Self::spill) into the cold line.
    #[inline(always)]
    pub fn count(&mut self, from: Side, bytes: u32) -> bool {
        let end = &mut self.ends[from.index()];
        end.packets = end.packets.wrapping_add(1);
        end.bytes = end.bytes.wrapping_add(bytes);
        end.packets >= PACKETS_MAX
    }

    /// True if another packet may be [counted](Self::count) from one side, and nothing is to be spilt then.
    #[inline(always)]
    pub const fn has_room(&self, from: Side) -> bool {
        self.ends[from.index()].packets < PACKETS_MAX - 1
    }

    /// Moves what was counted here into the cold line.
    pub fn spill(&mut self, cold: &mut Cold) {
        for (at, end) in self.ends.iter_mut().enumerate() {
            cold.packets[at] += u64::from(core::mem::take(&mut end.packets));
            cold.bytes[at] += u64::from(core::mem::take(&mut end.bytes));
        }
    }

    /// Packets and bytes seen from one side.
    pub fn counted(&self, cold: &Cold, from: Side) -> (u64, u64) {
        let (at, end) = (from.index(), &self.ends[from.index()]);
        (cold.packets[at] + u64::from(end.packets), cold.bytes[at] + u64::from(end.bytes))
    }
}

impl Numbered for Hot {
    fn retire(&mut self, before: u32) {
        self.standing[TIMER] = 0;
        self.key = Narrow::link(before);
    }

    fn next_retired(&self) -> u32 {
        self.key.linked()
    }
}

impl Cold {
    pub fn twin(&self) -> Option<Twin> {
        let record = self.twin.checked_sub(1)?;
        Some(Twin { record, generation: self.twin_generation })
    }

    pub const fn set_twin(&mut self, twin: Twin) {
        (self.twin, self.twin_generation) = (twin.record + 1, twin.generation);
    }

    /// The cold half of a new connection in a record that was used before.
    pub fn reuse(&self, id: u64, created: Sixteenths) -> Self {
        Self { id, created, generation: self.generation.wrapping_add(1), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use wire::{Af, Port, Proto};

    use super::*;
    use crate::Zone;

    #[test]
    fn peers_survive_packing_on_either_side() {
        let key = Key {
            af: Af::Inet,
            proto: Proto::TCP,
            zone: Zone(0),
            address: [Address(1), Address(2)],
            port: [Port(3), Port(4)],
        };
        let ends = (Peer::default(), Peer::default());
        let key = Narrow::of(&key);
        let timer = (Timeout::TcpFirst, Sixteenths(0));
        let mut hot = Hot::new(key, Side::Low, &ends, PairId(0), timer);
        for state in PEER_STATES {
            for (seen, wscale) in [(false, None), (true, Some(0)), (true, Some(14)), (false, Some(7))] {
                let low =
                    Peer { state, seen, seqlo: Seq(5), seqhi: Seq(!0), max_win: 65535, wscale, seqdiff: 0 };
                let high = Peer { state: PeerState::Closed, wscale: Some(3), ..Peer::default() };
                hot.set_peer(Side::Low, &low);
                hot.set_peer(Side::High, &high);
                assert_eq!((hot.peer(Side::Low), hot.peer(Side::High)), (low, high));
                assert!(hot.may_be(&key));
            }
        }
    }

    #[test]
    fn counters_spill_without_losing_anything() {
        let (mut hot, mut cold) = (Hot::default(), Cold::default());
        for _ in 0..200_000 {
            if hot.count(Side::High, 65_535) {
                hot.spill(&mut cold);
            }
        }
        assert_eq!(hot.counted(&cold, Side::High), (200_000, 200_000 * 65_535));
        assert_eq!(hot.counted(&cold, Side::Low), (0, 0));
    }
}
