//! ICMP errors: type, code, fields, and what is quoted of the packet.

use core::net::IpAddr;

use engine::Address;
use engine::reply::{Endpoints, NoReply, Problem, icmp_error};
use wire::corpus::build::{DST4, DST6, SRC4, SRC6};
use wire::corpus::{Network, Upper, dissect};
use wire::ethernet::Tags;
use wire::{Af, Proto};

use crate::{Buffer, FAMILIES, Room, TAGS, framed, packet, unreachable};

/// An answer taken apart.
struct Answer {
    src: IpAddr,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    quote: Vec<u8>,
    /// Octets of the IP datagram.
    length: usize,
}

/// Takes an answer apart and checks all that answers have in common, checksums too.
fn taken_apart(blocked: &[u8], answer: &[u8]) -> Answer {
    let (before, after) = (dissect(blocked).unwrap(), dissect(answer).unwrap());
    assert_eq!(after.frame.tags(), before.frame.tags());
    assert_eq!(after.frame.ether_type(), before.frame.ether_type());
    assert_eq!(after.frame.header().src(), before.frame.header().dst());
    assert_eq!(after.frame.header().dst(), before.frame.header().src());
    let length = after.frame.payload().len();
    match after.network {
        Network::Ipv4(ip, _, Upper::Icmp4(message, _)) => {
            let ip = ip.header();
            assert_eq!((ip.dst(), ip.header_len(), ip.ttl(), ip.ident()), (SRC4, 20, 64, 0));
            assert!(ip.dont_fragment());
            assert_eq!(ip.tos(), 0xc0, "RFC 1812 §4.3.2.5");
            assert_eq!(usize::from(ip.total_len()), length);
            let (header, quote) = (message.header(), message.body().to_vec());
            let (kind, code, rest) = (header.kind().0, header.code(), header.rest());
            Answer { src: ip.src().into(), kind, code, rest, quote, length }
        }
        Network::Ipv6(ip, chain, Upper::Icmp6(message, _)) => {
            let ip = ip.header();
            assert_eq!((ip.dst(), chain.offset, ip.hop_limit()), (SRC6, 40, 64));
            assert_eq!((ip.traffic_class(), ip.flow_label()), (0, 0));
            assert_eq!(usize::from(ip.payload_len()) + 40, length);
            let (header, quote) = (message.header(), message.body().to_vec());
            let (kind, code, rest) = (header.kind().0, header.code(), header.rest());
            Answer { src: ip.src().into(), kind, code, rest, quote, length }
        }
        other => panic!("{other:?}"),
    }
}

fn answered(blocked: &[u8], source: Option<Address>, problem: Problem) -> Answer {
    let mut answer = blocked.to_vec();
    icmp_error(&mut answer, &packet(blocked), Endpoints::Stations, source, problem).unwrap();
    taken_apart(blocked, &answer)
}

fn datagram(af: Af, tags: Tags, octets: usize) -> Vec<u8> {
    let header = wire::udp::Repr {
        src_port: wire::Port(40_000),
        dst_port: wire::Port(53),
        ..wire::udp::Repr::default()
    };
    let pseudo = if af == Af::Inet { crate::PSEUDO4 } else { crate::PSEUDO6 };
    framed(af, tags, Proto::UDP, &wire::corpus::build::udp(&pseudo, &header, &vec![0xa5; octets]))
}

#[test]
fn type_code_and_field_of_each_problem() {
    let table = [
        (Problem::Unreachable { code: 3 }, (3, 3, [0; 4]), (1, 3, [0; 4])),
        (Problem::Unreachable { code: 13 }, (3, 13, [0; 4]), (1, 13, [0; 4])),
        (Problem::TimeExceeded, (11, 0, [0; 4]), (3, 0, [0; 4])),
        (Problem::TooBig { mtu: 1300 }, (3, 4, [0, 0, 5, 20]), (2, 0, [0, 0, 5, 20])),
        (Problem::TooBig { mtu: 70_000 }, (3, 4, [0, 0, 255, 255]), (2, 0, [0, 1, 0x11, 0x70])),
        (Problem::Parameter { code: 1, pointer: 40 }, (12, 1, [40, 0, 0, 0]), (4, 1, [0, 0, 0, 40])),
        (Problem::Parameter { code: 0, pointer: 256 }, (12, 0, [255, 0, 0, 0]), (4, 0, [0, 0, 1, 0])),
    ];
    for (problem, four, six) in table {
        for (af, expected) in [(Af::Inet, four), (Af::Inet6, six)] {
            for tags in TAGS {
                let answer = answered(&datagram(af, tags, 20), None, problem);
                assert_eq!((answer.kind, answer.code, answer.rest), expected, "{problem:?} {af:?} {tags:?}");
            }
        }
    }
}

