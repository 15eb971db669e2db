//! IPv4 options, IPv6 extension headers, fragments, and other protocols.

use alloc::vec;
use alloc::vec::Vec;

use super::build::{PSEUDO4, PSEUDO6, frame4, frame6, header4, tcp, udp};
use super::{Named, alloc};
use crate::ipv4::{self, OptionKind, OptionsBuf};
use crate::ipv6::{EXTENSIONS_MAX, Extension};
use crate::{Fragment, Port, Proto, TcpFlags, tcp, udp};

/// The data of a UDP datagram to port 53, a multiple of 8 with its header.
fn datagram(pseudo: &crate::checksum::Pseudo) -> Vec<u8> {
    let header = udp::Repr { src_port: Port(40_000), dst_port: Port(53), ..Default::default() };
    udp(pseudo, &header, &[0xa5; 24])
}

pub fn ipv4_packets() -> Vec<Named> {
    let mut packets = vec![
        ("ipv4, df set", {
            let header = ipv4::Repr { dont_fragment: true, tos: 0x10, ..header4(Proto::UDP) };
            frame4(&header, &datagram(&PSEUDO4))
        }),
        ("ipv4, ttl 1", frame4(&ipv4::Repr { ttl: 1, ..header4(Proto::UDP) }, &datagram(&PSEUDO4))),
        ("ipv4, empty payload", frame4(&header4(Proto(253)), &[])),
        ("ipv4, ipv4 inside", frame4(&header4(Proto::IPIP), &[0x45; 20])),
        ("ipv4, ipv6 inside", frame4(&header4(Proto::IPV6), &[0x60; 40])),
        ("ipv4, gre", frame4(&header4(Proto::GRE), &[0, 0, 8, 0])),
        ("ipv4, esp", frame4(&header4(Proto::ESP), &[7; 32])),
        ("ipv4, ah", frame4(&header4(Proto::AH), &[17, 4, 0, 0, 0, 0, 0, 1])),
        ("ipv4, sctp init", frame4(&header4(Proto::SCTP), &[0x0b; 32])),
        ("ipv4, icmpv6 in the wrong family", frame4(&header4(Proto::ICMP6), &[128, 0, 0, 0, 0, 1, 0, 1])),
    ];
    packets.extend(ipv4_option_packets());
    packets.extend(ipv4_fragments());
    packets
}

fn ipv4_option_packets() -> Vec<Named> {
    let with = |options: &[(OptionKind, &[u8])]| {
        let mut area = OptionsBuf::EMPTY;
        for (kind, data) in options {
            area.push(*kind, data).expect("the options fit");
        }
        frame4(&ipv4::Repr { options: area, ..header4(Proto::UDP) }, &datagram(&PSEUDO4))
    };
    let mut igmp = OptionsBuf::EMPTY;
    igmp.push(OptionKind::ROUTER_ALERT, &[0, 0]).expect("the option fits");
    let igmp = ipv4::Repr { options: igmp, ttl: 1, ..header4(Proto::IGMP) };
    // Built by hand: no option, only padding.
    let nops = ipv4::Repr { options: OptionsBuf::of(ipv4::Options::new(&[1; 8])), ..header4(Proto::UDP) };
    vec![
        ("ipv4, igmp with router alert", frame4(&igmp, &[0x16, 0, 0, 0, 224, 0, 0, 251])),
        ("ipv4, record route", with(&[(OptionKind::RECORD_ROUTE, &[4, 0, 0, 0, 0])])),
        ("ipv4, timestamp", with(&[(OptionKind::TIMESTAMP, &[5, 0, 0, 0, 0, 0])])),
        ("ipv4, security", with(&[(OptionKind::SECURITY, &[0xab])])),
        ("ipv4, loose source route", with(&[(OptionKind::LOOSE_SOURCE_ROUTE, &[4, 10, 0, 0, 1])])),
        ("ipv4, strict source route", with(&[(OptionKind::STRICT_SOURCE_ROUTE, &[4, 10, 0, 0, 1])])),
        ("ipv4, unknown option", with(&[(OptionKind(30), &[])])),
        ("ipv4, two options", with(&[(OptionKind::ROUTER_ALERT, &[0, 0]), (OptionKind::SECURITY, &[1, 2])])),
        ("ipv4, 40 octets of options", with(&[(OptionKind::RECORD_ROUTE, &[4; 38])])),
        ("ipv4, padding alone", frame4(&nops, &datagram(&PSEUDO4))),
    ]
}

