//! ICMP and ICMPv6 messages of every type.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::build::{
    DST_MAC, DST4, DST6, PSEUDO4, PSEUDO6, SRC_MAC, SRC4, SRC6, frame4, frame6, header4, icmp4, icmp6, ipv4,
    ipv6, tcp, udp,
};
use super::{Named, alloc};
use crate::icmp6::nd::{Nd, NdOption, Options};
use crate::ipv6::Extension;
use crate::{Fragment, Port, Proto, Seq, TcpFlags, icmp4, icmp6, tcp, udp};

/// Octets of the upper layer that the shortest legal quote has.
const QUOTED_LEN: usize = 8;

const SEGMENT: tcp::Repr = tcp::Repr {
    src_port: Port(443),
    dst_port: Port(49_152),
    seq: Seq(0x1122_3344),
    ack: Seq(5),
    reserved: 0,
    flags: TcpFlags::ACK,
    window: 100,
    urgent: 0,
    options: tcp::OptionsBuf::EMPTY,
};
const DATAGRAM: udp::Repr =
    udp::Repr { src_port: Port(53), dst_port: Port(40_000), cover: udp::Cover::Checksum };

/// A quoted packet: what the error's receiver had sent, cut behind `QUOTED_LEN` octets of its upper layer.
fn quote4(proto: Proto, upper: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(&crate::ipv4::Repr { src: DST4, dst: SRC4, ttl: 1, ..header4(proto) }, upper);
    packet.truncate(crate::ipv4::HEADER_LEN.saturating_add(QUOTED_LEN));
    packet
}

fn quoted_tcp4() -> Vec<u8> {
    quote4(Proto::TCP, &tcp(&PSEUDO4, &SEGMENT, &[]))
}

fn quoted_udp4() -> Vec<u8> {
    quote4(Proto::UDP, &udp(&PSEUDO4, &DATAGRAM, b"a longer message"))
}

pub fn packets4() -> Vec<Named> {
    [queries4(), errors4(), unreachables4()].concat()
}

fn queries4() -> Vec<Named> {
    use icmp4::{Repr, Type};
    let query = |kind, body: &[u8]| frame4(&header4(Proto::ICMP), &icmp4(&Repr::query(kind, 0x77, 1), body));
    let other = |kind, body: &[u8]| frame4(&header4(Proto::ICMP), &icmp4(&Repr::error(kind, 0), body));
    let zeros = Repr::query(Type::ECHO_REPLY, 0, 0);
    vec![
        ("icmp, echo request", query(Type::ECHO_REQUEST, b"abcdefgh")),
        ("icmp, echo reply", query(Type::ECHO_REPLY, b"odd")),
        ("icmp, echo reply of zeros", frame4(&header4(Proto::ICMP), &icmp4(&zeros, &[0; 8]))),
        ("icmp, timestamp request", query(Type::TIMESTAMP_REQUEST, &[0; 12])),
        ("icmp, timestamp reply", query(Type::TIMESTAMP_REPLY, &[1; 12])),
        ("icmp, information request", query(Type::INFO_REQUEST, &[])),
        ("icmp, information reply", query(Type::INFO_REPLY, &[])),
        ("icmp, mask request", query(Type::MASK_REQUEST, &[0; 4])),
        ("icmp, mask reply", query(Type::MASK_REPLY, &[255, 255, 255, 0])),
        ("icmp, router advertisement", other(Type::ROUTER_ADVERT, &[10, 0, 0, 1, 0, 0, 0, 0])),
        ("icmp, router solicitation", other(Type::ROUTER_SOLICIT, &[])),
        ("icmp, unknown type", other(Type(99), &[1, 2, 3])),
    ]
}

fn errors4() -> Vec<Named> {
    use icmp4::{Repr, Type, redirect, time_exceeded};
    let about = |header: Repr, quote: &[u8]| frame4(&header4(Proto::ICMP), &icmp4(&header, quote));
    let ping = icmp4(&Repr::query(Type::ECHO_REQUEST, 9, 8), b"abc");
    let exceeded = Repr::error(Type::TIME_EXCEEDED, time_exceeded::TRANSIT);
    vec![
        ("icmp, time exceeded in transit", about(exceeded, &quoted_udp4())),
        ("icmp, time exceeded about an echo", about(exceeded, &quote4(Proto::ICMP, &ping))),
        ("icmp, time exceeded about another protocol", about(exceeded, &quote4(Proto::GRE, &[0, 0, 8, 0]))),
        ("icmp, reassembly time exceeded", {
            about(Repr::error(Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY), &quoted_udp4())
        }),
        ("icmp, error about a later fragment", {
            let header = crate::ipv4::Repr { fragment_offset: 8, ..header4(Proto::TCP) };
            about(exceeded, &ipv4(&header, &[0xff; 8]))
        }),
        ("icmp, error with a whole packet", {
            about(exceeded, &ipv4(&header4(Proto::TCP), &tcp(&PSEUDO4, &SEGMENT, b"all of it")))
        }),
        ("icmp, source quench", about(Repr::error(Type::SOURCE_QUENCH, 0), &quoted_tcp4())),
        (
            "icmp, redirect",
            about(Repr::redirect(redirect::HOST, Ipv4Addr::new(192, 0, 2, 9)), &quoted_tcp4()),
        ),
        ("icmp, parameter problem", about(Repr::parameter_problem(9), &quoted_udp4())),
        ("icmp, fragmentation needed", about(Repr::fragmentation_needed(1280), &quoted_tcp4())),
    ]
}

