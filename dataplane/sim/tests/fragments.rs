//! Datagrams in fragments: any way to cut one, in any order, at any number of workers, and fragments that overlap beside an
//! octet-by-octet model.

use engine::{Arrival, Fate, InterfaceId, Source, Tick};
use ruleset::{Action, Reason, Rule, Ruleset, StateMode};
use sim::firewall::Firewall;
use sim::oracle::reassembly::{Added, Incomplete};
use sim::rng::Rng;
use sim::topology;
use wire::ipv6::Extension;
use wire::{Af, Fragment, Proto, ipv4, ipv6};

const START: Tick = Tick::from_secs(100);

fn firewall(workers: u16, seed: u64) -> Firewall {
    let fib = topology::fib();
    let mut firewall = Firewall::new(fib, workers, 1000, Rng::new(seed));
    let pass = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    firewall.load(&Ruleset { rules: vec![pass], ..Ruleset::default() }).unwrap();
    firewall
}

fn arrival() -> Arrival {
    Arrival { interface: InterfaceId(0), source: Source::Wire }
}

/// Random octets.
fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.next() as u8).collect()
}

/// A fragment of a datagram from the first network to the second one.
fn piece(af: Af, ident: u32, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
    let (from, to) = (topology::address(af, InterfaceId(0), 2), topology::address(af, InterfaceId(1), 2));
    let fragment = Fragment { ident, offset: offset as u16, more };
    let (ether_type, datagram) = match (from, to) {
        (core::net::IpAddr::V4(from), core::net::IpAddr::V4(to)) => {
            let header = ipv4::Repr {
                ident: ident as u16,
                fragment_offset: offset as u16,
                more_fragments: more,
                ..ipv4::Repr::new(from, to, Proto(253), data.len())
            };
            let mut out = vec![0; header.header_len()];
            header.emit(&mut out).unwrap();
            (wire::EtherType::IPV4, out)
        }
        (core::net::IpAddr::V6(from), core::net::IpAddr::V6(to)) => {
            let header = ipv6::Repr::new(from, to, Proto::FRAGMENT, 8 + data.len());
            let mut out = vec![0; ipv6::HEADER_LEN + ipv6::FRAGMENT_HEADER_LEN];
            header.emit(&mut out).unwrap();
            Extension::Fragment(fragment).emit(Proto(253), &mut out[ipv6::HEADER_LEN..]).unwrap();
            (wire::EtherType::IPV6, out)
        }
        _ => unreachable!("one family"),
    };
    let own = topology::mac(InterfaceId(0), 1);
    let station = topology::mac(InterfaceId(0), 2);
    [&own.0[..], &station.0, &ether_type.0.to_be_bytes(), &datagram, data].concat()
}

/// The data of what left, whose pieces are in their order.
fn data_of(left: &[(Fate, Vec<u8>)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (fate, frame) in left {
        assert_eq!(*fate, Fate::Transmit(InterfaceId(1)));
        assert!(frame.len() <= 14 + usize::from(topology::MTU));
        let (at, offset) = if frame[14] >> 4 == 4 {
            let packet = ipv4::Packet::parse(&frame[14..]).unwrap();
            packet.verify_checksum().unwrap();
            (34, packet.header().fragment().map_or(0, |fragment| fragment.offset))
        } else {
            let chain = ipv6::Packet::parse(&frame[14..]).unwrap().chain().unwrap();
            (14 + chain.offset, chain.fragment.map_or(0, |place| place.fragment.offset))
        };
        assert_eq!(usize::from(offset), data.len(), "each piece follows the one before");
        data.extend(&frame[at..]);
    }
    data
}

/// Cuts a datagram anywhere, and shuffles the pieces.
fn cut_and_shuffled(rng: &mut Rng, length: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < length {
        let end = (at + 8 * rng.between(1, 180) as usize).min(length);
        pieces.push((at, end));
        at = end;
    }
    for number in (1..pieces.len()).rev() {
        pieces.swap(number, rng.below(number as u64 + 1) as usize);
    }
    pieces
}

#[test]
fn any_datagram_comes_together_however_it_was_cut() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let workers = rng.between(1, 4) as u16;
        let mut firewall = firewall(workers, seed);
        // Several at a time.
        let datagrams: Vec<(Af, Vec<u8>)> = (0..rng.between(1, 4))
            .map(|_| {
                let length = rng.between(9, *rng.clone().pick(&[200, 3000, 20_000, 65_000])) as usize;
                (*rng.pick(&[Af::Inet, Af::Inet6]), noise(&mut rng, length))
            })
            .collect();
        let mut pending: Vec<(usize, usize, usize)> = Vec::new();
        for (number, (_, data)) in datagrams.iter().enumerate() {
            let cut = cut_and_shuffled(&mut rng, data.len());
            pending.extend(cut.into_iter().map(|(start, end)| (number, start, end)));
        }
        for number in (1..pending.len()).rev() {
            pending.swap(number, rng.below(number as u64 + 1) as usize);
        }
        let mut came = 0;
        for (number, start, end) in pending {
            let (af, data) = &datagrams[number];
            let more = end < data.len();
            if start == 0 && !more {
                came += 1;
                continue;
            }
            let mut frame = piece(*af, number as u32, start, more, &data[start..end]);
            assert_eq!(firewall.receive(START, arrival(), &mut frame), Fate::Kept, "seed {seed}");
            let left = firewall.pieces();
            if !left.is_empty() {
                assert!(data_of(&left) == *data, "seed {seed}: datagram {number} of {} bytes", data.len());
                came += 1;
            }
        }
        assert_eq!(came, datagrams.len(), "seed {seed}");
        firewall.check_conservation();
    }
}

