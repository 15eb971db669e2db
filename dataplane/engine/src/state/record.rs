//! One connection: two cache lines, and a half for the addresses of IPv6.
//!
//! Overview: a record stands for pf's two states of a forwarded connection, one face on each side. What a packet touches
//! is in [`Hot`]; what only listings, removal and rare events need is in [`Cold`]. Numbers are indexed by [`Side`].
//! Life cycle: zeroes, which are no live record, until it is used. Bounds: sizes are asserted below.

use bytemuck::Zeroable;
use ruleset::{PeerState, Timeout};
use wire::{Af, Port, Proto, Seq};

use super::adjacency::AdjacencyId;
use super::key::{Family, Key, Narrow, Side};
use crate::track::{self, Advance, End, Peer, Plain};
use crate::{Address, Tick, Zone};

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

    /// The sixteenths from `earlier` on; none if that is later, as a clock that was set back has it.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        let passed = self.0.wrapping_sub(earlier.0);
        if passed > i32::MAX as u32 { 0 } else { passed }
    }
}

/// The number of a pair-class: what the faces of a record are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PairId(pub u32);

mod bits {
    pub const IPV6: u8 = 1 << 0;
    pub const LIVE: u8 = 1 << 1;
    /// `<< side`.
    pub const SEEN: u8 = 1 << 2;
    /// `<< side`.
    pub const SCALED: u8 = 1 << 4;
}

/// What every packet of a connection reads or writes.
#[derive(Clone, Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Hot {
    /// IPv4: the addresses. IPv6: a fold of them, to tell most strangers apart without a third line.
    address: [u32; 2],
    port: [u16; 2],
    proto: u8,
    bits: u8,
    zone: u16,
    seqlo: [u32; 2],
    seqhi: [u32; 2],
    max_win: [u16; 2],
    /// A shift in each half, the low side's in the low one.
    wscale: u8,
    /// A [`PeerState`] in each half, likewise.
    state: u8,
    timeout: u8,
    spare: u8,
    last_seen: u32,
    pair: u32,
    packets: [u16; 2],
    bytes: [u32; 2],
    /// By sender: the next hop that the connection remembers.
    adjacency: [AdjacencyId; 2],
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

const fn nibble(pair: u8, side: Side) -> u8 {
    pair >> (4 * side as u8) & 0xf
}

const fn with_nibble(pair: u8, side: Side, value: u8) -> u8 {
    let shift = 4 * side as u8;
    pair & !(0xf << shift) | value << shift
}

impl Hot {
    /// A live record for a key, without faces or peers.
    pub fn new(key: &Key) -> Self {
        let Narrow { address, port, proto, family, zone } = Narrow::of(key);
        let family = if family == Family::Inet6 { bits::IPV6 } else { 0 };
        Self { address, port, proto, bits: bits::LIVE | family, zone, ..Self::default() }
    }

    /// True if the record is live and may be the key's: certain for IPv4, for IPv6 the addresses are still to be compared.
    #[inline(always)]
    pub fn may_be(&self, key: &Narrow) -> bool {
        let family = if key.family == Family::Inet6 { bits::LIVE | bits::IPV6 } else { bits::LIVE };
        // Not one branch after another: which part differs is as good as random.
        (self.address == key.address)
            & (self.port == key.port)
            & (self.proto == key.proto)
            & (self.zone == key.zone)
            & (self.bits & (bits::LIVE | bits::IPV6) == family)
    }

    /// The key, given the addresses kept beside the record for IPv6.
    pub fn key(&self, wide: &[Address; 2]) -> Key {
        let af = self.af();
        let address = match af {
            Af::Inet => self.address.map(|address| Address(u128::from(address))),
            Af::Inet6 => *wide,
        };
        Key { af, proto: Proto(self.proto), zone: Zone(self.zone), address, port: self.port.map(Port) }
    }

    pub const fn af(&self) -> Af {
        if self.bits & bits::IPV6 != 0 { Af::Inet6 } else { Af::Inet }
    }

    pub const fn is_live(&self) -> bool {
        self.bits & bits::LIVE != 0
    }

    /// Ends the record's life, and keeps in it which one was retired before.
    pub const fn retire(&mut self, before: u32) {
        self.bits = 0;
        self.address[0] = before;
    }

    /// The record that was retired before this one, which is retired.
    pub const fn next_retired(&self) -> u32 {
        self.address[0]
    }

    #[inline]
    pub fn peer(&self, side: Side) -> Peer {
        let at = side.index();
        Peer {
            state: PEER_STATES[nibble(self.state, side) as usize],
            seen: self.bits & bits::SEEN << at != 0,
            seqlo: Seq(self.seqlo[at]),
            seqhi: Seq(self.seqhi[at]),
            max_win: self.max_win[at],
            wscale: (self.bits & bits::SCALED << at != 0).then(|| nibble(self.wscale, side)),
            seqdiff: 0,
        }
    }

    #[inline]
    pub fn set_peer(&mut self, side: Side, peer: &Peer) {
        let at = side.index();
        self.state = with_nibble(self.state, side, peer.state as u8);
        self.seqlo[at] = peer.seqlo.0;
        self.seqhi[at] = peer.seqhi.0;
        self.max_win[at] = peer.max_win;
        self.wscale = with_nibble(self.wscale, side, peer.wscale.unwrap_or(0));
        self.set_bit(bits::SEEN << at, peer.seen);
        self.set_bit(bits::SCALED << at, peer.wscale.is_some());
    }

    const fn set_bit(&mut self, bit: u8, on: bool) {
        if on {
            self.bits |= bit;
        } else {
            self.bits &= !bit;
        }
    }

