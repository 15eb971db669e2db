//! What is never answered: each refusal leaves the frame as it was, and without its cause there is an answer.

use core::net::IpAddr;

use engine::reply::{Endpoints, NoReply, Problem, ack, icmp_error, rst, rst_with};
use engine::{Packet, RxChecksum};
use proptest::prelude::*;
use wire::corpus::build::{PSEUDO4, frame4, frame6, header4, icmp4, icmp6, ipv4, tcp};
use wire::ethernet::Tags;
use wire::{Af, Proto, Seq, TcpFlags};

use crate::{Buffer, FAMILIES, SEGMENT, answers, framed, packet, segment, unreachable};

/// Tries every kind of answer; all must be refused, for the one reason, and change nothing.
fn refused(frame: &[u8], endpoints: Endpoints) -> NoReply {
    let described = packet(frame);
    let mut copy = frame.to_vec();
    let unreachable = unreachable(described.tuple.af);
    let is_tcp = matches!(described.transport, engine::Transport::Tcp(_));
    let outcome = icmp_error(&mut copy, &described, endpoints, None, unreachable).unwrap_err();
    let exceeded =
        icmp_error(&mut copy, &described, endpoints, Some(described.tuple.dst), Problem::TimeExceeded);
    assert_eq!(exceeded, Err(outcome));
    let tcp_outcome = if is_tcp { outcome } else { NoReply::NotTcp };
    assert_eq!(rst(&mut copy, &described, endpoints, 0), Err(tcp_outcome));
    assert_eq!(rst_with(&mut copy, &described, endpoints, Seq(0), 0), Err(tcp_outcome));
    assert_eq!(ack(&mut copy, &described, endpoints, Seq(0), Seq(0), 0), Err(tcp_outcome));
    assert_eq!(copy, frame, "{outcome:?} changed the frame");
    outcome
}

/// Both kinds of answer are given.
fn accepted(frame: &[u8]) {
    assert!(answers(frame).iter().all(Result::is_ok), "{:?}", answers(frame).map(|answer| answer.err()));
}

/// A SYN between two addresses, with right checksums.
fn between(src: &str, dst: &str) -> Vec<u8> {
    let header = wire::tcp::Repr { flags: TcpFlags::SYN, ..SEGMENT };
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let pseudo = wire::checksum::Pseudo::of(src, dst).unwrap();
    let upper = tcp(&pseudo, &header, b"");
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame4(&wire::ipv4::Repr { src, dst, ..header4(Proto::TCP) }, &upper)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut frame = frame6(&[], Proto::TCP, &upper);
            let mut header = wire::ipv6::Header::at_mut(&mut frame, 14).unwrap();
            header.set_src(src);
            header.set_dst(dst);
            frame
        }
        _ => unreachable!("one family"),
    }
}

#[test]
fn addresses_of_no_station() {
    let (good4, good6) = ("192.0.2.1", "2001:db8::1");
    let other4 = "198.51.100.1";
    accepted(&between(good4, other4));
    accepted(&between(good6, "2001:db8::2"));
    for address in ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255", "10.0.0.255"] {
        accepted(&between(address, other4));
        accepted(&between(good4, address));
    }
    for address in ["fe80::1", "::2", "fe00::1", "64:ff9b::1"] {
        accepted(&between(address, good6));
        accepted(&between(good6, address));
    }
    let four = [
        "0.0.0.0",
        "0.255.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
    ];
    let six = ["::", "::1", "ff00::", "ff02::1", "ffff::1"];
    let cases = four.map(|bad| (bad, good4)).into_iter().chain(six.map(|bad| (bad, good6)));
    for (bad, good) in cases {
        assert_eq!(refused(&between(bad, good), Endpoints::Stations), NoReply::Source, "{bad}");
        assert_eq!(refused(&between(good, bad), Endpoints::Stations), NoReply::Destination, "{bad}");
    }
    for own in [good4, good6] {
        assert_eq!(refused(&between(own, own), Endpoints::Stations), NoReply::Source, "to itself");
    }
}

#[test]
fn what_the_forwarding_base_knows() {
    for af in FAMILIES {
        let frame = segment(af, Tags::None, &SEGMENT, b"");
        accepted(&frame);
        assert_eq!(refused(&frame, Endpoints::OwnSource), NoReply::OwnSource);
        assert_eq!(refused(&frame, Endpoints::Broadcast), NoReply::Broadcast);
    }
}

