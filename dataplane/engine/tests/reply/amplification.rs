//! An answer is no weapon: how long it may be against what it answers.

use engine::reply::{Endpoints, Problem, ack, icmp_error, rst, rst_with};
use engine::{Frame, Parsed, RxChecksum, Transport, Zone, parse};
use proptest::prelude::*;
use wire::checksum::{verify_icmp4, verify_icmp6};
use wire::corpus::{dissect, packets};
use wire::{Proto, Seq, TcpFlags};

use crate::{FAMILIES, SEGMENT, TAGS, framed, segment};

/// Turns a frame into an answer; false if it must not be answered.
type Answerer<'a> = &'a dyn Fn(&mut Vec<u8>) -> bool;

/// Verifies the checksums of an ICMP error. Its quote may well be cut inside a chain of extension headers.
fn verify(answer: &[u8]) {
    let frame = wire::ethernet::Frame::parse(answer).unwrap();
    let verified = match wire::ipv4::Packet::parse(frame.payload()) {
        Ok(ip) => ip.verify_checksum().and_then(|()| verify_icmp4(ip.payload())),
        Err(_) => {
            let ip = wire::ipv6::Packet::parse(frame.payload()).unwrap();
            verify_icmp6(ip.header().src(), ip.header().dst(), ip.payload())
        }
    };
    assert_eq!(verified, Ok(()));
}

/// Answers in every way. RST and ACK are no longer than what they answer; a frame with an ICMP error is at most twice as
/// long, and its datagram within the family's limit.
fn check(frame: &[u8]) {
    let Ok(Parsed::Ip(packet)) = parse(frame, Zone(0), RxChecksum::Unknown) else { return };
    let stations = Endpoints::Stations;
    let mut answer = frame.to_vec();
    let answers: [Answerer<'_>; 3] = [
        &|answer| rst(answer, &packet, stations, 0).is_ok(),
        &|answer| rst_with(answer, &packet, stations, Seq(1), 0).is_ok(),
        &|answer| ack(answer, &packet, stations, Seq(1), Seq(2), 3).is_ok(),
    ];
    for reply in answers {
        answer.clear();
        answer.extend(frame);
        if reply(&mut answer) {
            assert!(matches!(packet.transport, Transport::Tcp(_)));
            assert!(answer.len() <= frame.len());
            dissect(&answer).unwrap();
        } else {
            assert_eq!(answer, frame);
        }
    }
    let limit = if packet.tuple.af == wire::Af::Inet { 576 } else { 1280 };
    for problem in [Problem::TimeExceeded, Problem::TooBig { mtu: 1280 }] {
        let mut answer = frame.to_vec();
        if icmp_error(&mut answer, &packet, stations, None, problem).is_ok() {
            assert!(answer.len() <= 2 * frame.len());
            assert!(answer.bytes().len() - usize::from(packet.l3) <= limit);
            verify(&answer);
        } else {
            assert_eq!(answer, frame);
        }
    }
}

#[test]
fn every_kind_of_packet() {
    for (_, frame) in packets() {
        check(&frame);
    }
}

/// Bock et al., "Weaponizing Middleboxes": the segments that make censors answer at length.
#[test]
fn probes_for_amplifiers() {
    let (syn, psh, ack) = (TcpFlags::SYN, TcpFlags::PSH, TcpFlags::ACK);
    let request = b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n";
    for af in FAMILIES {
        for (flags, data) in [(syn, &[][..]), (syn, request), (psh, request), (psh.union(ack), request)] {
            check(&segment(af, TAGS[0], &wire::tcp::Repr { flags, ..SEGMENT }, data));
        }
        check(&framed(af, TAGS[0], Proto(253), &[]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_packets(
        v6: bool,
        tags in 0..3_usize,
        proto: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..1600),
        tcp: bool,
        flags: u8,
        padding in 0..46_usize,
    ) {
        let (af, tags) = (FAMILIES[usize::from(v6)], TAGS[tags]);
        let mut frame = if tcp {
            segment(af, tags, &wire::tcp::Repr { flags: TcpFlags(flags), ..SEGMENT }, &payload)
        } else {
            framed(af, tags, Proto(proto), &payload)
        };
        frame.resize(frame.len() + padding, 0);
        check(&frame);
    }

    #[test]
    fn corpus_with_octets_changed(
        which: prop::sample::Index,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let corpus = packets();
        let mut frame = which.get(&corpus).1.clone();
        for (at, octet) in changes {
            let at = at.index(frame.len());
            frame[at] = octet;
        }
        check(&frame);
    }
}