fn ipv4_fragments() -> Vec<Named> {
    let datagram = datagram(&PSEUDO4);
    let (first, rest) = datagram.split_at(16);
    let (middle, last) = rest.split_at(8);
    let part = |fragment_offset, more_fragments, data: &[u8]| {
        frame4(&ipv4::Repr { fragment_offset, more_fragments, ..header4(Proto::UDP) }, data)
    };
    vec![
        ("ipv4, first fragment", part(0, true, first)),
        ("ipv4, middle fragment", part(16, true, middle)),
        ("ipv4, last fragment", part(24, false, last)),
        ("ipv4, fragment at the highest offset", part(65_528, false, &[1])),
    ]
}

/// Router alert for MLD, padded to six octets.
const ALERT: Extension<'static> = Extension::HopByHop(&[5, 2, 0, 0, 1, 0]);
const PADDED: Extension<'static> = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
const DST_OPTS: Extension<'static> = Extension::DstOpts(&[0x1e, 4, 1, 2, 3, 4]);
const PADDED_DST: Extension<'static> = Extension::DstOpts(&[0; 6]);
const ROUTING: Extension<'static> = Extension::Routing { kind: 2, segments_left: 1, data: &[0; 20] };
const AUTH: Extension<'static> =
    Extension::Auth(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);

const fn part(offset: u16, more: bool) -> Extension<'static> {
    Extension::Fragment(Fragment { ident: 0xdead_beef, offset, more })
}

pub fn ipv6_packets() -> Vec<Named> {
    let datagram = datagram(&PSEUDO6);
    let udp = |extensions: &[Extension<'_>]| frame6(extensions, Proto::UDP, &datagram);
    let header =
        tcp::Repr { src_port: Port(1), dst_port: Port(2), flags: TcpFlags::SYN, ..Default::default() };
    let segment = tcp(&PSEUDO6, &header, &[]);
    let every = [PADDED, DST_OPTS, ROUTING, part(0, false), AUTH, PADDED_DST];
    let (first, rest) = datagram.split_at(16);
    let (middle, last) = rest.split_at(8);
    vec![
        ("ipv6, udp", udp(&[])),
        ("ipv6, hop-by-hop padding", udp(&[PADDED])),
        ("ipv6, hop-by-hop router alert", udp(&[ALERT])),
        ("ipv6, destination options", udp(&[DST_OPTS])),
        ("ipv6, routing header type 2", udp(&[ROUTING])),
        ("ipv6, authentication header", udp(&[AUTH])),
        ("ipv6, atomic fragment", udp(&[part(0, false)])),
        ("ipv6, every extension header", frame6(&every, Proto::TCP, &segment)),
        ("ipv6, as many extension headers as allowed", udp(&[PADDED_DST; EXTENSIONS_MAX])),
        ("ipv6, first fragment", frame6(&[part(0, true)], Proto::UDP, first)),
        ("ipv6, middle fragment", frame6(&[part(16, true)], Proto::UDP, middle)),
        ("ipv6, last fragment", frame6(&[part(24, false)], Proto::UDP, last)),
        ("ipv6, later fragment of options", frame6(&[DST_OPTS, part(8, false)], Proto::DST_OPTS, &[0xff; 9])),
        ("ipv6, esp", frame6(&[], Proto::ESP, &[7; 32])),
        ("ipv6, no next header", frame6(&[PADDED], Proto::NO_NEXT, &[1, 2, 3])),
        ("ipv6, no next header and no payload", frame6(&[], Proto::NO_NEXT, &[])),
        ("ipv6, unknown protocol", frame6(&[], Proto(253), &[1, 2, 3])),
        ("ipv6, icmp in the wrong family", frame6(&[], Proto::ICMP, &[8, 0, 0, 0, 0, 1, 0, 1])),
    ]
}