#[test]
fn group_frames() {
    for af in FAMILIES {
        let good = segment(af, Tags::None, &SEGMENT, b"");
        accepted(&good);
        for (at, octets) in [(0, [0xff; 6]), (0, [1, 0, 0x5e, 0, 0, 1]), (6, [3, 0, 0, 0, 0, 1])] {
            let mut frame = good.clone();
            frame[at..at + 6].copy_from_slice(&octets);
            assert_eq!(refused(&frame, Endpoints::Stations), NoReply::Group);
        }
    }
}

#[test]
fn resets() {
    for af in FAMILIES {
        for flags in 0..=255 {
            let flags = TcpFlags(flags);
            let frame = segment(af, Tags::None, &wire::tcp::Repr { flags, ..SEGMENT }, b"");
            if flags.contains(TcpFlags::RST) {
                assert_eq!(refused(&frame, Endpoints::Stations), NoReply::Reset);
            } else {
                accepted(&frame);
            }
        }
    }
}

/// The types of ICMP that are answered are the informational ones.
#[test]
fn icmp_errors() {
    let quote4 = ipv4(&header4(Proto::UDP), &[1; 8]);
    let quote6 = wire::corpus::build::ipv6(&[], Proto::UDP, &[1; 8]);
    for kind in 0..=255 {
        let four = icmp4(&wire::icmp4::Repr::error(wire::icmp4::Type(kind), 0), &quote4);
        let six = icmp6(&wire::icmp6::Repr::plain(wire::icmp6::Type(kind), 0), &quote6);
        let cases = [
            (frame4(&header4(Proto::ICMP), &four), matches!(kind, 0 | 8..=10 | 13..=18)),
            (frame6(&[], Proto::ICMP6, &six), kind >= 128 && kind != 137),
        ];
        for (frame, informational) in cases {
            if informational {
                assert!(answers(&frame)[1].is_ok(), "{kind}");
            } else {
                assert_eq!(refused(&frame, Endpoints::Stations), NoReply::IcmpError, "{kind}");
            }
        }
    }
}

#[test]
fn later_fragments() {
    let part4 = |fragment_offset, more_fragments| {
        let header = wire::ipv4::Repr { fragment_offset, more_fragments, ..header4(Proto::TCP) };
        frame4(&header, &tcp(&PSEUDO4, &SEGMENT, &[0; 12]))
    };
    let part6 = |offset, more| {
        let fragment = wire::Fragment { ident: 1, offset, more };
        frame6(&[wire::ipv6::Extension::Fragment(fragment)], Proto::TCP, &[1; 32])
    };
    for later in [part4(8, true), part4(8, false), part4(65_528, false), part6(8, true), part6(65_528, false)]
    {
        assert_eq!(refused(&later, Endpoints::Stations), NoReply::Fragment);
    }
    for first in [part4(0, true), part6(0, true)] {
        let [reset, error] = answers(&first);
        assert_eq!(reset, Err(NoReply::NotTcp), "a part of a segment");
        assert!(error.is_ok());
    }
}

fn both(frame: &Buffer, packet: &Packet) -> [Result<(), NoReply>; 2] {
    let unreachable = unreachable(packet.tuple.af);
    let (mut reset, mut error) = (frame.clone(), frame.clone());
    let outcomes = [
        rst(&mut reset, packet, Endpoints::Stations, 0),
        icmp_error(&mut error, packet, Endpoints::Stations, None, unreachable),
    ];
    for (outcome, after) in outcomes.iter().zip([reset, error]) {
        assert_eq!(outcome.is_err(), after == *frame, "changed if and only if answered");
    }
    outcomes
}

/// What the NIC said x what is true, for the header's checksum and for the segment's.
#[test]
fn checksums() {
    use RxChecksum::{Bad, Good, Unknown};
    for af in FAMILIES {
        let good = segment(af, Tags::None, &SEGMENT, b"data");
        let described = packet(&good);
        let mut bad_l4 = good.clone();
        *bad_l4.last_mut().unwrap() ^= 1;
        let said = [(Unknown, true), (Good, true), (Bad, false)];
        for ((l4, _), (frame, right)) in
            said.iter().flat_map(|s| [(&good, true), (&bad_l4, false)].map(|f| (*s, f)))
        {
            let expected = match (l4, right) {
                (Unknown, true) | (Good, _) => Ok(()),
                (Unknown, false) | (Bad, _) => Err(NoReply::Checksum),
            };
            let frame = Buffer { l4, ..Buffer::of(frame) };
            assert_eq!(both(&frame, &described), [expected; 2], "{af:?} {l4:?} {right}");
        }
        for (ip, answered) in said {
            let expected = if answered { Ok(()) } else { Err(NoReply::Checksum) };
            assert_eq!(both(&Buffer { ip, l4: Good, ..Buffer::of(&good) }, &described), [expected; 2]);
        }
    }
    let good = segment(Af::Inet, Tags::None, &SEGMENT, b"data");
    let described = packet(&good);
    let mut bad = good;
    bad[14 + 8] ^= 1; // the TTL
    let outcome = both(&Buffer { l4: Good, ..Buffer::of(&bad) }, &described);
    assert_eq!(outcome, [Err(NoReply::Checksum); 2]);
    assert_eq!(both(&Buffer { ip: Good, l4: Good, ..Buffer::of(&bad) }, &described), [Ok(()); 2]);
}

