//! What forwarding changes of a frame, and that it changes nothing else.

use engine::rewrite::{decrement_ttl, set_link};
use engine::{Packet, Parsed, RxChecksum, Zone, parse};
use ruleset::Reason;
use wire::corpus::build::{frame4, frame6, header4};
use wire::corpus::packets;
use wire::{Af, Mac, Proto};

fn packet(frame: &[u8]) -> Option<Packet> {
    match parse(frame, Zone(0), RxChecksum::Unknown) {
        Ok(Parsed::Ip(packet)) => Some(packet),
        _ => None,
    }
}

fn with_ttl(af: Af, ttl: u8, tos: u8) -> Vec<u8> {
    match af {
        Af::Inet => frame4(&wire::ipv4::Repr { ttl, tos, ..header4(Proto(253)) }, b"data"),
        Af::Inet6 => {
            let mut frame = frame6(&[], Proto(253), b"data");
            wire::ipv6::Header::at_mut(&mut frame, 14).unwrap().set_hop_limit(ttl);
            frame
        }
    }
}

/// One less, and otherwise the very packet that would have been made with one less.
#[test]
fn ttl_by_one() {
    for tos in 0..=255 {
        for (af, ttl) in [Af::Inet, Af::Inet6].into_iter().flat_map(|af| (2..=255).map(move |ttl| (af, ttl)))
        {
            let mut frame = with_ttl(af, ttl, tos);
            let described = packet(&frame).unwrap();
            assert_eq!(decrement_ttl(&mut frame, &described), Ok(()));
            assert_eq!(frame, with_ttl(af, ttl - 1, tos), "{af:?} {ttl} {tos}");
        }
    }
}

#[test]
fn ttl_that_runs_out() {
    for (af, ttl) in [(Af::Inet, 0), (Af::Inet, 1), (Af::Inet6, 0), (Af::Inet6, 1)] {
        let original = with_ttl(af, ttl, 0);
        let mut frame = original.clone();
        assert_eq!(decrement_ttl(&mut frame, &packet(&original).unwrap()), Err(Reason::Ttl));
        assert_eq!(frame, original);
    }
}

/// With any tags and options; a decremented header still verifies.
#[test]
fn every_kind_of_packet() {
    for (name, original) in packets() {
        let Some(described) = packet(&original) else { continue };
        let mut frame = original.clone();
        let outcome = decrement_ttl(&mut frame, &described);
        if described.ttl <= 1 {
            assert_eq!((outcome, &frame), (Err(Reason::Ttl), &original), "{name}");
            continue;
        }
        let after = packet(&frame).unwrap_or_else(|| panic!("{name} no longer parses"));
        assert_eq!((outcome, after.ttl), (Ok(()), described.ttl - 1), "{name}");
        let changed = original.iter().zip(&frame).filter(|(before, after)| before != after).count();
        assert!(changed <= 3, "{name}: time to live and checksum");
    }
}

#[test]
fn link_addresses() {
    let (source, destination) = (Mac([2, 1, 1, 1, 1, 1]), Mac([2, 2, 2, 2, 2, 2]));
    for (name, original) in packets() {
        let mut frame = original.clone();
        set_link(&mut frame, source, destination);
        assert_eq!(&frame[..6], &destination.0, "{name}");
        assert_eq!(&frame[6..12], &source.0, "{name}");
        assert_eq!(&frame[12..], &original[12..], "{name}");
    }
    let mut runt = vec![7; 13];
    set_link(&mut runt, source, destination);
    assert_eq!(runt, [7; 13]);
}