fn unreachables4() -> Vec<Named> {
    const NAMES: [&str; 16] = [
        "icmp, unreachable net",
        "icmp, unreachable host",
        "icmp, unreachable protocol",
        "icmp, unreachable port",
        "icmp, unreachable, mtu not known",
        "icmp, unreachable source route",
        "icmp, unreachable net unknown",
        "icmp, unreachable host unknown",
        "icmp, unreachable isolated",
        "icmp, unreachable net prohibited",
        "icmp, unreachable host prohibited",
        "icmp, unreachable net for tos",
        "icmp, unreachable host for tos",
        "icmp, unreachable filtered",
        "icmp, unreachable precedence",
        "icmp, unreachable precedence cutoff",
    ];
    let about = |code| icmp4(&icmp4::Repr::error(icmp4::Type::UNREACHABLE, code), &quoted_tcp4());
    NAMES
        .into_iter()
        .zip(0..)
        .map(|(name, code)| (name, frame4(&header4(Proto::ICMP), &about(code))))
        .collect()
}

/// A quoted IPv6 packet, cut as [`quote4`] does if it has no extension headers.
fn quote6(extensions: &[Extension<'_>], proto: Proto, upper: &[u8]) -> Vec<u8> {
    let (upper, _) = upper.split_at_checked(QUOTED_LEN).unwrap_or((upper, &[]));
    ipv6(extensions, proto, upper)
}

fn quoted_tcp6() -> Vec<u8> {
    quote6(&[], Proto::TCP, &tcp(&PSEUDO6, &SEGMENT, &[]))
}

pub fn packets6() -> Vec<Named> {
    [queries6(), errors6(), listeners6(), neighbors6()].concat()
}

fn queries6() -> Vec<Named> {
    use icmp6::{Repr, Type};
    let message = |header: Repr, body: &[u8]| frame6(&[], Proto::ICMP6, &icmp6(&header, body));
    vec![
        ("icmp6, echo request", message(Repr::echo(Type::ECHO_REQUEST, 0x77, 1), b"abcdefgh")),
        ("icmp6, echo reply", message(Repr::echo(Type::ECHO_REPLY, 0x77, 1), b"odd")),
        ("icmp6, node information query", message(Repr::plain(Type::NODE_INFO_QUERY, 0), &[0; 24])),
        ("icmp6, node information reply", message(Repr::plain(Type::NODE_INFO_REPLY, 0), &[0; 8])),
        ("icmp6, router renumbering", message(Repr::plain(Type::ROUTER_RENUMBERING, 0), &[0; 8])),
        ("icmp6, unknown type", message(Repr::plain(Type(200), 0), &[1, 2, 3])),
    ]
}

fn errors6() -> Vec<Named> {
    use icmp6::{Repr, Type, parameter_problem, time_exceeded, unreachable};
    let about = |header: Repr, quote: &[u8]| frame6(&[], Proto::ICMP6, &icmp6(&header, quote));
    let tcp = quoted_tcp6();
    let unreachable = |code| about(Repr::plain(Type::UNREACHABLE, code), &tcp);
    let ping = icmp6(&Repr::echo(Type::ECHO_REQUEST, 9, 8), b"abc");
    let udp = udp(&PSEUDO6, &DATAGRAM, b"message");
    let padded = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
    let later = Extension::Fragment(Fragment { ident: 1, offset: 8, more: false });
    let exceeded = Repr::plain(Type::TIME_EXCEEDED, time_exceeded::TRANSIT);
    vec![
        ("icmp6, unreachable no route", unreachable(unreachable::NO_ROUTE)),
        ("icmp6, unreachable prohibited", unreachable(unreachable::PROHIBITED)),
        ("icmp6, unreachable beyond scope", unreachable(unreachable::BEYOND_SCOPE)),
        ("icmp6, unreachable address", unreachable(unreachable::ADDRESS)),
        ("icmp6, unreachable port", unreachable(unreachable::PORT)),
        ("icmp6, unreachable policy", unreachable(unreachable::POLICY)),
        ("icmp6, unreachable reject route", unreachable(unreachable::REJECT_ROUTE)),
        ("icmp6, packet too big", about(Repr::packet_too_big(1280), &tcp)),
        ("icmp6, time exceeded in transit", about(exceeded, &quote6(&[], Proto::UDP, &udp))),
        ("icmp6, error about an echo", about(exceeded, &quote6(&[], Proto::ICMP6, &ping))),
        ("icmp6, error about a packet with options", about(exceeded, &quote6(&[padded], Proto::UDP, &udp))),
        ("icmp6, error about a later fragment", about(exceeded, &quote6(&[later], Proto::TCP, &[0xff; 8]))),
        ("icmp6, reassembly time exceeded", {
            about(Repr::plain(Type::TIME_EXCEEDED, time_exceeded::REASSEMBLY), &tcp)
        }),
        ("icmp6, parameter problem", about(Repr::parameter_problem(parameter_problem::NEXT_HEADER, 6), &tcp)),
    ]
}

fn listeners6() -> Vec<Named> {
    use icmp6::{Repr, Type};
    let alert = Extension::HopByHop(&[5, 2, 0, 0, 1, 0]);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).octets();
    let message = |kind, body: &[u8]| frame6(&[alert], Proto::ICMP6, &icmp6(&Repr::plain(kind, 0), body));
    // One record: "change to exclude", no sources.
    let record = [&[4, 0, 0, 0], group.as_slice()].concat();
    let report2 = Repr { kind: Type::MLD2_REPORT, code: 0, rest: [0, 0, 0, 1] };
    vec![
        ("icmp6, listener query", message(Type::MLD_QUERY, &group)),
        ("icmp6, listener report", message(Type::MLD_REPORT, &group)),
        ("icmp6, listener done", message(Type::MLD_DONE, &group)),
        ("icmp6, listener report version 2", frame6(&[alert], Proto::ICMP6, &icmp6(&report2, &record))),
    ]
}

