//! What was asked for and not to be had: addresses, and blocks of ports, in which nothing was left.
//!
//! Overview: each is counted in a [place](PLACES) of its own as packets are dropped for it, for whoever lists mappings; and
//! while somebody listens to events, it is told of once a second.
//! Life cycle: noted where a packet is dropped; taken by the shell between bursts. Ownership: the shard. Bounds: [`PLACES`];
//! what has been wanted last takes the place of what was not wanted for a second.

use core::net::IpAddr;
use std::collections::VecDeque;

use ruleset::PortBlock;
use wire::{Af, Port};

use crate::Address;
use crate::af_to::proto_in;
use crate::packet::Tuple;
use crate::shard::Shard;
use crate::state::Mapping;
use crate::tick::Tick;

/// The most that are known at once.
const PLACES: usize = 256;

/// How often each is told of, at most; and how long it keeps its place.
const AGAIN: Tick = Tick(1_000_000_000);

/// Nothing was left behind an address, or in a block of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// When a packet was dropped for it last.
    pub tick: Tick,
    /// The last address that was tried, the packet's protocol, and the sender's block if it has one.
    pub mapping: Mapping,
    /// The pool: the lower half of its rule's identity.
    pub pool: u32,
    /// Packets that were dropped since it was told of before.
    pub packets: u64,
}

/// Where nothing was left for the packet under way.
#[derive(Clone, Copy, Debug)]
struct Lack {
    pool: u32,
    address: IpAddr,
    block: Option<(Port, Port)>,
}

/// One that is known.
#[derive(Clone, Copy, Debug)]
struct Place {
    last: Shortage,
    /// Dropped packets in all.
    packets: u64,
    /// When it was told of.
    told: Option<Tick>,
}

/// Those of a shard.
#[derive(Debug)]
pub(crate) struct Shortages {
    lack: Option<Lack>,
    places: Box<[Option<Place>; PLACES]>,
    told: VecDeque<Shortage>,
}

impl Default for Shortages {
    fn default() -> Self {
        Self { lack: None, places: Box::new([None; PLACES]), told: VecDeque::with_capacity(PLACES) }
    }
}

fn place_of(mapping: &Mapping) -> usize {
    let mut hash = Address::from(mapping.address).0 ^ u128::from(mapping.proto.0) << 96;
    if let Some(block) = mapping.block {
        hash ^= Address::from(block.subscriber).0.rotate_left(32);
    }
    let folded = (hash >> 64) as u64 ^ hash as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PLACES
}

impl Shortages {
    /// No port is left of an address, or of this block of it, for the packet under way.
    pub fn lacks(&mut self, pool: u32, address: IpAddr, block: Option<(Port, Port)>) {
        self.lack = Some(Lack { pool, address, block });
    }

    #[inline]
    pub fn has_any(&self) -> bool {
        !self.told.is_empty()
    }

    /// A packet was dropped.
    fn note(&mut self, mapping: Mapping, pool: u32, now: Tick, listened: bool) {
        let slot = &mut self.places[place_of(&mapping)];
        let since = |then: Tick| now.0.saturating_sub(then.0) >= AGAIN.0;
        let mut place = match *slot {
            Some(place) if place.last.mapping == mapping => place,
            Some(place) if !since(place.last.tick) => return,
            _ => Place { last: Shortage { tick: now, mapping, pool, packets: 0 }, packets: 0, told: None },
        };
        place.packets += 1;
        place.last = Shortage { tick: now, pool, packets: place.last.packets + 1, ..place.last };
        if listened && place.told.is_none_or(since) && self.told.len() < PLACES {
            self.told.push_back(place.last);
            (place.last.packets, place.told) = (0, Some(now));
        }
        *slot = Some(place);
    }
}

impl Shard {
    /// No worker has a port for a packet.
    #[cold]
    pub(crate) fn note_shortage(&mut self, now: Tick, tuple: &Tuple) {
        let Some(Lack { pool, address, block }) = self.shortages.lack.take() else { return };
        let (subscriber, proto) = (tuple.src.to_ip(tuple.af), proto_in(Af::of(&address), tuple.proto));
        let block = block.map(|(first, last)| PortBlock { subscriber, address, first, last });
        let listened = self.connections.events.is_on();
        self.shortages.note(Mapping { address, proto, block }, pool, now, listened);
    }

    /// Where nothing was left of late, and for how many packets since the shard was made.
    pub fn shortages(&self) -> impl Iterator<Item = (Mapping, u64)> {
        self.shortages.places.iter().flatten().map(|place| (place.last.mapping, place.packets))
    }

    /// The next shortage that somebody who listens has not heard of.
    #[inline]
    pub fn take_shortage(&mut self) -> Option<Shortage> {
        self.shortages.told.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(last: u8) -> Mapping {
        let address = core::net::Ipv4Addr::new(192, 0, 2, last).into();
        Mapping { address, proto: wire::Proto::TCP, block: None }
    }

    fn seconds(tenths: u64) -> Tick {
        Tick(tenths * 100_000_000)
    }

    #[test]
    fn each_is_told_of_once_a_second_and_counted_always() {
        let mut shortages = Shortages::default();
        shortages.note(mapping(1), 7, seconds(0), false);
        for tenths in 1..=20 {
            shortages.note(mapping(1), 7, seconds(tenths), true);
        }
        let told: Vec<(u64, Tick)> = shortages.told.iter().map(|told| (told.packets, told.tick)).collect();
        assert_eq!(told, [(2, seconds(1)), (10, seconds(11))]);
        let place = shortages.places.iter().flatten().next().unwrap();
        assert_eq!((place.packets, place.last.packets), (21, 9));
    }

    #[test]
    fn who_is_wanted_keeps_its_place_for_a_second() {
        let mut shortages = Shortages::default();
        let other = (2..=255).find(|last| place_of(&mapping(*last)) == place_of(&mapping(1))).unwrap_or(1);
        shortages.note(mapping(1), 7, seconds(0), true);
        shortages.note(mapping(other), 7, seconds(9), true);
        let known = |shortages: &Shortages| shortages.places[place_of(&mapping(1))].unwrap().last.mapping;
        assert_eq!(known(&shortages), mapping(1));
        shortages.note(mapping(other), 7, seconds(10), true);
        assert_eq!(known(&shortages), mapping(other));
    }
}