#[test]
fn upper_layers_other_than_tcp_have_checksums_too() {
    let header = wire::udp::Repr { src_port: wire::Port(1), dst_port: wire::Port(2), ..Default::default() };
    let none = wire::udp::Repr { cover: wire::udp::Cover::None, ..header };
    let udp = |header| frame4(&header4(Proto::UDP), &wire::corpus::build::udp(&PSEUDO4, header, b"data"));
    let ping = wire::icmp4::Repr::query(wire::icmp4::Type::ECHO_REQUEST, 1, 1);
    for frame in [udp(&header), frame4(&header4(Proto::ICMP), &icmp4(&ping, b"data"))] {
        assert!(answers(&frame)[1].is_ok());
        let mut bad = frame;
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(refused(&bad, Endpoints::Stations), NoReply::Checksum);
    }
    assert!(answers(&udp(&none))[1].is_ok(), "no checksum, hence no wrong one");
}

#[test]
fn a_packet_that_is_not_of_this_frame() {
    let long = segment(Af::Inet, Tags::None, &SEGMENT, b"data");
    let described = packet(&long);
    let others = [
        Vec::new(),
        long[..14].to_vec(),
        long[..long.len() - 1].to_vec(),
        segment(Af::Inet, crate::TAGS[1], &SEGMENT, b"data"),
        framed(Af::Inet, Tags::None, Proto(253), b""),
        framed(Af::Inet6, Tags::None, Proto(253), b"data"),
    ];
    for other in others {
        let mut frame = other.clone();
        assert_eq!(rst(&mut frame, &described, Endpoints::Stations, 0), Err(NoReply::Inconsistent));
        let outcome = icmp_error(&mut frame, &described, Endpoints::Stations, None, unreachable(Af::Inet));
        assert_eq!(outcome, Err(NoReply::Inconsistent));
        assert_eq!(frame, other);
    }
}

/// One way to make an innocent segment something that is never answered.
fn spoilt(mut frame: Vec<u8>, how: u8, value: u8) -> Vec<u8> {
    let fix = |frame: &mut Vec<u8>| {
        wire::ipv4::fill_checksum(frame, 14).unwrap();
        let header = wire::ipv4::Header::at(frame, 14).unwrap();
        let pseudo = wire::checksum::Pseudo::V4(header.src(), header.dst());
        frame[50..52].fill(0);
        let sum = pseudo.sum(Proto::TCP, frame.len() - 34).plus(&frame[34..]).checksum();
        frame[50..52].copy_from_slice(&sum.0);
    };
    match how {
        0 => frame[50] ^= value | 1,
        1 => {
            frame[47] |= 4;
            fix(&mut frame);
        }
        2 => frame[0] |= 1,
        3 => {
            frame[26] = [0, 127, 224, 240, 255][usize::from(value) % 5];
            fix(&mut frame);
        }
        4 => {
            frame[30] = [0, 127, 224, 240, 255][usize::from(value) % 5];
            fix(&mut frame);
        }
        _ => {
            frame[21] = value | 1;
            fix(&mut frame);
        }
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    /// reliability: 0 answers in 10⁵ packets that must not be answered.
    #[test]
    fn no_answer_to_any_of_them(flags: u8, seq: u32, ack: u32, data in proptest::collection::vec(any::<u8>(), 0..64), how in 0..6_u8, value: u8) {
        let flags = TcpFlags(flags & !TcpFlags::RST.0);
        let header = wire::tcp::Repr { flags, seq: Seq(seq), ack: Seq(ack), ..SEGMENT };
        let innocent = segment(Af::Inet, Tags::None, &header, &data);
        let frame = spoilt(innocent, how, value);
        refused(&frame, Endpoints::Stations);
    }
}
