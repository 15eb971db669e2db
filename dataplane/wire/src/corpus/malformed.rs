//! Frames with one defect each, and the error that names it.

use alloc::vec;
use alloc::vec::Vec;

use super::alloc;
use super::build::{PSEUDO4, PSEUDO6, ethernet, frame4, frame6, header4, icmp4, icmp6, ipv4, ipv6, tcp, udp};
use crate::ethernet::Tags;
use crate::ipv4::OptionsBuf;
use crate::ipv6::{EXTENSIONS_MAX, Extension};
use crate::{Error, EtherType, Fragment, Proto, icmp4, icmp6, ipv4, tcp, udp};

/// One frame for every defect that is told apart; the dissection of each ends with the error beside it.
pub fn malformed() -> Vec<(&'static str, Vec<u8>, Error)> {
    [link(), ipv4_headers(), ipv6_headers(), transports(), icmps()].concat()
}

type Case = (&'static str, Vec<u8>, Error);

/// `bytes` with `octets` stored at `at`.
fn with(mut bytes: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
    let end = at.saturating_add(octets.len());
    bytes.get_mut(at..end).expect("inside the packet").copy_from_slice(octets);
    bytes
}

fn over4(packet: &[u8]) -> Vec<u8> {
    ethernet(Tags::None, EtherType::IPV4, packet)
}

fn over6(packet: &[u8]) -> Vec<u8> {
    ethernet(Tags::None, EtherType::IPV6, packet)
}

fn link() -> Vec<Case> {
    vec![
        ("empty", vec![], Error::Short),
        ("13 octets", vec![0; 13], Error::Short),
        ("tag cut", vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0], Error::Short),
        ("ip version 6 behind the type of ipv4", over4(&ipv6(&[], Proto::NO_NEXT, &[])), Error::Version),
        (
            "ip version 4 behind the type of ipv6",
            over6(&ipv4(&header4(Proto(253)), &[0; 40])),
            Error::Version,
        ),
        ("arp for another hardware", ethernet(Tags::None, EtherType::ARP, &[6; 28]), Error::ArpFormat),
        ("arp cut", ethernet(Tags::None, EtherType::ARP, &[0; 27]), Error::Short),
    ]
}

fn ipv4_headers() -> Vec<Case> {
    let packet = ipv4(&header4(Proto(253)), &[0; 8]);
    // With the checksum repaired, if the defect leaves a header to sum.
    let changed = |at, octets: &[u8]| {
        let mut packet = with(packet.clone(), at, octets);
        let _ = ipv4::fill_checksum(&mut packet, 0);
        over4(&packet)
    };
    let options = |octets: &[u8]| {
        let options = OptionsBuf::of(ipv4::Options::new(octets));
        frame4(&ipv4::Repr { options, ..header4(Proto(253)) }, &[])
    };
    vec![
        ("ipv4 of 19 octets", over4(packet.split_at(19).0), Error::Short),
        ("ipv4 header length 16", changed(0, &[0x44]), Error::HeaderLength),
        ("ipv4 header length 0", changed(0, &[0x40]), Error::HeaderLength),
        ("ipv4 options behind the frame", changed(0, &[0x4f]), Error::Short),
        ("ipv4 total length below the header", changed(2, &[0, 19]), Error::TotalLength),
        ("ipv4 total length 0", changed(2, &[0, 0]), Error::TotalLength),
        ("ipv4 total length above the frame", changed(2, &[0, 29]), Error::Truncated),
        ("ipv4 checksum", over4(&with(packet.clone(), 10, &[0xba, 0xad])), Error::Checksum),
        ("ipv4 option of length 0", options(&[148, 0, 0, 0]), Error::OptionLength),
        ("ipv4 option of length 1", options(&[148, 1, 0, 0]), Error::OptionLength),
        ("ipv4 option behind the header", options(&[7, 5, 4, 0]), Error::OptionLength),
        ("ipv4 option without a length", options(&[1, 1, 1, 7]), Error::OptionLength),
    ]
}