/// C1: whatever fragments overlap, the engine keeps the octets that the model keeps, and drops what it drops.
#[test]
fn c01_overlaps_end_as_in_the_model() {
    let (mut whole, mut dropped) = (0, 0);
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let af = *rng.pick(&[Af::Inet, Af::Inet, Af::Inet, Af::Inet6]);
        let mut firewall = firewall(1, seed);
        let mut model = Incomplete::new(af);
        // Around an entry point of pf's queues, too; the fragment in front of that is longer than links take.
        let base = if af == Af::Inet { 8 * rng.pick(&[0, 508]) } else { 0 };
        let span = rng.between(3, 14);
        for _ in 0..40 {
            let offset = if base > 0 && rng.chance(1, 6) { 0 } else { base + 8 * rng.below(span) as usize };
            let units = if offset == 0 && base > 0 { base / 8 } else { rng.between(1, 5) as usize };
            let more = rng.chance(5, 6);
            let length = 8 * units - usize::from(!more) * rng.below(8) as usize;
            let data = noise(&mut rng, length);
            let mut frame = piece(af, 7, offset, more, &data);
            // A datagram in one fragment is none.
            if offset == 0 && !more {
                continue;
            }
            let fate = firewall.receive(START, arrival(), &mut frame);
            let left = firewall.pieces();
            match model.add(offset, &data, more) {
                Added::Kept => assert_eq!((fate, left.len()), (Fate::Kept, 0), "seed {seed}"),
                Added::Dropped => {
                    dropped += 1;
                    assert_eq!((fate, left.len()), (Fate::Drop(Reason::Fragment), 0), "seed {seed}");
                }
                Added::Whole(data) => {
                    whole += 1;
                    assert!(data_of(&left) == data, "seed {seed}");
                    model = Incomplete::new(af);
                }
            }
        }
        firewall.check_conservation();
    }
    assert!(whole > 1000 && dropped > 1000, "{whole} datagrams, {dropped} fragments dropped");
}

/// Nothing that looks like a fragment makes the engine lose count of frames, nor keeps more than it may.
#[test]
fn fragments_of_all_kinds_are_accounted_for() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut firewall = firewall(rng.between(1, 4) as u16, seed);
        let mut now = START;
        for _ in 0..400 {
            let af = *rng.pick(&[Af::Inet, Af::Inet6]);
            let length = rng.between(1, 200) as usize;
            let offset = 8 * rng.below(*rng.clone().pick(&[4, 40, 8192])) as usize;
            let data = noise(&mut rng, length);
            let mut frame = piece(af, rng.below(6) as u32, offset, rng.chance(2, 3), &data);
            if rng.chance(1, 8) {
                let at = rng.between(14, frame.len() as u64) as usize - 1;
                frame[at] ^= 1 << rng.below(8);
            }
            let _ = firewall.receive(now, arrival(), &mut frame);
            firewall.pieces();
            if rng.chance(1, 20) {
                now = now + Tick::from_secs(rng.between(1, 40));
                firewall.expire_fragments(now);
            }
        }
        firewall.check_conservation();
        firewall.expire_fragments(now + Tick::from_secs(61));
        assert!(firewall.shards().iter().all(|shard| shard.fragments() == 0), "seed {seed}");
        firewall.check_conservation();
    }
}