    #[inline]
    pub fn timeout(&self) -> Timeout {
        Timeout::ALL[usize::from(self.timeout)]
    }

    #[inline]
    pub const fn last_seen(&self) -> Sixteenths {
        Sixteenths(self.last_seen)
    }

    #[inline]
    pub const fn refresh(&mut self, timeout: Timeout, now: Sixteenths) {
        self.timeout = timeout as u8;
        self.last_seen = now.0;
    }

    #[inline]
    pub const fn pair(&self) -> PairId {
        PairId(self.pair)
    }

    /// Gives the record other faces. What it remembered was decided with those that it had.
    pub const fn set_pair(&mut self, pair: PairId) {
        self.pair = pair.0;
        self.adjacency = [AdjacencyId::NONE; 2];
    }

    /// The next hop that is remembered for packets of `sender`.
    #[inline(always)]
    pub const fn adjacency(&self, sender: Side) -> AdjacencyId {
        self.adjacency[sender.index()]
    }

    /// Remembers a next hop for packets of `sender`.
    pub const fn remember(&mut self, sender: Side, adjacency: AdjacencyId) {
        self.adjacency[sender.index()] = adjacency;
    }

    /// Forgets the next hops that are not `current`.
    #[inline]
    pub fn forget(&mut self, current: impl Fn(AdjacencyId) -> bool) {
        for adjacency in &mut self.adjacency {
            if *adjacency != AdjacencyId::NONE && !current(*adjacency) {
                *adjacency = AdjacencyId::NONE;
            }
        }
    }

    /// Follows a segment between two established ends as `track::tcp` would, strictly; false if that must judge, and
    /// nothing is changed then.
    #[inline(always)]
    pub fn follow_tcp(&mut self, sender: Side, segment: &Plain) -> bool {
        const SEEN: u8 = bits::SEEN | bits::SEEN << 1;
        const SCALED: u8 = bits::SCALED | bits::SCALED << 1;
        const ESTABLISHED: u8 = PeerState::Established as u8 | (PeerState::Established as u8) << 4;
        let established = (self.state == ESTABLISHED)
            & (self.timeout == Timeout::TcpEstablished as u8)
            & (self.bits & SEEN == SEEN);
        if !established {
            return false;
        }
        let wscale = if self.bits & SCALED == SCALED { self.wscale } else { 0 };
        let (from, to) = (self.end(sender, wscale), self.end(sender.other(), wscale));
        let Some(Advance { seqlo, max_win, seqhi }) = track::established(&from, &to, segment) else {
            return false;
        };
        let (own, other) = (sender.index(), sender.other().index());
        self.seqlo[own] = seqlo.0;
        self.max_win[own] = max_win;
        self.seqhi[other] = seqhi.0;
        true
    }

    #[inline(always)]
    const fn end(&self, side: Side, wscale: u8) -> End {
        let at = side.index();
        End {
            seqlo: Seq(self.seqlo[at]),
            seqhi: Seq(self.seqhi[at]),
            max_win: self.max_win[at],
            shift: nibble(wscale, side),
        }
    }

    /// True if a further datagram changes nothing: both ends have been heard, and the timer is the one for that.
    #[inline(always)]
    pub const fn follow_udp(&self) -> bool {
        const MULTIPLE: u8 = PeerState::Multiple as u8 | (PeerState::Multiple as u8) << 4;
        (self.state == MULTIPLE) & (self.timeout == Timeout::UdpMultiple as u8)
    }

    /// Restarts the timer in the class that it is in.
    #[inline(always)]
    pub const fn touch(&mut self, now: Sixteenths) {
        self.last_seen = now.0;
    }

    /// Counts a packet from one side. True if the 16 and 32 bits here are to be [spilt](Self::spill) into the cold line.
    #[inline(always)]
    #[must_use]
    pub fn count(&mut self, from: Side, bytes: u32) -> bool {
        let at = from.index();
        // 2^15 packets of at most 2^16 bytes fit 31 bits: the packet counter alone protects both.
        self.packets[at] = self.packets[at].wrapping_add(1);
        self.bytes[at] = self.bytes[at].wrapping_add(bytes);
        self.packets[at] >= 1 << 15
    }

    /// Moves what was counted here into the cold line.
    pub fn spill(&mut self, cold: &mut Cold) {
        for at in 0..2 {
            cold.packets[at] += u64::from(core::mem::take(&mut self.packets[at]));
            cold.bytes[at] += u64::from(core::mem::take(&mut self.bytes[at]));
        }
    }

    /// Packets and bytes seen from one side.
    pub fn counted(&self, cold: &Cold, from: Side) -> (u64, u64) {
        let at = from.index();
        (cold.packets[at] + u64::from(self.packets[at]), cold.bytes[at] + u64::from(self.bytes[at]))
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
    use super::*;

    #[test]
    fn peers_survive_packing_on_either_side() {
        let key = Key {
            af: Af::Inet,
            proto: Proto::TCP,
            zone: Zone(0),
            address: [Address(1), Address(2)],
            port: [Port(3), Port(4)],
        };
        let mut hot = Hot::new(&key);
        for state in PEER_STATES {
            for (seen, wscale) in [(false, None), (true, Some(0)), (true, Some(14)), (false, Some(7))] {
                let low =
                    Peer { state, seen, seqlo: Seq(5), seqhi: Seq(!0), max_win: 65535, wscale, seqdiff: 0 };
                let high = Peer { state: PeerState::Closed, wscale: Some(3), ..Peer::default() };
                hot.set_peer(Side::Low, &low);
                hot.set_peer(Side::High, &high);
                assert_eq!((hot.peer(Side::Low), hot.peer(Side::High)), (low, high));
                assert!(hot.may_be(&Narrow::of(&key)));
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