#[test]
fn source_address() {
    let own4: IpAddr = "192.0.2.254".parse().unwrap();
    let own6: IpAddr = "2001:db8::fe".parse().unwrap();
    for (af, destination, own) in [(Af::Inet, IpAddr::from(DST4), own4), (Af::Inet6, DST6.into(), own6)] {
        let blocked = datagram(af, Tags::None, 1);
        assert_eq!(answered(&blocked, None, unreachable(af)).src, destination);
        assert_eq!(answered(&blocked, Some(own.into()), unreachable(af)).src, own);
    }
}

/// RFC 1812 §4.3.2.3: at most 576 octets over IPv4; RFC 4443 §2.4 c: at most 1280 over IPv6; and never less than the
/// header and 8 octets if there are so many.
#[test]
fn b3_quote_of_packets_of_every_length() {
    for (af, ip_len, most) in [(Af::Inet, 20, 576), (Af::Inet6, 40, 1280)] {
        for payload in (0..40).chain([511, 512, 519, 520, 521, 1183, 1184, 1185, 1400, 1472, 8000]) {
            for tags in TAGS {
                let blocked = datagram(af, tags, payload);
                let original = dissect(&blocked).unwrap().frame.payload().to_vec();
                let answer = answered(&blocked, None, unreachable(af));
                let expected = original.len().min(most - ip_len - 8);
                assert_eq!(answer.quote, &original[..expected], "{af:?} {payload}");
                assert_eq!(answer.length, ip_len + 8 + expected);
                assert!(answer.length <= most && expected >= ip_len + 8);
            }
        }
    }
}

/// Options and extension headers are quoted as they came; padding of the frame is none of the packet.
#[test]
fn b3_quote_as_received() {
    let mut options = wire::ipv4::OptionsBuf::EMPTY;
    options.push(wire::ipv4::OptionKind::RECORD_ROUTE, &[4; 38]).unwrap();
    let header = wire::ipv4::Repr { options, ttl: 1, tos: 0xb8, ..wire::corpus::build::header4(Proto(253)) };
    let four = wire::corpus::build::frame4(&header, b"x");
    let extension = wire::ipv6::Extension::DstOpts(&[0; 6]);
    let six = wire::corpus::build::frame6(&[extension], Proto(253), b"x");
    for whole in [four, six] {
        let mut padded = whole.clone();
        padded.extend([0x55; 9]);
        assert_eq!(answered(&padded, None, Problem::TimeExceeded).quote, &whole[14..]);
    }
}

/// A first fragment may be answered, and an atomic one.
#[test]
fn first_fragments_are_answered() {
    let header = wire::ipv4::Repr { more_fragments: true, ..wire::corpus::build::header4(Proto::UDP) };
    let four = wire::corpus::build::frame4(&header, &[1; 16]);
    let part = |more| {
        let fragment = wire::Fragment { ident: 1, offset: 0, more };
        wire::corpus::build::frame6(&[wire::ipv6::Extension::Fragment(fragment)], Proto(253), &[1; 16])
    };
    for frame in [four, part(true), part(false)] {
        assert_eq!(answered(&frame, None, Problem::TimeExceeded).quote, &frame[14..]);
    }
}

#[test]
fn without_room() {
    for af in FAMILIES {
        let blocked = datagram(af, Tags::None, 600);
        let mut frame = Buffer { room: Room::None, ..Buffer::of(&blocked) };
        let outcome = icmp_error(&mut frame, &packet(&blocked), Endpoints::Stations, None, unreachable(af));
        assert_eq!(outcome, Err(NoReply::NoRoom));
        assert_eq!(frame.octets, blocked);
    }
}

/// The answer is a packet that would not be answered in turn: two firewalls fall silent.
#[test]
fn answers_are_not_answered() {
    for af in FAMILIES {
        let mut frame = datagram(af, Tags::None, 600);
        let first = packet(&frame);
        icmp_error(&mut frame, &first, Endpoints::Stations, None, unreachable(af)).unwrap();
        let before = frame.clone();
        let again = icmp_error(&mut frame, &packet(&before), Endpoints::Stations, None, unreachable(af));
        assert_eq!(again, Err(NoReply::IcmpError));
        assert_eq!(frame, before);
    }
}