fn ipv6_headers() -> Vec<Case> {
    let hop = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
    let dst = Extension::DstOpts(&[1, 4, 0, 0, 0, 0]);
    let routing = |kind| Extension::Routing { kind, segments_left: 0, data: &[0; 4] };
    let part = |offset, more| Extension::Fragment(Fragment { ident: 1, offset, more });
    let chain = |extensions: &[Extension<'_>]| frame6(extensions, Proto(253), &[0; 8]);
    let packet = ipv6(&[], Proto(253), &[0; 8]);
    vec![
        ("ipv6 of 39 octets", over6(packet.split_at(39).0), Error::Short),
        ("ipv6 payload above the frame", over6(&with(packet.clone(), 4, &[0, 9])), Error::Truncated),
        ("ipv6 hop-by-hop behind another header", chain(&[dst, hop]), Error::HopByHopOrder),
        ("ipv6 hop-by-hop twice", chain(&[hop, hop]), Error::HopByHopOrder),
        ("ipv6 hop-by-hop in a fragment", chain(&[part(8, false), hop]), Error::HopByHopOrder),
        ("ipv6 routing header type 0", chain(&[routing(0)]), Error::RoutingHeader),
        ("ipv6 two routing headers", chain(&[routing(2), routing(2)]), Error::RoutingHeader),
        (
            "ipv6 fragment in an atomic fragment",
            chain(&[part(0, false), part(8, true)]),
            Error::NestedFragment,
        ),
        (
            "ipv6 fragment in a first fragment",
            chain(&[part(0, true), dst, part(8, true)]),
            Error::NestedFragment,
        ),
        ("ipv6 fragment in a later fragment", chain(&[part(8, true), part(8, true)]), Error::NestedFragment),
        ("ipv6 one extension header too many", chain(&[dst; EXTENSIONS_MAX + 1]), Error::ExtensionCount),
        ("ipv6 jumbo payload", chain(&[Extension::HopByHop(&[0xc2, 4, 0, 1, 0, 0])]), Error::Jumbo),
        ("ipv6 option overruns", chain(&[Extension::DstOpts(&[5, 5, 0, 0, 0, 0])]), Error::OptionLength),
        (
            "ipv6 option without a length",
            chain(&[Extension::DstOpts(&[0, 0, 0, 0, 0, 5])]),
            Error::OptionLength,
        ),
        (
            "ipv6 options behind the packet",
            frame6(&[], Proto::DST_OPTS, &[17, 1, 0, 0, 0, 0, 0, 0]),
            Error::Short,
        ),
        ("ipv6 options cut", frame6(&[], Proto::HOP_BY_HOP, &[17]), Error::Short),
        ("ipv6 fragment header cut", frame6(&[], Proto::FRAGMENT, &[17, 0, 0, 0, 0, 0, 0]), Error::Short),
        ("ipv6 authentication header cut", frame6(&[], Proto::AH, &[17, 1, 0, 0, 0, 0, 0, 0]), Error::Short),
    ]
}

fn transports() -> Vec<Case> {
    let segment = tcp(&PSEUDO4, &tcp::Repr::default(), &[]);
    let tcp4 = |bytes: &[u8]| frame4(&header4(Proto::TCP), bytes);
    let options = |octets: &[u8]| {
        let options = tcp::OptionsBuf::of(tcp::Options::new(octets));
        tcp4(&tcp(&PSEUDO4, &tcp::Repr { options, ..Default::default() }, &[]))
    };
    let datagram = udp(&PSEUDO4, &udp::Repr::default(), b"data");
    let udp4 = |bytes: &[u8]| frame4(&header4(Proto::UDP), bytes);
    let udp6 = udp(&PSEUDO6, &udp::Repr::default(), b"data");
    vec![
        ("tcp of 19 octets", tcp4(segment.split_at(19).0), Error::Short),
        ("tcp data offset 4", tcp4(&with(segment.clone(), 12, &[0x40])), Error::HeaderLength),
        ("tcp data offset 15 in 20 octets", tcp4(&with(segment.clone(), 12, &[0xf0])), Error::BadOffset),
        ("tcp checksum", tcp4(&with(segment.clone(), 16, &[0xba, 0xad])), Error::Checksum),
        ("tcp option of length 0", options(&[8, 0, 0, 0]), Error::OptionLength),
        ("tcp option of length 1", options(&[254, 1, 0, 0]), Error::OptionLength),
        ("tcp option behind the header", options(&[2, 5, 0, 0]), Error::OptionLength),
        ("tcp option without a length", options(&[1, 1, 1, 3]), Error::OptionLength),
        ("tcp mss of the wrong length", options(&[2, 3, 5, 0]), Error::OptionLength),
        ("tcp sack of the wrong length", options(&[5, 7, 0, 0, 0, 0, 0, 0]), Error::OptionLength),
        ("tcp md5 of the wrong length", options(&[19, 4, 0, 0]), Error::OptionLength),
        ("udp of 7 octets", udp4(datagram.split_at(7).0), Error::Short),
        ("udp length 7", udp4(&with(datagram.clone(), 4, &[0, 7])), Error::TotalLength),
        ("udp length 0", udp4(&with(datagram.clone(), 4, &[0, 0])), Error::TotalLength),
        ("udp length above the packet", udp4(&with(datagram.clone(), 4, &[0, 13])), Error::Truncated),
        ("udp checksum", udp4(&with(datagram.clone(), 6, &[0xba, 0xad])), Error::Checksum),
        (
            "udp without checksum over ipv6",
            frame6(&[], Proto::UDP, &with(udp6, 6, &[0, 0])),
            Error::ZeroChecksum,
        ),
    ]
}

/// A prefix information option of 40 octets.
const LONG_PREFIX: [u8; 40] = {
    let mut option = [0; 40];
    option[0] = 3;
    option[1] = 5;
    option
};
/// An MTU option of 16 octets.
const LONG_MTU: [u8; 16] = [5, 2, 0, 0, 0, 0, 5, 220, 0, 0, 0, 0, 0, 0, 0, 0];

fn icmps() -> Vec<Case> {
    let about4 = |quote: &[u8]| {
        let error = icmp4::Repr::error(icmp4::Type::TIME_EXCEEDED, 0);
        frame4(&header4(Proto::ICMP), &icmp4(&error, quote))
    };
    let about6 = |quote: &[u8]| {
        let error = icmp6::Repr::plain(icmp6::Type::TIME_EXCEEDED, 0);
        frame6(&[], Proto::ICMP6, &icmp6(&error, quote))
    };
    let nd = |kind, rest: &[u8]| frame6(&[], Proto::ICMP6, &icmp6(&icmp6::Repr::plain(kind, 0), rest));
    let ping = icmp4(&icmp4::Repr::query(icmp4::Type::ECHO_REQUEST, 1, 1), &[]);
    let tcp_quote = ipv4(&header4(Proto::TCP), &[0; 7]);
    vec![
        ("icmp of 7 octets", frame4(&header4(Proto::ICMP), ping.split_at(7).0), Error::Short),
        ("icmp checksum", frame4(&header4(Proto::ICMP), &with(ping, 2, &[0xba, 0xad])), Error::Checksum),
        ("icmp error that quotes nothing", about4(&[]), Error::Short),
        ("icmp error that quotes 7 octets of tcp", about4(&tcp_quote), Error::Short),
        ("icmp error that quotes ipv6", about4(&ipv6(&[], Proto::NO_NEXT, &[])), Error::Version),
        ("icmp error that quotes a short header", about4(&with(tcp_quote, 0, &[0x44])), Error::HeaderLength),
        ("icmp6 error that quotes ipv4", about6(&ipv4(&header4(Proto(253)), &[0; 40])), Error::Version),
        ("icmp6 error that quotes 39 octets", about6(&[0x60; 39]), Error::Short),
        ("neighbor solicitation without target", nd(icmp6::Type::NEIGHBOR_SOLICIT, &[0; 15]), Error::Short),
        ("router advertisement cut", nd(icmp6::Type::ROUTER_ADVERT, &[0; 7]), Error::Short),
        ("redirect cut", nd(icmp6::Type::REDIRECT, &[0; 31]), Error::Short),
        (
            "nd option of length 0",
            nd(icmp6::Type::ROUTER_SOLICIT, &[1, 0, 0, 0, 0, 0, 0, 0]),
            Error::OptionLength,
        ),
        (
            "nd option behind the message",
            nd(icmp6::Type::ROUTER_SOLICIT, &[1, 2, 0, 0, 0, 0, 0, 0]),
            Error::OptionLength,
        ),
        ("nd option without a length", nd(icmp6::Type::ROUTER_SOLICIT, &[1]), Error::OptionLength),
        ("nd prefix too long", nd(icmp6::Type::ROUTER_SOLICIT, &LONG_PREFIX), Error::OptionLength),
        (
            "nd prefix too short",
            nd(icmp6::Type::ROUTER_SOLICIT, &[3, 1, 0, 0, 0, 0, 0, 0]),
            Error::OptionLength,
        ),
        ("nd mtu of the wrong length", nd(icmp6::Type::ROUTER_SOLICIT, &LONG_MTU), Error::OptionLength),
        ("listener query without group", nd(icmp6::Type::MLD_QUERY, &[0; 15]), Error::Short),
    ]
}