fn neighbors6() -> Vec<Named> {
    let options = |list: &[NdOption<'_>]| -> Vec<u8> {
        list.iter()
            .flat_map(|option| {
                let mut octets = vec![0; option.len()];
                option.emit(&mut octets).expect("an option that can be sent");
                octets
            })
            .collect()
    };
    let source = options(&[NdOption::SourceLinkLayer(SRC_MAC)]);
    let target = options(&[NdOption::TargetLinkLayer(DST_MAC)]);
    let prefix =
        NdOption::Prefix { len: 64, flags: 0xc0, valid_s: 86_400, preferred_s: 14_400, prefix: SRC6 };
    let unknown = NdOption::Unknown { kind: 25, data: &[0; 22] };
    let router = options(&[NdOption::SourceLinkLayer(SRC_MAC), NdOption::Mtu(1500), prefix, unknown]);
    let packet = quoted_tcp6();
    let redirected = options(&[NdOption::TargetLinkLayer(DST_MAC), NdOption::Redirected(&packet)]);
    vec![
        ("icmp6, router solicitation", nd(&Nd::RouterSolicit { options: Options::new(&source) })),
        ("icmp6, router advertisement", {
            nd(&Nd::RouterAdvert {
                hop_limit: 64,
                flags: 0x40,
                lifetime_s: 1800,
                reachable_ms: 30_000,
                retransmit_ms: 1000,
                options: Options::new(&router),
            })
        }),
        ("icmp6, neighbor solicitation", {
            nd(&Nd::NeighborSolicit { target: DST6, options: Options::new(&source) })
        }),
        ("icmp6, neighbor solicitation without options", {
            nd(&Nd::NeighborSolicit { target: DST6, options: Options::new(&[]) })
        }),
        ("icmp6, neighbor advertisement", {
            nd(&Nd::NeighborAdvert { flags: 0xe0, target: SRC6, options: Options::new(&target) })
        }),
        ("icmp6, redirect", {
            nd(&Nd::Redirect { target: DST6, destination: SRC6, options: Options::new(&redirected) })
        }),
    ]
}

fn nd(message: &Nd<'_>) -> Vec<u8> {
    let mut octets = vec![0; message.len()];
    message.emit(SRC6, DST6, &mut octets).expect("a message that can be sent");
    let mut packet = ipv6(&[], Proto::ICMP6, &octets);
    // RFC 4861 §11.2: neighbours count only with hop limit 255.
    crate::ipv6::Header::at_mut(&mut packet, 0).expect("a header").set_hop_limit(255);
    super::build::ethernet(crate::ethernet::Tags::None, crate::EtherType::IPV6, &packet)
}
